// Package chaos lets a cloud of three hypervisors and a network node go through a random sequence of API calls and
// accidents, and checks with packets who can talk to whom.
//
// What must be is computed from the API's own lists (oracle_test.go, wanted_test.go), never remembered: whatever an operation was
// meant to do, the hosts must end up as the lists say. The seed gives the sequence; timing is the machine's, so a failure
// may need several runs to come again. `make chaos DURATION=10m SEED=7` runs it longer than `make test` does.
package chaos

import (
	"flag"
	"os"
	"testing"
	"time"

	"neutrino/internal/store/dbtest"
	"neutrino/test/lab"
)

var (
	seed     = flag.Uint64("seed", 1, "of the random sequence")
	duration = flag.Duration("duration", 15*time.Second, "how long operations go on, before the end is checked")
	plugin   = flag.String("plugin", "linuxbridge", "linuxbridge or openvswitch")
	only     = flag.String("only", "", "regular expression: which operations there are besides those that build up")
	accident = flag.Bool("accidents", true, "whether daemons are killed and frozen and connections cut")
	database = flag.String("database", "", "postgresql or mysql: two servers share one; without it one server has a file")
	hold     = flag.Duration("hold", 0, "how long hosts are left alone after a failure, to be looked at")
	daemon   string // the binary
)

func TestMain(m *testing.M) {
	if os.Geteuid() != 0 {
		os.Exit(m.Run()) // all are skipped
	}
	os.Exit(lab.WithBinary(func(path string) int {
		daemon = path
		return m.Run()
	}))
}

func TestChaos(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: makes network namespaces")
	}
	l := lab.New(t)
	l.OpenVSwitch = *plugin == "openvswitch"
	l.ProviderEverywhere = true
	if *database != "" {
		l.Database = sharedDatabase(t)
	}
	c := l.MultiHost(daemon, 3, configuration)
	c.StartDaemon(c.Network, daemon, "metering-agent")
	w := newWorld(t, c, *seed)
	before := w.pristine()
	w.begin()
	for start, settled := time.Now(), time.Now(); time.Since(start) < *duration && !t.Failed(); {
		w.step()
		if time.Since(settled) > settleEvery {
			w.settle()
			settled = time.Now()
		}
	}
	for _, check := range []func(){w.mend, w.settle, w.leases, w.restartAll, w.clear, func() { w.comparePristine(before) }} {
		if t.Failed() { // what the hosts have is evidence
			return
		}
		check()
	}
}

// sharedDatabase starts a database server and returns the URL of an empty database.
func sharedDatabase(t *testing.T) string {
	server, err := dbtest.StartServer(t.Context(), *database)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Stop() })
	url, err := server.Create(t.Context(), "neutron")
	if err != nil {
		t.Fatal(err)
	}
	return url
}

// configuration is added to that of all daemons.
const configuration = `[DEFAULT]
service_plugins = router,metering
driver = iptables
enable_isolated_metadata = true
[ml2_type_vlan]
network_vlan_ranges = public:101:140
`

// settleEvery is how often operations pause until everything is as the API says. In between, a bad state may be
// repaired by the next operation before anybody sees it.
const settleEvery = 6 * time.Second
