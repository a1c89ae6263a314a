package config

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParse(t *testing.T) {
	text := strings.Join([]string{
		"# comment",
		"[DEFAULT]",
		"plain = value",
		"colon: value",
		"both: a=b",
		"url = http://x:80/ # no comment",
		"spaces   =   a b  ",
		"empty =",
		`quoted = " a b "`,
		"single = 'x'",
		`half = "x`,
		`one = "`,
		"multi = a",
		"multi = b",
		"long = a,",
		"    b,",
		"\tc",
		"; comment",
		"[Sec:tion]",
		"crlf = x\r",
		"last = y",
	}, "\n")
	got, err := parse(text)
	if err != nil {
		t.Fatal(err)
	}
	want := []assignment{
		{"DEFAULT", "plain", "value", 3},
		{"DEFAULT", "colon", "value", 4},
		{"DEFAULT", "both", "a=b", 5},
		{"DEFAULT", "url", "http://x:80/ # no comment", 6},
		{"DEFAULT", "spaces", "a b", 7},
		{"DEFAULT", "empty", "", 8},
		{"DEFAULT", "quoted", " a b ", 9},
		{"DEFAULT", "single", "x", 10},
		{"DEFAULT", "half", `"x`, 11},
		{"DEFAULT", "one", "", 12},
		{"DEFAULT", "multi", "a", 13},
		{"DEFAULT", "multi", "b", 14},
		{"DEFAULT", "long", "a,\nb,\nc", 15},
		{"Sec:tion", "crlf", "x", 20},
		{"Sec:tion", "last", "y", 21},
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(assignment{})); diff != "" {
		t.Error(diff)
	}
}

func TestParseErrors(t *testing.T) {
	tests := []struct {
		text string
		want error
		line int
	}{
		{"[DEFAULT]\nno separator", errNoSeparator, 2},
		{"[DEFAULT]\n= value", errNoKey, 2},
		{"[DEFAULT]\n  indented = 1", errContinuation, 2},
		{"[DEFAULT]\na = 1\n\n  indented = 1", errContinuation, 4},
		{"[DEFAULT]\na = 1\n# comment\n  indented = 1", errContinuation, 4},
		{"[DEFAULT] # comment", errBracket, 1},
		{"[]", errNoSection, 1},
		{"\na = 1", errBefore, 2},
	}
	for _, tt := range tests {
		_, err := parse(tt.text)
		at, _ := errors.AsType[*lineError](err)
		if !errors.Is(err, tt.want) || at.line != tt.line {
			t.Errorf("%q: error %v, want %v in line %d", tt.text, err, tt.want, tt.line)
		}
	}
}

// Whatever is read can be written so that it is read again.
func FuzzParse(f *testing.F) {
	for _, s := range []string{"", "[a]\nb = c", "[DEFAULT]\na: \"b\"\n c\n\td", "[a]b]\n'=\"", "[x]\na=b\r\n;c\n=", "\xff[a]\n\x00=\x85"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		first, err := parse(text)
		if err != nil {
			if _, ok := errors.AsType[*lineError](err); !ok {
				t.Fatalf("an error without a line: %v", err)
			}
			return
		}
		var b strings.Builder
		for i, a := range first {
			if a.key == "" || a.section == "" {
				t.Fatalf("no name: %+v", a)
			}
			if strings.ContainsRune("[#;", rune(a.key[0])) {
				t.Skip("a name that other white space than blank and tab protects")
			}
			line, more, _ := strings.Cut(a.value, "\n")
			fmt.Fprintf(&b, "[%s]\n%s = \"%s\"\n", a.section, a.key, line)
			for line := range strings.SplitSeq(more, "\n") {
				fmt.Fprintf(&b, " %s\n", line)
			}
			first[i].line = 0
		}
		again, err := parse(b.String())
		if err != nil {
			t.Fatalf("%q was written as %q: %v", text, b.String(), err)
		}
		for i := range again {
			again[i].line = 0
		}
		if diff := cmp.Diff(first, again, cmp.AllowUnexported(assignment{})); diff != "" {
			t.Fatalf("%q was written as %q: %s", text, b.String(), diff)
		}
	})
}

// No text of a value makes the lookup of an option panic or run forever.
func FuzzExpand(f *testing.F) {
	for _, s := range []string{"", "$a", "${a}", "${", "$$$a", "$text$text", "$DEFAULT.text", "${other.list}$", `\$a`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, value string) {
		o := newOptions()
		file := &File{}
		for _, option := range []string{"text", "number", "path", "a"} {
			file.Override(Default, option, value, "fuzz")
		}
		file.Override("other", "list", value, "fuzz")
		o.text.Get(file)
		o.number.Get(file)
		o.list.Get(file)
		if _, err := o.set.Check(file); err == nil && strings.Contains(value, "$path") && !strings.Contains(value, "$$") && !strings.Contains(value, `\`) {
			t.Errorf("%q refers to itself", value)
		}
	})
}
