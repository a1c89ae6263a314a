// Command demo shows Neutrino at work on one machine: a tenant network from nothing, with real packets. It needs root,
// makes everything in namespaces of its own and removes it again.
//
//	demo [-binary FILE]        tell the story; the exit status is 0 only if every step went well
//	KEEP=1 demo                leave everything running after the story, to play with
//	demo -stop                 end one that runs so
package main

import (
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"neutrino/test/lab"
)

func main() {
	binary := flag.String("binary", "build/neutrino", "the binary of Neutrino")
	stop := flag.Bool("stop", false, "end a demo that was started with KEEP=1")
	flag.Parse()
	if *stop {
		exitOn(stopKept())
		return
	}
	path, err := filepath.Abs(*binary)
	exitOn(err)
	_, err = os.Stat(path)
	exitOn(err)
	if os.Geteuid() != 0 {
		exitOn(fmt.Errorf("the demo makes network namespaces and needs root: sudo make demo"))
	}
	os.Exit(run(path, os.Getenv("KEEP") != ""))
}

func exitOn(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

// run tells the story and returns the exit status.
func run(binary string, keep bool) int {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	s := newStory(os.Stdout)
	told := make(chan struct{})
	go func() {
		defer close(told)
		s.tell(func() { demo(s, lab.New(s), binary, keep) })
	}()
	select {
	case <-told:
		if keep && s.kept != nil {
			s.kept(signals)
		}
	case <-signals:
		s.interrupt()
	}
	s.end()
	if !s.complete() {
		return 1
	}
	return 0
}
