package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"strings"

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

func (v override) describe() string { return fmt.Sprintf("%s, [%s] %s", v.help, v.section, v.option) }

// call is a command being run.
type call struct {
	command
	program string // its name in the log
	args    []string
}

// flags makes the command's empty set of flags.
func (c *call) flags() *flag.FlagSet {
	fs := flag.NewFlagSet(c.name, flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	return fs
}

// parseFlags reads the command line. --help prints the help and ends the process.
func (c *call) parseFlags(fs *flag.FlagSet) error {
	err := fs.Parse(c.args)
	if errors.Is(err, flag.ErrHelp) {
		c.printHelp(os.Stdout, fs)
		os.Exit(0)
	}
	if err == nil && fs.NArg() > 0 {
		err = fmt.Errorf("unexpected argument %q", fs.Arg(0))
	}
	if err != nil {
		return fmt.Errorf("%w; see neutrino %s --help", err, c.name)
	}
	return nil
}

// printHelp shows flags with two dashes, as upstream's commands do. Go's parser takes both.
func (c *call) printHelp(w io.Writer, fs *flag.FlagSet) {
	fmt.Fprintf(w, "usage: neutrino %s [OPTION]…\n\n%s: %s.\n", c.name, c.name, c.help)
	if c.alias != "" {
		fmt.Fprintf(w, "It is also run by the name %s, as a link to the binary.\n", c.alias)
	}
	fmt.Fprint(w, "\noptions:\n")
	fs.VisitAll(func(f *flag.Flag) {
		if f.Usage == "" { // another spelling of one that is shown
			return
		}
		value, text := flag.UnquoteUsage(f)
		text = strings.TrimPrefix(text, value+" ")
		if value != "" {
			value = " " + value
		}
		fmt.Fprintf(w, "  %-26s %s\n", "--"+f.Name+value, text)
	})
	fmt.Fprintf(w, "  %-26s %s\n", "--help", "print this")
}

// parse reads the command line of a daemon. Overrides become options of the configuration, above all files.
func (c *call) parse(more func(*flag.FlagSet), overrides ...override) (daemon.Options, error) {
	o := daemon.Options{Program: c.program}
	fs := c.flags()
	fs.Var((*list)(&o.ConfigFiles), "config-file", "`FILE` configuration file in oslo.config's format; may be repeated, later ones win")
	fs.Var((*list)(&o.ConfigDirs), "config-dir", "`DIR` directory whose *.conf files are read after the configuration files; may be repeated")
	overrides = append(overrides,
		override{"log-file", config.Default, "log_file", "`FILE` file to log to instead of standard error"},
		override{"log-dir", config.Default, "log_dir", "`DIR` directory to log to"},
		override{"health-listen", "neutrino", "health_listen", "`HOST:PORT` address for /healthcheck and /metrics"})
	values := make([]*string, len(overrides))
	for i, v := range overrides {
		values[i] = fs.String(v.flag, "", v.describe())
	}
	debug := fs.Bool("debug", false, "log at level DEBUG, [DEFAULT] debug")
	if more != nil {
		more(fs)
	}
	if err := c.parseFlags(fs); err != nil {
		return o, err
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

// overrideListen sets bind_host and bind_port from host:port.
func overrideListen(f *config.File, addr string) {
	if addr == "" {
		return
	}
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		host, port = addr, ""
	}
	for option, value := range map[string]string{"bind_host": host, "bind_port": port} {
		if value != "" {
			f.Override(config.Default, option, value, "--listen")
		}
	}
}
