package main

import (
	"errors"
	"flag"
	"fmt"
	"os"

	"neutrino/internal/config"
	"neutrino/internal/daemon"
)

// list is a flag that may be given several times.
type list []string

func (l *list) String() string     { return fmt.Sprint(*l) }
func (l *list) Set(s string) error { *l = append(*l, s); return nil }

// override is a flag that stands for an option of the configuration.
type override struct {
	flag, section, option, help string
}

// parse reads the command line. Overrides become options of the configuration, above all files.
func parse(program string, args []string, more func(*flag.FlagSet), overrides ...override) (daemon.Options, error) {
	o := daemon.Options{Program: program}
	fs := flag.NewFlagSet(program, flag.ContinueOnError)
	fs.SetOutput(os.Stderr)
	fs.Var((*list)(&o.ConfigFiles), "config-file", "configuration `file` in oslo.config's format; may be given several times, later ones win")
	fs.Var((*list)(&o.ConfigDirs), "config-dir", "`directory` whose *.conf files are read after the configuration files")
	overrides = append(overrides, override{"log-file", config.Default, "log_file", "`file` to log to"},
		override{"log-dir", config.Default, "log_dir", "`directory` to log to"})
	values := make([]*string, len(overrides))
	for i, v := range overrides {
		values[i] = fs.String(v.flag, "", v.help)
	}
	debug := fs.Bool("debug", false, "log more")
	if more != nil {
		more(fs)
	}
	if err := fs.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			os.Exit(0)
		}
		return o, errors.New("see --help")
	}
	if fs.NArg() > 0 {
		return o, fmt.Errorf("unexpected argument %q", fs.Arg(0))
	}
	o.Override = func(f *config.File) {
		for i, v := range overrides {
			if *values[i] != "" {
				f.Override(v.section, v.option, *values[i], "--"+v.flag)
			}
		}
		if *debug {
			f.Override(config.Default, "debug", "true", "--debug")
		}
	}
	return o, nil
}
