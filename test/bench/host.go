package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"neutrino/test/lab"
)

// startMeasurements start all-in-one until its API answers, on a new and on an old database.
func startMeasurements(h *harness, l *lab.Lab, binary string) []measurement {
	node := l.Node("start")
	count := 0
	answered := func() { h.must(lab.Eventually(10*time.Second, func() error { return answers(node) })) }
	var last *lab.Process
	fresh := func() float64 {
		if last != nil {
			last.Stop()
		}
		count++
		state := filepath.Join(l.Dir, fmt.Sprint("start-", count))
		return timed(func() {
			last = node.Start(fmt.Sprint("start-", count), binary, "all-in-one", "--state", state)
			answered()
		})()
	}
	again := func() float64 {
		last.Stop()
		return timed(func() { last.Restart(); answered() })()
	}
	return []measurement{
		{"start of all-in-one to first answer, new database", "ms", noGoal, 5, nil, fresh},
		{"start of all-in-one to first answer", "ms", 100, 9, nil, again},
	}
}

func answers(n *lab.Node) error {
	_, err := n.Get("http://" + lab.APIAddress + "/")
	return err
}

// resident is the resident memory of a process in MB.
func resident(h *harness, p *lab.Process) float64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.Pid()))
	h.must(err)
	_, after, _ := strings.Cut(string(text), "VmRSS:")
	var kB float64
	_, err = fmt.Sscan(after, &kB)
	h.must(err)
	return kB / 1024
}

const deadline = 2 * time.Minute
