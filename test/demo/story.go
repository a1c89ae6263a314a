package main

import (
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"slices"
	"sync"
	"time"
)

// story prints a line per step. It is the lab's T: Fatalf ends the step that it is called in.
type story struct {
	out   io.Writer
	began time.Time
	kept  func(stop <-chan os.Signal) // waits, if everything shall be left running after the story

	mu          sync.Mutex
	good        int
	bad         int
	took        time.Duration // the steps
	interrupted bool          // steps that go on while everything is removed do not count
	cleanups    []func()
}

// failure is what Fatalf throws.
type failure struct{ message string }

// over is thrown when the story cannot go on.
type over struct{}

func newStory(out io.Writer) *story { return &story{out: out, began: time.Now()} }

// tell runs the steps until the end or until one that the rest depends on fails.
func (s *story) tell(steps func()) {
	defer func() {
		s.stopClock()
		switch r := recover().(type) {
		case nil, over:
		case failure:
			s.line("✘", r.message, 0)
		default:
			s.line("✘", fmt.Sprintf("%v\n%s", r, debug.Stack()), 0)
		}
	}()
	steps()
}

// step does something that the rest of the story needs. do returns what was seen.
func (s *story) step(what string, do func() string) {
	if !s.try(what, do) {
		panic(over{})
	}
}

// check does something whose failure does not hinder what follows.
func (s *story) check(what string, do func() string) { s.try(what, do) }

func (s *story) try(what string, do func() string) (ok bool) {
	began := time.Now()
	defer func() {
		switch r := recover().(type) {
		case nil:
		case failure:
			s.line("✘", what+": "+r.message, time.Since(began))
		default:
			s.line("✘", fmt.Sprintf("%s: %v\n%s", what, r, debug.Stack()), time.Since(began))
		}
	}()
	seen := do()
	s.line("✔", seen, time.Since(began))
	return true
}

func (s *story) line(mark, text string, took time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.interrupted {
		return
	}
	if mark == "✔" {
		s.good++
	} else {
		s.bad++
	}
	fmt.Fprintf(s.out, "%s %-100s %6.2f s\n", mark, text, took.Seconds())
}

// end removes everything and prints the summary.
func (s *story) end() {
	ended := time.Now()
	s.mu.Lock()
	cleanups := slices.Clone(s.cleanups)
	s.mu.Unlock()
	for _, f := range slices.Backward(cleanups) {
		f()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	fmt.Fprintf(s.out, "\n%d steps went well, %d failed; %.1f s, and %.1f s to remove everything\n",
		s.good, s.bad, s.took.Seconds(), time.Since(ended).Seconds())
}

func (s *story) stopClock() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.took = time.Since(s.began)
}

// interrupt is called instead of waiting for the end of the steps.
func (s *story) interrupt() {
	s.stopClock()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.interrupted = true
	fmt.Fprintln(s.out, "\ninterrupted, cleaning up")
}

// complete tells whether all steps were made and went well.
func (s *story) complete() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.bad == 0 && !s.interrupted
}

// The methods that make it a lab.T.

func (s *story) Helper() {}
func (s *story) Failed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.bad > 0
}
func (s *story) Fatalf(format string, args ...any) {
	panic(failure{fmt.Sprintf(format, args...)})
}
func (s *story) Logf(format string, args ...any) {
	fmt.Fprintf(s.out, "  "+format+"\n", args...)
}
func (s *story) Cleanup(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cleanups = append(s.cleanups, f)
}

// must turns an error into the end of the step.
func (s *story) must(err error) {
	if err != nil {
		s.Fatalf("%v", err)
	}
}
