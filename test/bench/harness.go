package main

import (
	"fmt"
	"os"
	"slices"
)

// harness is the lab's T: the first failure ends the benchmark.
type harness struct {
	cleanups []func()
	failed   bool
}

type failure struct{ error }

// run calls f and cleans up.
func (h *harness) run(f func()) (err error) {
	defer func() {
		r := recover()
		if fail, ok := r.(failure); ok {
			h.failed, err = true, fail.error
		}
		for _, clean := range slices.Backward(h.cleanups) {
			clean()
		}
		if r != nil && err == nil {
			panic(r)
		}
	}()
	f()
	return nil
}

func (h *harness) Helper()          {}
func (h *harness) Failed() bool     { return h.failed }
func (h *harness) Cleanup(f func()) { h.cleanups = append(h.cleanups, f) }

func (h *harness) Logf(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }

func (h *harness) Fatalf(format string, args ...any) { panic(failure{fmt.Errorf(format, args...)}) }

func (h *harness) must(err error) {
	if err != nil {
		panic(failure{err})
	}
}
