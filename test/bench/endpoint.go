package main

import (
	"flag"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"neutrino/test/keystone"
)

// server is one that runs already.
type server struct {
	url   string
	pid   int    // of its first process; 0 = unknown
	start string // shell command that starts it in the background and prints its pid
	fill  string // URL of another server on the same database, which makes the ports to list; "": this one makes them
	effort
}

// flags are the command line's, each with a prefix.
func (s *server) flags(prefix, about string) {
	s.effort = whole
	flag.IntVar(&s.pid, prefix+"pid", 0, about+"process whose memory, with that of its children, is measured")
	flag.StringVar(&s.start, prefix+"start", "", about+"shell `command` that starts it in the background and prints its pid; the start is measured, again and again")
	flag.StringVar(&s.fill, prefix+"fill", "", about+"`URL` of a faster server on the same database, which makes the ports that are listed")
	flag.IntVar(&s.rounds, prefix+"rounds", whole.rounds, about+"how often requests for one object are made")
	flag.Func(prefix+"ports", about+"sizes of the networks to list (default 1000,5000)", func(text string) (err error) {
		s.ports = nil
		for _, word := range strings.Split(text, ",") {
			n, e := strconv.Atoi(word)
			if e != nil {
				err = e
			}
			s.ports = append(s.ports, n)
		}
		return err
	})
}

// endpoints measures a server, and if there is another that one just before for each measurement that both have: what
// else the machine does then disturbs both alike.
func (r *runner) endpoints(identity, password string, one, other *server) {
	var k *keystone.Keystone
	if identity != "" {
		var err error
		k, err = keystone.New(identity, password, "bench")
		r.must(err)
		r.Cleanup(k.Close)
	}
	against := map[string]measurement{}
	if other.url != "" {
		for _, m := range r.server(other, k) {
			against[m.name] = m
		}
	}
	for _, m := range r.server(one, k) {
		var before *float64
		if o, ok := against[m.name]; ok {
			median := r.one(o).Median
			before = &median
		}
		result := r.one(m)
		result.Other = before
		r.results = append(r.results, result)
	}
}

// server are the measurements of a running server.
func (r *runner) server(s *server, k *keystone.Keystone) []measurement {
	var all []measurement
	if s.start != "" {
		start := func() float64 {
			r.stop(s.pid)
			return timed(func() {
				out, err := exec.Command("sh", "-c", s.start).Output()
				r.must(err)
				s.pid, err = strconv.Atoi(strings.TrimSpace(string(out)))
				r.must(err)
				for end := time.Now().Add(time.Minute); !s.answers(); time.Sleep(time.Millisecond) {
					if time.Now().After(end) {
						r.Fatalf("%s does not answer", s.url)
					}
				}
			})()
		}
		start() // so that there is one to speak to
		all = append(all, measurement{"start to first answer", "ms", 100, s.of(5), nil, start})
	}
	var memory func() float64
	if s.pid != 0 {
		memory = func() float64 { return memoryOf(r.harness, s.pid) }
	}
	c := newClient(r.harness, s.url, k, nil)
	filler := c
	if s.fill != "" {
		filler = c.at(s.fill)
	}
	return append(all, apiMeasurements(c, filler, memory, s.effort)...)
}

// stop ends a process; 0: there is none.
func (r *runner) stop(pid int) {
	if pid == 0 {
		return
	}
	r.must(syscall.Kill(pid, syscall.SIGTERM))
	for end := time.Now().Add(time.Minute); syscall.Kill(pid, 0) == nil; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			r.Fatalf("process %d does not end", pid)
		}
	}
}

func (s *server) answers() bool {
	w, err := http.Get(s.url + "/")
	if err != nil {
		return false
	}
	w.Body.Close()
	return w.StatusCode < http.StatusInternalServerError
}

// memoryOf is the memory of a process and its children in MB; what they share counts once.
func memoryOf(h *harness, pid int) float64 {
	children := map[int][]int{}
	files, err := filepath.Glob("/proc/[0-9]*/stat")
	h.must(err)
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			continue // it has ended
		}
		var child, parent int
		var state string
		_, _ = fmt.Sscan(string(text), &child)
		_, _ = fmt.Sscan(string(text[strings.LastIndexByte(string(text), ')')+1:]), &state, &parent)
		children[parent] = append(children[parent], child)
	}
	var sum func(pid int) float64
	sum = func(pid int) float64 {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
		h.must(err)
		_, after, _ := strings.Cut(string(text), "\nPss:")
		var kB float64
		_, err = fmt.Sscan(after, &kB)
		h.must(err)
		for _, child := range children[pid] {
			kB += sum(child) * 1024
		}
		return kB / 1024
	}
	return sum(pid)
}
