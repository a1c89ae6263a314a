package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// write makes a file and gives its path.
func write(t *testing.T, dir, file, text string) string {
	t.Helper()
	path := filepath.Join(dir, file)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// read loads one file whose messages call it "test.conf".
func read(t *testing.T, text string) *File {
	t.Helper()
	f := &File{}
	if err := f.Underlay("test.conf", text); err != nil {
		t.Fatal(err)
	}
	return f
}

func TestLaterFilesWinPerOption(t *testing.T) {
	dir, drop := t.TempDir(), t.TempDir()
	files := []string{
		write(t, dir, "neutron.conf", "[DEFAULT]\ndebug = true\nbind_port = 1\nbase_mac = first\nbase_mac = second\n[ML2]\npath_mtu = 1\n"),
		write(t, dir, "ml2_conf.ini", "[ml2]\npath_mtu = 2\nmechanism_drivers = linuxbridge\n[DEFAULT]\nbind_port = 2\n"),
	}
	write(t, drop, "20.conf", "[DEFAULT]\nbind_port = 20\n")
	write(t, drop, "10.conf", "[DEFAULT]\nbind_port = 10\nstate_path = /ten\n")
	write(t, drop, "30.ini", "[DEFAULT]\nbind_port = 30\n")
	f, err := Load(files, []string{drop})
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Underlay("built in", "[DEFAULT]\nstate_path = /below\ndns_domain = below\n"); err != nil {
		t.Fatal(err)
	}
	f.Override(Default, "debug", "false", "--debug")
	got := []any{Debug.Get(f), BindPort.Get(f), BaseMAC.Get(f), PathMTU.Get(f), MechanismDrivers.Get(f), StatePath.Get(f), DNSDomain.Get(f), BindHost.Get(f), BindHost.Given(f), BindPort.Given(f)}
	want := []any{false, 20, "second", 2, []string{"linuxbridge"}, "/ten", "below", "127.0.0.1", false, true}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestLoadErrors(t *testing.T) {
	bad := write(t, t.TempDir(), "bad.conf", "[DEFAULT]\n\nnonsense")
	tests := []struct{ files, dirs, want []string }{
		{files: []string{bad}, want: []string{bad + ":3:", "write name = value"}},
		{files: []string{"/nonexistent.conf"}, want: []string{"/nonexistent.conf", "no such file"}},
		{dirs: []string{"/nonexistent"}, want: []string{"--config-dir", "/nonexistent"}},
	}
	for _, tt := range tests {
		_, err := Load(tt.files, tt.dirs)
		for _, want := range tt.want {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%v %v: error %v, want one with %q", tt.files, tt.dirs, err, want)
			}
		}
	}
}

// options of every type, for tests.
type options struct {
	set      *Set
	text     *Option[string]
	number   *Option[int]
	float    *Option[float64]
	seconds  *Option[time.Duration]
	yes      *Option[bool]
	list     *Option[[]string]
	pairs    *Option[map[string]string]
	repeated *Option[[]string]
	secret   *Option[int]
	path     *Option[string]
	idle     *Option[[]string]
}

func newOptions() options {
	set := NewSet()
	main, other := set.Section("Test", Default), set.Section("Test", "Other")
	main.Ignore("of no use", "old_stuff")
	return options{
		set:      set,
		text:     main.String("text", "none", "Some | text.").Limit(OneOf("none", "some", "many $")),
		number:   main.Int("number", 7, "A number.").Limit(Between(1, 10)).Was("count", "other.counter"),
		float:    other.Float("float", 0.5, "A float."),
		seconds:  other.Seconds("seconds", 1500*time.Millisecond, "A time."),
		yes:      other.Bool("yes", true, "A switch."),
		list:     other.List("list", []string{"a", "b"}, "A list."),
		pairs:    other.Map("pairs", "A map."),
		repeated: other.Multi("repeated", "Many."),
		secret:   other.Int("secret", 0, "A secret.").Secret(),
		path:     main.String("path", "/var", "A path.").Computed("computed", func() string { return "/computed" }),
		idle:     other.List("idle", []string{"a"}, "A list.").NoEffect(),
	}
}

func TestValues(t *testing.T) {
	o := newOptions()
	tests := []struct {
		text string
		get  func(*File) any
		want any
		fail string
	}{
		{"", func(f *File) any { return o.text.Get(f) }, "none", ""},
		{"[DEFAULT]\ntext = some", func(f *File) any { return o.text.Get(f) }, "some", ""},
		{"[DEFAULT]\ntext = all", func(f *File) any { return o.text.Get(f) }, "none", `test.conf:2: [DEFAULT] text = "all": must be one of none, some, many $`},
		{"[default]\ntext = some", func(f *File) any { return o.text.Get(f) }, "none", ""}, // another section
		{"[DEFAULT]\nnumber = 10", func(f *File) any { return o.number.Get(f) }, 10, ""},
		{"[DEFAULT]\nnumber =", func(f *File) any { return o.number.Get(f) }, 7, ""},
		{"[DEFAULT]\nnumber = 11", func(f *File) any { return o.number.Get(f) }, 7, `must be between 1 and 10`},
		{"[DEFAULT]\nnumber = x", func(f *File) any { return o.number.Get(f) }, 7, `[DEFAULT] number = "x": not an integer; write digits only`},
		{"[DEFAULT]\ncount = 2", func(f *File) any { return o.number.Get(f) }, 2, ""},
		{"[OTHER]\ncounter = 2", func(f *File) any { return o.number.Get(f) }, 2, ""},
		{"[DEFAULT]\ncount = 2\nnumber = 3\ncount = 4", func(f *File) any { return o.number.Get(f) }, 3, ""},
		{"[other]\nfloat = 1e3", func(f *File) any { return o.float.Get(f) }, 1000.0, ""},
		{"[other]\nfloat = NaN", func(f *File) any { return o.float.Get(f) }, 0.5, "not a number"},
		{"", func(f *File) any { return o.seconds.Get(f) }, 1500 * time.Millisecond, ""},
		{"[other]\nseconds = 0.25", func(f *File) any { return o.seconds.Get(f) }, 250 * time.Millisecond, ""},
		{"[other]\nseconds = 1e10", func(f *File) any { return o.seconds.Get(f) }, 1500 * time.Millisecond, "more than 1e+09 seconds"},
		{"[other]\nyes = Off", func(f *File) any { return o.yes.Get(f) }, false, ""},
		{"[other]\nyes = 0", func(f *File) any { return o.yes.Get(f) }, false, ""},
		{"[other]\nyes = NO", func(f *File) any { return o.yes.Get(f) }, false, ""},
		{"[other]\nyes = maybe", func(f *File) any { return o.yes.Get(f) }, true, "not a boolean"},
		{"[other]\nyes =", func(f *File) any { return o.yes.Get(f) }, true, "not a boolean"},
		{"[other]\nlist = x , y,\n  z,", func(f *File) any { return o.list.Get(f) }, []string{"x", "y", "z"}, ""},
		{"[other]\nlist =", func(f *File) any { return o.list.Get(f) }, []string{}, ""},
		{"[other]\npairs = a:b:c, d : e", func(f *File) any { return o.pairs.Get(f) }, map[string]string{"a": "b:c", "d": "e"}, ""},
		{"[other]\npairs = a:b,c", func(f *File) any { return o.pairs.Get(f) }, map[string]string{}, "not key:value pairs"},
		{"[other]\npairs = a:b,a:c", func(f *File) any { return o.pairs.Get(f) }, map[string]string{}, `the key "a" is there twice`},
		{"[other]\nrepeated = a,b\nrepeated = c", func(f *File) any { return o.repeated.Get(f) }, []string{"a,b", "c"}, ""},
		{"[other]\nsecret = pa55", func(f *File) any { return o.secret.Get(f) }, 0, "[other] secret = ***: not an integer"},

		{"", func(f *File) any { return o.path.Get(f) }, "/computed", ""},
		{"[DEFAULT]\npath = x${text}y$number$", func(f *File) any { return o.path.Get(f) }, "xnoney7$", ""},
		{"[DEFAULT]\npath = ${other.float}", func(f *File) any { return o.path.Get(f) }, "0.5", ""},
		{`[DEFAULT]` + "\npath = $$text \\$text", func(f *File) any { return o.path.Get(f) }, "$text $text", ""},
		{"[DEFAULT]\npath = $own/x\nown = /own", func(f *File) any { return o.path.Get(f) }, "/own/x", ""},
		{"[DEFAULT]\nnumber = $n\n[other]\nn = 1\nfloat = ${n}5", func(f *File) any { return o.float.Get(f) }, 15.0, "$n is no option; write $$ for a dollar sign"},
		{"[DEFAULT]\npath = $path", func(f *File) any { return o.path.Get(f) }, "/var", "test.conf:2: [DEFAULT] path: it refers to itself"},
	}
	for _, tt := range tests {
		f := read(t, tt.text)
		if diff := cmp.Diff(tt.want, tt.get(f)); diff != "" {
			t.Errorf("%q: %s", tt.text, diff)
		}
		_, err := o.set.Check(f)
		if (err != nil) != (tt.fail != "") || err != nil && !strings.Contains(err.Error(), tt.fail) {
			t.Errorf("%q: error %v, want %q", tt.text, err, tt.fail)
		}
	}
}

func TestCheck(t *testing.T) {
	o := newOptions()
	f := read(t, strings.Join([]string{
		"[DEFAULT]", "number = 0", "nonsense = 1", "nonsense = 2", "yes = 1", "old_stuff = 1", "count = 5",
		"[default]", "text = some",
		"[other]", "yes = perhaps", "list = a", "idle = b",
		"[unheard_of]", "x = y",
	}, "\n"))
	warnings, err := o.set.Check(f)
	want := []string{
		"test.conf:7: [DEFAULT] count is an old name, write [DEFAULT] number",
		"test.conf:4: [DEFAULT] nonsense is not known and has no effect",
		"test.conf:5: [DEFAULT] yes is not known and has no effect; do you mean [other] yes?",
		"test.conf:9: [default] text is not known and has no effect; do you mean [DEFAULT] text?",
		"test.conf:13: [other] idle has no effect in this version",
		"test.conf:15: [unheard_of] x is not known and has no effect",
	}
	if diff := cmp.Diff(want, warnings); diff != "" {
		t.Error(diff)
	}
	wantErr := `test.conf:2: [DEFAULT] number = "0": must be between 1 and 10` + "\n" +
		`test.conf:11: [other] yes = "perhaps": not a boolean; write true or false`
	if err == nil || err.Error() != wantErr {
		t.Errorf("error %v, want %s", err, wantErr)
	}
}

func TestReference(t *testing.T) {
	want, err := os.ReadFile("testdata/reference.md")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), newOptions().set.Reference()); diff != "" {
		t.Error(diff)
	}
}

func TestDeclaringTwicePanics(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("no panic")
		}
	}()
	s := NewSet().Section("Test", Default)
	s.Int("a", 1, "")
	s.Bool("a", true, "")
}

// Neutron's own options: no default may break its own rules, and none may lack its explanation.
func TestDeclarations(t *testing.T) {
	var b strings.Builder
	for _, c := range neutron.sections {
		for _, o := range c.options {
			r := o.reference()
			if r.meaning == "" || !strings.HasSuffix(r.meaning, ".") {
				t.Errorf("[%s] %s: help %q", c.name, r.name, r.meaning)
			}
			text, err := o.text(&File{}, 0)
			if err != nil {
				t.Errorf("[%s] %s: %v", c.name, r.name, err)
			}
			b.WriteString("[" + c.name + "]\n" + r.name + " = " + text + "\n")
		}
	}
	warnings, err := Check(read(t, b.String())) // the defaults written out are a file without faults
	if len(warnings) != 0 || err != nil {
		t.Errorf("%v %v", warnings, err)
	}
}

func TestUpstreamFiles(t *testing.T) {
	f, err := Load([]string{"testdata/neutron.conf", "testdata/ml2_conf.ini"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	warnings, err := Check(f)
	if err != nil {
		t.Error(err)
	}
	want := []string{
		"testdata/neutron.conf:6: [DEFAULT] transport_url has no effect in this version",
		"testdata/ml2_conf.ini:5: [ml2] tenant_network_types is an old name, write [ml2] project_network_types",
	}
	if diff := cmp.Diff(want, warnings); diff != "" {
		t.Error(diff)
	}
	got := []any{
		DatabaseConnection.Get(f), ServicePlugins.Get(f), AgentDownTime.Get(f), ProjectNetworkTypes.Get(f),
		PhysicalNetworkMTUs.Get(f), NetworkVLANRanges.Get(f), QuotaPort.Get(f), LogDir.Get(f), Host.Get(f) != "",
	}
	wantValues := []any{
		"mysql+pymysql://neutron:pa$$word@controller/neutron", []string{"router", "qos"}, 75 * time.Second, []string{"vxlan", "vlan"},
		map[string]string{"physnet1": "9000"}, []string{"physnet1:100:199", "physnet2"}, 1000, "/srv/neutron/log", true,
	}
	if diff := cmp.Diff(wantValues, got); diff != "" {
		t.Error(diff)
	}
}
