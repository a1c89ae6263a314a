package main

import (
	"bufio"
	"fmt"
	"os"
	"regexp"
	"slices"
	"sort"
	"strings"
)

// runner sends requests to both servers and keeps account of the differences.
type runner struct {
	a, b     *server
	keystone *callers
	differ   *differ
	verbose  bool
	limit    int
	sent     int
	statuses map[int]int
	differed int
	kinds    map[string]int
	// write says that both servers have one database, and which answers requests that change it: a, b or both in turn.
	write   string
	lacking []string       // collections that only one server has
	ignore  *regexp.Regexp // paths of differences that are no differences
}

func newRunner(a, b, keystoneURL, password, write string) (*runner, error) {
	k, err := newCallers(keystoneURL, password)
	if err != nil {
		k.Close()
		return nil, err
	}
	r := &runner{a: &server{base: a, objects: map[string]map[string]any{}}, b: &server{base: b, objects: map[string]map[string]any{}},
		keystone: k, write: write, differ: &differ{pairs: map[string]string{}, known: map[string]bool{}, urls: [2]string{a, b}, strict: write != ""}, statuses: map[int]int{}, kinds: map[string]int{}}
	for name, project := range k.projects {
		for _, s := range []*server{r.a, r.b} {
			s.objects[name] = map[string]any{"project": project}
		}
	}
	if write != "" {
		return r, nil
	}
	return r, r.acquaint()
}

// acquaint lets the differ see what both servers have from the start, each list under the names of its objects.
func (r *runner) acquaint() error {
	for _, path := range []string{"/subnets?name=public-subnet", "/subnets?name=public-subnet-v6", "/networks?name=public", // which names its subnets in any order
		"/subnetpools?sort_key=name&sort_dir=asc", "/agents?sort_key=id&sort_dir=asc"} {
		q := request{caller: "admin", method: "GET", path: path}
		a, err := r.a.send(q, r.keystone.tokens["admin"])
		if err != nil {
			return err
		}
		b, err := r.b.send(q, r.keystone.tokens["admin"])
		if err != nil {
			return err
		}
		r.differ.answers(a, b)
	}
	return nil
}

func (r *runner) close() { r.keystone.Close() }

// runFile runs a script.
func (r *runner) runFile(name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 64<<20)
	for lines.Scan() {
		line := strings.TrimSpace(lines.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		rest, conditional := strings.CutPrefix(line, "?")
		if conditional && (reference.MatchString(r.a.expand(rest)) || reference.MatchString(r.b.expand(rest))) {
			continue
		}
		q, err := parseRequest(rest)
		if err != nil {
			return err
		}
		if _, err := r.run(q); err != nil {
			return err
		}
	}
	return lines.Err()
}

// run sends one request to both servers and tells of differences. It returns the status of server A.
func (r *runner) run(q request) (int, error) {
	token := r.keystone.tokens[q.caller]
	if token == "" && q.caller != "nobody" {
		return 0, fmt.Errorf("no caller %q", q.caller)
	}
	if r.write != "" && q.method != "GET" {
		return r.runShared(q)
	}
	a, b, err := r.both(q)
	if err != nil {
		return 0, err
	}
	r.differ.fresh = q.method != "GET"
	r.account(q, a, b, r.differ.answers(a, b))
	return a.status, nil
}

// both sends a request to both servers.
func (r *runner) both(q request) (a, b answer, err error) {
	token := r.keystone.tokens[q.caller]
	if a, err = r.a.send(q, token); err != nil {
		return a, b, err
	}
	b, err = r.b.send(q, token)
	return a, b, err
}

// account counts a request and prints what differs in its answers.
func (r *runner) account(q request, a, b answer, found []difference) {
	r.sent++
	r.statuses[a.status]++
	if r.verbose {
		fmt.Printf("%d %d  %s\n", a.status, b.status, q)
	}
	if r.ignore != nil {
		found = slices.DeleteFunc(found, func(d difference) bool { return r.ignore.MatchString(d.path) })
	}
	if len(found) == 0 {
		return
	}
	r.differed++
	for _, d := range found {
		r.kinds[q.method+" "+collection(q.path)+" "+d.path]++
	}
	if r.differed <= r.limit {
		fmt.Printf("--- %s\n", cut(r.a.expand(q.String()), 600))
		for _, d := range found {
			fmt.Printf("    %s\n      a: %s\n      b: %s\n", d.path, cut(d.a, 600), cut(d.b, 600))
		}
	}
}

// summary prints how often what differed, and reports whether nothing did.
func (r *runner) summary() bool {
	kinds := make([]string, 0, len(r.kinds))
	for k := range r.kinds {
		kinds = append(kinds, k)
	}
	sort.Slice(kinds, func(i, j int) bool { return r.kinds[kinds[i]] > r.kinds[kinds[j]] })
	for _, k := range kinds {
		fmt.Printf("%6d  %s\n", r.kinds[k], k)
	}
	fmt.Printf("%d requests, %d answered differently; statuses of a: %v\n", r.sent, r.differed, r.statuses)
	return r.differed == 0
}

var oneObject = regexp.MustCompile(`/(\$[\w.]+|[0-9a-f-]{32,36})`)

// collection is a path without identifiers and query.
func collection(path string) string {
	path, _, _ = strings.Cut(path, "?")
	return oneObject.ReplaceAllString(path, "/ID")
}

func cut(s string, n int) string {
	if len(s) > n {
		return s[:n] + "…"
	}
	return s
}
