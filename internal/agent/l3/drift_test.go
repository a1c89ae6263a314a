package l3

import (
	"bytes"
	"log/slog"
	"net/netip"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"neutrino/internal/linux/netns"
	"neutrino/internal/rpc"

	"github.com/vishvananda/netlink"
)

// journal is a log that tests read.
type journal struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (j *journal) Write(b []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.Write(b)
}

func (j *journal) has(words ...string) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	for line := range strings.Lines(j.text.String()) {
		found := true
		for _, w := range words {
			found = found && strings.Contains(line, w)
		}
		if found {
			return true
		}
	}
	return false
}

// in runs a command in a namespace of the host; "" = in none.
func in(t *testing.T, namespace, command string) string {
	t.Helper()
	words := strings.Fields(command)
	if namespace != "" {
		words = append([]string{"ip", "netns", "exec", namespace}, words...)
	}
	out, err := exec.Command(words[0], words[1:]...).CombinedOutput()
	for _, early := range []string{"Device or resource busy", "Cannot remove namespace file"} { // `ip netns del`: once it was unmounted, the agent made it anew
		if strings.Contains(string(out), early) {
			err = nil
		}
	}
	if err != nil {
		t.Fatalf("%s: %v\n%s", command, err, out)
	}
	return string(out)
}

// What somebody changes by hand in a router is back soon, is logged, and nothing else is written.
func TestDrift(t *testing.T) {
	r := aRouter()
	r.FloatingIPs = []rpc.FloatingIP{fip("fip", "203.0.113.10", "10.0.0.5")}
	r.Routes = []rpc.Route{{Destination: "192.168.9.0/24", Nexthop: "10.0.0.6"}}
	scoped := func(p *rpc.Port, scope string) { p.AddressScopes = map[string]*string{"6": &scope} }
	r.Interfaces[0].FixedIPs = append(r.Interfaces[0].FixedIPs, rpc.FixedIP{SubnetID: "a6", IPAddress: "fd00:a::1", Prefixlen: 64})
	r.Interfaces[1].FixedIPs = append(r.Interfaces[1].FixedIPs, rpc.FixedIP{SubnetID: "b6", IPAddress: "fd00:b::1", Prefixlen: 64})
	scoped(&r.Interfaces[0], "one")
	scoped(&r.Interfaces[1], "two")
	s := newSite(t, r)
	var log journal
	a := runWith(t, s.server, Config{CheckInterval: 40 * time.Millisecond}, slog.New(slog.NewTextHandler(&log, nil)))
	a.settled()
	s.internet.reaches("203.0.113.10:7")
	quiet(t, a)
	const ns = namespacePrefix + routerID
	for _, c := range []struct {
		name, do string // in the namespace
		logged   string
		host     bool // the command runs outside
	}{
		{name: "floating IP's element", do: "nft delete element ip neutrino floating { 203.0.113.10 }", logged: "203.0.113.10"},
		{name: "floating IP leads elsewhere", do: "nft add element ip neutrino floating { 203.0.113.99 : 10.0.0.99 }", logged: "203.0.113.99"},
		{name: "rules of a chain", do: "nft flush chain ip neutrino postrouting", logged: "nft rules"},
		{name: "a rule more", do: "nft insert rule ip neutrino prerouting ip daddr 203.0.113.10 drop", logged: "nft rules"},
		{name: "table", do: "nft delete table ip neutrino", logged: "nft rules"},
		{name: "IPv6 table", do: "nft delete table ip6 neutrino", logged: "nft rules"},
		{name: "all rules", do: "nft flush ruleset", logged: "nft rules"},
		{name: "table asleep", do: "nft add table ip neutrino { flags dormant ; }", logged: "nft rules"},
		{name: "gateway's address", do: "ip addr del 203.0.113.2/24 dev qg-eeeeeeee-ee", logged: "203.0.113.2/24"},
		{name: "floating IP's address", do: "ip addr del 203.0.113.10/32 dev qg-eeeeeeee-ee", logged: "203.0.113.10/32"},
		{name: "address too many", do: "ip addr add 10.0.0.77/24 dev qr-11111111-11", logged: "10.0.0.77"},
		{name: "internal address", do: "ip addr flush dev qr-11111111-11", logged: "10.0.0.1/24"},
		{name: "default route", do: "ip route del default", logged: "route to 0.0.0.0/0"},
		{name: "extra route", do: "ip route del 192.168.9.0/24", logged: "192.168.9.0/24"},
		{name: "route elsewhere", do: "ip route replace 192.168.9.0/24 via 10.0.0.5 proto static", logged: "192.168.9.0/24"},
		{name: "forwarding", do: "sysctl -w net.ipv4.ip_forward=0", logged: "ip_forward"},
		{name: "forwarding of an interface", do: "sysctl -w net/ipv4/conf/qr-11111111-11/forwarding=0", logged: "forwarding"},
		{name: "interface down", do: "ip link set qr-11111111-11 down", logged: "interface qr-11111111-11"},
		{name: "loopback down", do: "ip link set lo down", logged: "interface lo"},
		{name: "gateway down", do: "ip link set qg-eeeeeeee-ee down", logged: "interface qg-eeeeeeee-ee"},
		{name: "MAC address", do: "ip link set qg-eeeeeeee-ee address 02:00:00:00:00:09", logged: "interface qg-eeeeeeee-ee"},
		{name: "MTU", do: "ip link set qr-11111111-11 mtu 1300", logged: "interface qr-11111111-11"},
		{name: "interface", do: "ip link del tapeeeeeeee-ee", host: true, logged: "interface qg-eeeeeeee-ee"},
		{name: "namespace", do: "ip netns del " + ns, host: true, logged: "namespace " + ns},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := rulesText(t, ns)
			namespace := ns
			if c.host {
				namespace = ""
			}
			in(t, namespace, c.do)
			eventually(t, "it is logged", func() bool { return log.has("restored", c.logged) })
			s.t = t
			s.internet.reaches("203.0.113.10:7")
			s.a1.reaches("203.0.113.1:7")
			s.a1.reaches("10.0.1.5:7")
			quiet(t, a)
			if now := rulesText(t, ns); now != before {
				t.Errorf("rules before and after:\n%s\n%s", before, now)
			}
			log.mu.Lock()
			log.text.Reset()
			log.mu.Unlock()
		})
	}
}

// quiet waits until the agent has stopped to write, and checks that it stays so for several checks.
func quiet(t *testing.T, a *running) {
	t.Helper()
	eventually(t, "no more writes", func() bool {
		before := a.Writes()
		time.Sleep(120 * time.Millisecond)
		return a.Writes() == before
	})
}

func rulesText(t *testing.T, namespace string) string {
	t.Helper()
	var tables []string
	for _, family := range []string{"ip", "ip6"} {
		tables = append(tables, in(t, namespace, "nft -s list table "+family+" neutrino"))
	}
	return strings.Join(tables, "")
}

// What the kernel tells of is restored without waiting for the regular check.
func TestDriftIsSeenAtOnce(t *testing.T) {
	r := aRouter()
	r.FloatingIPs = []rpc.FloatingIP{fip("fip", "203.0.113.10", "10.0.0.5")}
	s := newSite(t, r)
	var log journal
	agent := New(Config{Host: "host", ReportInterval: 50 * time.Millisecond, CheckInterval: time.Hour}, s.server,
		slog.New(slog.NewTextHandler(&log, nil)), nil)
	agent.pause = 10 * time.Millisecond
	a := start(t, agent)
	a.settled()
	s.internet.reaches("203.0.113.10:7")
	const ns = namespacePrefix + routerID
	for _, c := range []struct{ namespace, do, logged string }{
		{ns, "nft delete element ip neutrino floating { 203.0.113.10 }", "203.0.113.10"},
		{ns, "nft flush ruleset", "nft rules"},
		{ns, "ip addr del 203.0.113.10/32 dev qg-eeeeeeee-ee", "203.0.113.10/32"},
		{ns, "ip route del default", "route to 0.0.0.0/0"},
		{"", "ip link del tap11111111-11", "interface qr-11111111-11"},
		{"", "ip netns del " + ns, "namespace"},
		{ns, "nft flush ruleset", "nft rules"}, // the namespace is another one now
	} {
		a.rests(t)
		log.mu.Lock()
		log.text.Reset()
		log.mu.Unlock()
		in(t, c.namespace, c.do)
		eventually(t, c.do+" is undone", func() bool { return log.has("restored", c.logged) })
	}
	s.internet.reaches("203.0.113.10:7")
	s.a1.reaches("203.0.113.1:7")
	quiet(t, a)
}

// rests waits until the agent has not looked at the router for so long that it takes changes for those of others.
func (r *running) rests(t *testing.T) {
	t.Helper()
	looked := func() (at time.Time) {
		r.mu.Lock()
		defer r.mu.Unlock()
		if h := r.routers[routerID]; h != nil {
			at = h.looked
		}
		return at
	}
	eventually(t, "the agent rests", func() bool {
		r.settled()
		before := looked()
		time.Sleep(2 * ownChanges)
		return !r.queue.has(routerID) && looked().Equal(before)
	})
}

// What was changed while no agent ran is seen by the next one.
func TestDriftWhileNoAgentRuns(t *testing.T) {
	r := aRouter()
	r.FloatingIPs = []rpc.FloatingIP{fip("fip", "203.0.113.10", "10.0.0.5")}
	s := newSite(t, r)
	first := run(t, s.server, nil)
	first.settled()
	first.stop()
	const ns = namespacePrefix + routerID
	for _, command := range []string{"nft flush chain ip neutrino leaving", "nft delete element ip neutrino fixed { 10.0.0.5 }",
		"nft add table ip neutrino { flags dormant ; }"} {
		before := in(t, ns, "nft -s list table ip neutrino")
		in(t, ns, command)
		second := run(t, s.server, nil)
		second.settled()
		second.stop()
		if second.Writes() == 0 || in(t, ns, "nft -s list table ip neutrino") != before {
			t.Errorf("after %q: %d writes, and\n%s", command, second.Writes(), in(t, ns, "nft -s list table ip neutrino"))
		}
	}
}

// Another agent that works on rules in the same namespace is no drift.
func TestOthersRulesAreNoDrift(t *testing.T) {
	s := newSite(t, aRouter())
	a := runWith(t, s.server, Config{CheckInterval: 50 * time.Millisecond}, slog.New(slog.NewTextHandler(t.Output(), nil)))
	a.settled()
	const ns = namespacePrefix + routerID
	before := a.Writes()
	in(t, ns, "nft add table ip neutrino_metering { chain forward { type filter hook forward priority 10 ; counter ; } ; }")
	time.Sleep(300 * time.Millisecond)
	if n := a.Writes() - before; n != 0 {
		t.Errorf("%d writes", n)
	}
	if out := in(t, ns, "nft list tables"); !strings.Contains(out, "neutrino_metering") {
		t.Error(out)
	}
}

// Addresses that the kernel made from router advertisements are no drift.
func TestLearnedAddressesAreNoDrift(t *testing.T) {
	r := aRouter()
	s := newSite(t, r)
	a := runWith(t, s.server, Config{CheckInterval: 50 * time.Millisecond}, slog.New(slog.NewTextHandler(t.Output(), nil)))
	a.settled()
	h, err := netns.Handle(namespaceOf(routerID))
	must(t, err)
	defer h.Close()
	qg, err := h.LinkByName("qg-eeeeeeee-ee")
	must(t, err)
	learned := netlinkAddr(netip.MustParsePrefix("2001:db8::77/64"))
	learned.ValidLft, learned.PreferedLft = 1000, 500 // not permanent: as from an advertisement
	must(t, h.AddrReplace(qg, learned))
	before := a.Writes()
	time.Sleep(300 * time.Millisecond)
	if n := a.Writes() - before; n != 0 {
		t.Errorf("%d writes", n)
	}
	all, err := h.AddrList(qg, netlink.FAMILY_V6)
	must(t, err)
	for _, x := range all {
		if x.IP.String() == "2001:db8::77" {
			return
		}
	}
	t.Error("an address that was learned is gone")
}
