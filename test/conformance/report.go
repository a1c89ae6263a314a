package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// report collects what became of each test.
type report struct {
	tests   []string // those that must pass
	running map[string]*result
	done    map[string]*result
	out     io.Writer
}

// result is what is known of a test, or of what a class of tests needs before (setUpClass) or leaves (tearDownClass).
type result struct {
	began, ended time.Time
	status       status
	files        map[string][]byte // attachments: traceback, reason, logs
}

func newReport(tests []string, out io.Writer) *report {
	return &report{tests: tests, running: map[string]*result{}, done: map[string]*result{}, out: out}
}

// read takes results from a subunit stream until it ends, and prints each test when it is done.
func (r *report) read(stream io.Reader) error {
	in := bufio.NewReader(stream)
	for {
		p, err := readPacket(in)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		r.add(p)
	}
}

func (r *report) add(p packet) {
	if p.test == "" || p.status == statusExists {
		return
	}
	t := r.running[p.test]
	if t == nil {
		t = &result{began: p.time, files: map[string][]byte{}}
		r.running[p.test] = t
	}
	if p.file != "" {
		t.files[p.file] = append(t.files[p.file], p.content...)
	}
	if p.status == statusNone || p.status == statusInProgress {
		return
	}
	t.status, t.ended = p.status, p.time
	delete(r.running, p.test)
	r.done[p.test] = t
	if line := t.line(p.test); line != "" {
		fmt.Fprintln(r.out, line)
	}
}

// verdicts are the words for how a test ended.
var verdicts = map[status]string{statusSuccess: "pass", statusSkip: "skip", statusFail: "FAIL", statusUnexpectedSuccess: "FAIL",
	statusExpectedFail: "pass"}

// line tells of a test; it is empty for what went well around tests.
func (t *result) line(name string) string {
	text := fmt.Sprintf("%s %s (%.1f s)", verdicts[t.status], short(name), t.ended.Sub(t.began).Seconds())
	if t.status == statusSuccess {
		if fixture(name) {
			return ""
		}
		return text
	}
	return text + ": " + t.reason()
}

// fixture tells whether the name is of what surrounds the tests of a class.
func fixture(name string) bool {
	return strings.HasPrefix(name, "setUpClass") || strings.HasPrefix(name, "tearDownClass")
}

// short is a test's name without its id and tags.
func short(name string) string {
	name, _, _ = strings.Cut(name, "[")
	return name
}

// reason says in a line why a test was skipped or failed: the last exception with what it says.
func (t *result) reason() string {
	if why := t.files["reason"]; len(why) > 0 {
		return oneLine(string(why))
	}
	var text string
	for _, name := range sortedKeys(t.files) {
		if strings.HasPrefix(name, "traceback") {
			text = string(t.files[name])
			break
		}
	}
	if i := strings.LastIndex(text, "Traceback"); i >= 0 {
		text = text[i:]
	}
	// Calls are indented; the exception comes after them.
	lines := strings.Split(strings.TrimSpace(text), "\n")
	for i := 1; i < len(lines); i++ {
		if lines[i] != "" && lines[i][0] != ' ' {
			return oneLine(strings.Join(lines[i:], " "))
		}
	}
	return oneLine(text)
}

func oneLine(text string) string {
	const enough = 400
	line := strings.Join(strings.Fields(text), " ")
	if len(line) > enough {
		line = line[:enough] + "…"
	}
	return line
}

// missed explains why a test has no result: what its class needs was not there.
func (r *report) missed(test string) string {
	class := short(test)
	class = class[:strings.LastIndexByte(class, '.')]
	if t := r.done["setUpClass ("+class+")"]; t != nil {
		return verdicts[t.status] + " of its class: " + t.reason()
	}
	return "it was not run: there is no such test, or the run ended before"
}

// finish prints the sum, writes details of failures to the directory, and returns an error unless all tests have passed.
func (r *report) finish(dir string) error {
	count := map[string]int{}
	var bad []string
	for _, name := range r.tests {
		t := r.done[name]
		if t == nil {
			count["not run"]++
			bad = append(bad, "none "+short(name)+": "+r.missed(name))
			continue
		}
		count[verdicts[t.status]]++
		if t.status != statusSuccess {
			bad = append(bad, t.line(name))
		}
	}
	for _, name := range sortedKeys(r.done) {
		if t := r.done[name]; t.status == statusFail && !slices.Contains(r.tests, name) {
			bad = append(bad, t.line(name))
		}
	}
	if err := r.writeDetails(filepath.Join(dir, "failures.txt")); err != nil {
		return err
	}
	fmt.Fprintf(r.out, "\n%d tests: %d passed, %d failed, %d skipped, %d without a result\n", len(r.tests), count["pass"], count["FAIL"],
		count["skip"], count["not run"])
	if len(bad) == 0 {
		return nil
	}
	fmt.Fprintf(r.out, "\nnot passed:\n%s\n", strings.Join(bad, "\n"))
	return fmt.Errorf("not every test has passed; see %s", dir)
}

// writeDetails writes the tracebacks and logs of failed tests.
func (r *report) writeDetails(file string) error {
	var text strings.Builder
	for _, name := range sortedKeys(r.done) {
		t := r.done[name]
		if t.status != statusFail {
			continue
		}
		fmt.Fprintf(&text, "==== %s\n", name)
		for _, attachment := range sortedKeys(t.files) {
			fmt.Fprintf(&text, "---- %s\n%s\n", attachment, t.files[attachment])
		}
	}
	return os.WriteFile(file, []byte(text.String()), 0o644)
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
