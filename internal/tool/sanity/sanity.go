// Package sanity finds out what this machine's kernel, nft and Open vSwitch can do, and what follows for the network from
// what they cannot. It changes nothing: what it tries, it tries in a network namespace that is gone afterwards.
package sanity

import (
	"context"
	"fmt"
	"io"
	"runtime"
	"strings"
	"text/tabwriter"

	"golang.org/x/sys/unix"
)

// Check is one thing that the machine can do or not.
type Check struct {
	Name string
	// Flags are upstream's options of neutron-sanity-check that ask for it.
	Flags   []string
	Without string // what follows if it is missing
	// Always is for what no host with an agent can do without.
	Always bool
	probe  func(*probe) error
}

// Result is what was found.
type Result struct {
	Check
	Err      error // nil: it works
	Required bool
}

// Config says how to look.
type Config struct {
	OVSDB    string              // endpoint of Open vSwitch's database
	Required func(c *Check) bool // beyond those that are always required
}

// Run looks at everything.
func Run(ctx context.Context, cfg Config) []Result {
	p := &probe{ctx: ctx, cfg: cfg}
	defer p.close()
	_ = p.openvswitch() // from here: the scratch namespace has no network
	var results []Result
	done := make(chan struct{})
	go func() { // the thread dies with the goroutine, and with it the namespace and all that was made in it
		defer close(done)
		runtime.LockOSThread()
		p.scratch = unix.Unshare(unix.CLONE_NEWNET)
		for _, c := range Checks() {
			required := c.Always || cfg.Required != nil && cfg.Required(&c)
			results = append(results, Result{c, c.probe(p), required})
		}
	}()
	<-done
	return results
}

// Failed counts what is required and missing.
func Failed(results []Result) (n int) {
	for _, r := range results {
		if r.Required && r.Err != nil {
			n++
		}
	}
	return n
}

// short is the end of the first line of an error: what is specific comes last.
func short(err error) string {
	const most = 80
	line, _, _ := strings.Cut(err.Error(), "\n")
	if len(line) > most {
		line = "…" + line[len(line)-most:]
	}
	return line
}

// Print writes the table.
func Print(w io.Writer, results []Result) error {
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintln(t, "CAN\tRESULT\tNEEDED\tWITHOUT IT\tREASON")
	for _, r := range results {
		result, needed, without, reason := "yes", "", "", ""
		if r.Required {
			needed = "needed"
		}
		if r.Err != nil {
			result, without, reason = "no", r.Without, short(r.Err)
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", r.Name, result, needed, without, reason)
	}
	return t.Flush()
}
