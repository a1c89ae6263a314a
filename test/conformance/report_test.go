package main

import (
	"bytes"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// stream was written by python3-subunit 1.4: a test that begins, noise, the traceback, and the failure two seconds later.
const stream = "b32b82316b02d940cee6b28016612e422e746573745f635b69642d312c736d6f6b655d0108776f726b65722d306a616adc" +
	"6e6f6973650a" +
	"b32b7040646b02d940cee6b28016612e422e746573745f635b69642d312c736d6f6b655d0a746578742f706c61696e0974726163656261636b" +
	"2654726163656261636b0a202046696c6520780a56616c75654572726f723a203120213d20320aa87703ac" +
	"b32b06276b02d942cee6b28016612e422e746573745f635b69642d312c736d6f6b655dfcf4b976"

func streamBytes(t *testing.T) []byte {
	t.Helper()
	b, err := hex.DecodeString(stream)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestReportOfStream(t *testing.T) {
	var out strings.Builder
	dir := t.TempDir()
	r := newReport([]string{"a.B.test_c[id-1,smoke]", "a.B.test_gone[id-2]"}, &out)
	if err := r.read(bytes.NewReader(streamBytes(t))); err != nil {
		t.Fatal(err)
	}
	if r.finish(dir) == nil {
		t.Error("the run counts as good")
	}
	want := `FAIL a.B.test_c (2.0 s): ValueError: 1 != 2

2 tests: 0 passed, 1 failed, 0 skipped, 1 without a result

not passed:
FAIL a.B.test_c (2.0 s): ValueError: 1 != 2
none a.B.test_gone: it was not run: there is no such test, or the run ended before
`
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("printed (-want +got):\n%s", diff)
	}
	details, err := os.ReadFile(filepath.Join(dir, "failures.txt"))
	if err != nil {
		t.Fatal(err)
	}
	want = "==== a.B.test_c[id-1,smoke]\n---- traceback\nTraceback\n  File x\nValueError: 1 != 2\n\n"
	if diff := cmp.Diff(want, string(details)); diff != "" {
		t.Errorf("details (-want +got):\n%s", diff)
	}
}

func TestReportOfBrokenStream(t *testing.T) {
	good := streamBytes(t)
	flipped := bytes.Clone(good)
	flipped[10] ^= 1
	for name, in := range map[string][]byte{"wrong checksum": flipped, "cut off": good[:30], "only a signature": good[:1]} {
		t.Run(name, func(t *testing.T) {
			var out strings.Builder
			if newReport(nil, &out).read(bytes.NewReader(in)) == nil {
				t.Error("no error")
			}
		})
	}
}

func TestReportCounts(t *testing.T) {
	add := func(r *report, test string, s status, file, content string) {
		r.add(packet{test: test, status: statusInProgress})
		if file != "" {
			r.add(packet{test: test, file: file, content: []byte(content)})
		}
		r.add(packet{test: test, status: s})
	}
	cases := []struct {
		name string
		fill func(*report)
		good bool
		want string
	}{
		{"passed", func(r *report) { add(r, "m.C.test_a", statusSuccess, "", "") }, true,
			"pass m.C.test_a (0.0 s)\n\n1 tests: 1 passed, 0 failed, 0 skipped, 0 without a result\n"},
		{"skipped", func(r *report) { add(r, "m.C.test_a", statusSkip, "reason", "no alias") }, false,
			"skip m.C.test_a (0.0 s): no alias\n\n1 tests: 0 passed, 0 failed, 1 skipped, 0 without a result\n\nnot passed:\n" +
				"skip m.C.test_a (0.0 s): no alias\n"},
		{"class skipped", func(r *report) { add(r, "setUpClass (m.C)", statusSkip, "reason", "no agent") }, false,
			"skip setUpClass (m.C) (0.0 s): no agent\n\n1 tests: 0 passed, 0 failed, 0 skipped, 1 without a result\n\nnot passed:\n" +
				"none m.C.test_a: skip of its class: no agent\n"},
		{"tear down failed", func(r *report) {
			add(r, "m.C.test_a", statusSuccess, "", "")
			add(r, "tearDownClass (m.C)", statusFail, "traceback", "Traceback:\n  x\nm.Conflict: in use\nDetails: y\n")
		}, false,
			"pass m.C.test_a (0.0 s)\nFAIL tearDownClass (m.C) (0.0 s): m.Conflict: in use Details: y\n\n" +
				"1 tests: 1 passed, 0 failed, 0 skipped, 0 without a result\n\nnot passed:\n" +
				"FAIL tearDownClass (m.C) (0.0 s): m.Conflict: in use Details: y\n"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			var out strings.Builder
			r := newReport([]string{"m.C.test_a"}, &out)
			c.fill(r)
			if good := r.finish(t.TempDir()) == nil; good != c.good {
				t.Errorf("good is %v", good)
			}
			if diff := cmp.Diff(c.want, out.String()); diff != "" {
				t.Errorf("printed (-want +got):\n%s", diff)
			}
		})
	}
}

func TestChosenTests(t *testing.T) {
	file := filepath.Join(t.TempDir(), "list")
	text := "# comment\n\na.test_x.C.test_1[id-1,smoke]\na.test_x.C.test_2[id-2]\na.test_revisions.R.test_3[id-3]\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cases := []struct {
		name    string
		options options
		want    []string // nil: an error
	}{
		{"all", options{}, []string{"a.test_x.C.test_1[id-1,smoke]", "a.test_x.C.test_2[id-2]", "a.test_revisions.R.test_3[id-3]"}},
		{"pattern", options{pattern: "test_2"}, []string{"a.test_x.C.test_2[id-2]"}},
		{"smoke", options{smoke: true}, []string{"a.test_x.C.test_1[id-1,smoke]", "a.test_revisions.R.test_3[id-3]"}},
		{"none", options{pattern: "nothing"}, nil},
		{"bad pattern", options{pattern: "("}, nil},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			c.options.list = file
			got, err := c.options.tests()
			if (err != nil) != (c.want == nil) {
				t.Fatalf("error %v", err)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("chosen (-want +got):\n%s", diff)
			}
		})
	}
}
