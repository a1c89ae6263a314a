// Command bench measures the speed and the memory of Neutrino and compares them with the goals of the design, or with
// another server. It needs root, for the namespaces that it measures in, unless it measures a server that runs already.
//
//	bench                          measure NEUTRINO_BINARY (default build/neutrino), server and agents
//	bench -part agent              only one part: start, api, agent (1000 ports with linuxbridge), ovs-agent, services
//	                               (1000 networks, many routers), floating (1000 floating IPs), linuxbridge or openvswitch (iperf3)
//	bench -json                    print JSON instead of a Markdown table
//	bench -endpoint http://HOST    measure the API of any server, upstream's too
//	bench -endpoint http://HOST -against http://OTHER -keystone http://HOST:5000/v3 -password PASSWORD
//	                               measure two servers in turn, and print how many times better the first one is
//
// What it makes in a server that runs already stays there: use one that can be thrown away.
package main

import (
	"cmp"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"neutrino/test/lab"
)

// measurement is a row of the table: a name, a set-up and a function.
type measurement struct {
	name   string
	unit   string  // of what round returns: ms, s, MB, "" for a ratio or a count, or one of moreIsBetter
	goal   float64 // negative: none
	rounds int     // counted ones, after a tenth more to warm up
	setUp  func()  // before the first round and not measured; may be nil
	round  func() float64
}

// result is what the rounds of a measurement gave.
type result struct {
	Name   string   `json:"name"`
	Unit   string   `json:"unit"`
	Median float64  `json:"median"`
	P99    float64  `json:"p99,omitempty"` // 0: too few rounds to say
	Goal   *float64 `json:"goal,omitempty"`
	Met    bool     `json:"met"`
	Rounds int      `json:"rounds"`
	Other  *float64 `json:"other,omitempty"` // median of the other server
}

func main() {
	var one, other server
	one.flags("", "")
	other.flags("against-", "of the other server: ")
	flag.StringVar(&one.url, "endpoint", "", "`URL` of a running server; only its API is measured")
	flag.StringVar(&other.url, "against", "", "`URL` of another server to measure too")
	identity := flag.String("keystone", "", "`URL` of the Keystone that gives tokens; without it requests have none")
	password := flag.String("password", "", "of Keystone's user admin")
	names := flag.String("names", "first,other", "of the servers in the table")
	asJSON := flag.Bool("json", false, "print JSON")
	part := flag.String("part", "", "measure only this `part`: start, api, agent, ovs-agent, services, floating, linuxbridge or openvswitch")
	flag.Parse()
	r := &runner{harness: &harness{}}
	err := r.run(func() {
		if one.url == "" {
			r.bench(*part)
			return
		}
		r.endpoints(*identity, *password, &one, &other)
	})
	switch {
	case *asJSON:
		printJSON(os.Stdout, r.results)
	case other.url != "":
		printRatios(os.Stdout, *names, r.results)
	default:
		printTable(os.Stdout, r.results)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// runner makes measurements and keeps their results.
type runner struct {
	*harness
	results []result
}

// bench makes what is measured, and measures it.
func (r *runner) bench(part string) {
	binary, err := filepath.Abs(cmp.Or(os.Getenv("NEUTRINO_BINARY"), "build/neutrino"))
	r.must(err)
	parts := []struct {
		name string
		make func(l *lab.Lab) []measurement
	}{
		{"start", func(l *lab.Lab) []measurement { return startMeasurements(r.harness, l, binary) }},
		{"api", func(l *lab.Lab) []measurement {
			host := l.AllInOne(binary).Network
			memory := func() float64 { return resident(r.harness, host.Daemons["all-in-one"]) }
			c := newClient(r.harness, "http://"+lab.APIAddress, nil, host.Dial)
			return apiMeasurements(c, c, memory, whole)
		}},
		{"agent", func(l *lab.Lab) []measurement { return agentMeasurements(r.harness, l.MultiHost(binary, 1)) }},
		{"ovs-agent", func(l *lab.Lab) []measurement {
			l.OpenVSwitch = true
			return agentMeasurements(r.harness, l.MultiHost(binary, 1))
		}},
		{"services", func(l *lab.Lab) []measurement {
			return serviceMeasurements(r.harness, l.MultiHost(binary, 0, "[ml2_type_vxlan]\nvni_ranges = 1001:4000\n[quotas]\nquota_network = -1\nquota_subnet = -1\nquota_router = -1"))
		}},
		{"floating", func(l *lab.Lab) []measurement {
			return floatingMeasurements(r.harness, l.MultiHost(binary, 0, "[quotas]\nquota_floatingip = -1"))
		}},
		{"linuxbridge", func(l *lab.Lab) []measurement { return throughputMeasurements(r.harness, l, binary) }},
		{"openvswitch", func(l *lab.Lab) []measurement {
			l.OpenVSwitch = true
			return throughputMeasurements(r.harness, l, binary)
		}},
	}
	for _, p := range parts {
		if part == "" || part == p.name {
			l := lab.New(r.harness)
			r.measure(p.make(l))
			l.Close() // the next one wants the processors for itself
		}
	}
}

func (r *runner) measure(all []measurement) {
	for _, m := range all {
		r.results = append(r.results, r.one(m))
	}
}

func (r *runner) one(m measurement) result {
	r.Logf("%s …", m.name)
	if m.setUp != nil {
		m.setUp()
	}
	for range m.rounds / 10 {
		m.round()
	}
	samples := make([]float64, m.rounds)
	for i := range samples {
		samples[i] = m.round()
	}
	return m.result(samples)
}

func (m *measurement) result(samples []float64) result {
	slices.Sort(samples)
	n := len(samples)
	r := result{Name: m.name, Unit: m.unit, Median: (samples[(n-1)/2] + samples[n/2]) / 2, Rounds: n, Met: true}
	if n >= 50 {
		r.P99 = samples[(n*99+99)/100-1]
	}
	if m.goal >= 0 {
		r.Goal = &m.goal
		r.Met = r.Median <= m.goal
		if moreIsBetter[m.unit] {
			r.Met = r.Median >= m.goal
		}
	}
	return r
}

const (
	perSecond = "/s"
	gigabits  = "Gbit/s"
	percent   = "%"
	noGoal    = -1
)

// moreIsBetter are the units of which more is better.
var moreIsBetter = map[string]bool{perSecond: true, gigabits: true, percent: true}

// timed makes a round of something, in milliseconds.
func timed(do func()) func() float64 {
	return func() float64 {
		began := time.Now()
		do()
		return milliseconds(time.Since(began))
	}
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
