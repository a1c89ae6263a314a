// Package config reads oslo.config files (neutron.conf, ml2_conf.ini, *_agent.ini) and knows Neutron's options.
//
// Load reads the files, Check says what is wrong with them, and an option's Get gives its value:
//
//	f, err := config.Load(files, dirs)
//	warnings, err := config.Check(f)
//	port := config.BindPort.Get(f)
package config

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Default is the section of options that belong to no other. Unlike other sections its name is case-sensitive.
const Default = "DEFAULT"

// File is the settings of all files read. It is not changed by reading options.
type File struct {
	sources []*source // a later one wins
	dirs    []string  // where Find looks
}

// source is one file: the values of each option in the order they were written.
type source struct {
	path     string
	settings map[name][]setting
}

// name of an option. The section is lower case, except for DEFAULT.
type name struct{ section, option string }

func (n name) String() string { return "[" + n.section + "] " + n.option }

// setting is one value given to an option.
type setting struct {
	name
	value string
	where string // "file:line"
}

func newName(section, option string) name {
	if section != Default {
		section = strings.ToLower(section)
	}
	return name{section, option}
}

// Load reads the files in the order given and then the *.conf files of each directory in the order of their names,
// as --config-file and --config-dir ask for. An option takes its value from the last file that has it.
func Load(files, dirs []string) (*File, error) {
	paths := slices.Clone(files)
	for _, dir := range dirs {
		if _, err := os.ReadDir(dir); err != nil { // Glob would not tell
			return nil, fmt.Errorf("read the directory of --config-dir: %w", err)
		}
		found, err := filepath.Glob(filepath.Join(dir, "*.conf"))
		if err != nil {
			return nil, fmt.Errorf("list %s: %w", dir, err)
		}
		slices.Sort(found)
		paths = append(paths, found...)
	}
	f := &File{dirs: searchPath(files, dirs)}
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			return nil, fmt.Errorf("read config file: %w", err)
		}
		s, err := newSource(path, string(text))
		if err != nil {
			return nil, err
		}
		f.sources = append(f.sources, s)
	}
	return f, nil
}

// searchPath is oslo.config's, without home directories.
func searchPath(files, dirs []string) []string {
	found := slices.Clone(dirs)
	for _, path := range slices.Backward(files) {
		found = append(found, filepath.Dir(path))
	}
	return append(found, "/etc/neutron")
}

// Find tells where a file or directory is that an option names: an absolute path stays; a relative one is looked for in
// the directories of --config-dir, beside the configuration files and in /etc/neutron. What is nowhere gets the first
// of these places.
func (f *File) Find(path string) string {
	if filepath.IsAbs(path) || len(f.dirs) == 0 {
		return path
	}
	for _, dir := range f.dirs {
		if p := filepath.Join(dir, path); exists(p) {
			return p
		}
	}
	return filepath.Join(f.dirs[0], path)
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func newSource(path, text string) (*source, error) {
	list, err := parse(text)
	if bad, ok := errors.AsType[*lineError](err); ok {
		return nil, fmt.Errorf("%s:%d: %w", path, bad.line, bad.err)
	}
	s := &source{path: path, settings: map[name][]setting{}}
	for _, a := range list {
		n := newName(a.section, a.key)
		s.settings[n] = append(s.settings[n], setting{n, a.value, fmt.Sprintf("%s:%d", path, a.line)})
	}
	return s, nil
}

// Underlay puts INI text below all files: other defaults than the options' own. title stands for its path in messages.
func (f *File) Underlay(title, text string) error {
	s, err := newSource(title, text)
	if err != nil {
		return err
	}
	f.sources = slices.Insert(f.sources, 0, s)
	return nil
}

// Override sets an option above all files; where says in messages who did, for example "--debug".
func (f *File) Override(section, option, value, where string) {
	n := newName(section, option)
	f.sources = append(f.sources, &source{path: where, settings: map[name][]setting{n: {{n, value, where}}}})
}

// last finds the value of an option with several names: the last file with any of them decides, and within it the
// first name that it has.
func (f *File) last(names []name) (setting, bool) {
	for _, s := range slices.Backward(f.sources) {
		for _, n := range names {
			if list := s.settings[n]; len(list) > 0 {
				return list[len(list)-1], true
			}
		}
	}
	return setting{}, false
}

// all finds every value of an option that may be repeated, in the order of the files.
func (f *File) all(names []name) []setting {
	var out []setting
	for _, s := range f.sources {
		for _, n := range names {
			out = append(out, s.settings[n]...)
		}
	}
	return out
}

// given lists every option that is set, with the place that wins, sorted by name.
func (f *File) given() []setting {
	found := map[name]setting{}
	for _, s := range f.sources {
		for n, list := range s.settings {
			found[n] = list[len(list)-1]
		}
	}
	return slices.SortedFunc(maps.Values(found), func(a, b setting) int {
		return strings.Compare(a.name.String(), b.name.String())
	})
}
