package chaos

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"neutrino/test/lab"
)

// world is a cloud, its guests, and what has happened to it.
type world struct {
	*lab.Cloud
	t      *testing.T
	seed   uint64
	random *rand.Rand

	guests   []*guest
	internet *endpoint
	public   string                      // the external network
	pools    []string                    // of subnets, each with an address scope; the external network's are of the first
	outside  map[netip.Prefix]netip.Addr // routes that the internet has
	order    map[string]int              // of creation: what is chosen at random must not depend on random ids
	names    int

	steps    int
	failures int
	history  []string
	outages  []*outage
	ghosts   []ghost
	blind    bool              // the network node's L2 agent was away: it does not know, as upstream's, what vanished meanwhile
	deaf     bool              // the L3 agent was away since everything was settled
	untold   map[string]bool   // floating IPs that lost their port meanwhile: nobody says that they are down, as upstream's
	known    map[probe]bool    // what must be, as far as it has been so since everything was settled
	upset    map[*guest]bool   // guests that were interrupted on purpose since then
	upsetAll bool              // or all
	counts   map[string][2]int // calls by operation: made, and refused
	probes   int
	facts    int // compared

	baseFlows map[*lab.Host]map[string]bool // of Open vSwitch, before there was anything
}

// endpoint is where probes start.
type endpoint struct {
	name  string
	node  *lab.Node
	guest *guest // nil: the internet
}

type guest struct {
	endpoint
	number   int
	instance *lab.Instance
	port     string
	host     *lab.Host
	alias    netip.Addr // one more IPv4 address, which it may use only as an allowed address pair
}

func newWorld(t *testing.T, c *lab.Cloud, seed uint64) *world {
	w := &world{Cloud: c, t: t, seed: seed, random: rand.New(rand.NewPCG(seed, seed)), order: map[string]int{}, known: map[probe]bool{},
		upset: map[*guest]bool{}, counts: map[string][2]int{}, outside: map[netip.Prefix]netip.Addr{}, untold: map[string]bool{}}
	t.Cleanup(w.summary)
	serve(c.Internet)
	c.Internet.Run(fmt.Sprintf("ip addr add %s/24 dev eth0", otherInternet))
	w.internet = &endpoint{name: "internet", node: c.Internet}
	return w
}

// begin makes what no operation makes: the external network.
func (w *world) begin() {
	w.public = w.API.Create("networks", lab.Object{"name": "public", "router:external": true,
		"provider:network_type": "flat", "provider:physical_network": "public"}).ID()
	for n, prefix := range scopePrefixes {
		scope := w.API.Create("address-scopes", lab.Object{"name": fmt.Sprintf("scope%d", n), "ip_version": 4})
		prefixes := []string{prefix}
		if n == 0 {
			prefixes = append(prefixes, lab.PublicCIDR)
		}
		w.pools = append(w.pools, w.API.Create("subnetpools", lab.Object{"name": fmt.Sprintf("pool%d", n), "prefixes": prefixes,
			"default_prefixlen": 24, "address_scope_id": scope.ID()}).ID())
	}
	w.API.Create("subnets", lab.Object{"network_id": w.public, "ip_version": 4, "cidr": lab.PublicCIDR, "subnetpool_id": w.pools[0],
		"gateway_ip": lab.InternetIP.String(), "enable_dhcp": false, "allocation_pools": []lab.Object{{"start": "203.0.113.2", "end": "203.0.113.199"}}})
	w.note("external network")
	for _, name := range []string{"network", "network", "subnet", "subnet", "subnet", "subnet", "router", "router interface",
		"router interface", "gateway", "security group", "rule", "rule", "rule", "boot", "boot", "boot", "boot"} {
		w.perform(operationNamed(name))
	}
	w.settle()
}

// scopePrefixes are those of the pools.
var scopePrefixes = []string{"10.128.0.0/10", "10.192.0.0/10"}

// step does one thing at random, and checks with a sample of packets that nothing else is disturbed.
func (w *world) step() {
	w.t.Helper()
	w.endOutages(false)
	w.exorcise(func(x ghost) bool { return w.steps >= x.until })
	w.perform(w.choose())
	s := w.look()
	w.forget(s)
	w.routeOutside(s)
	if all := w.allProbes(s); len(all) > 0 {
		w.random.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		w.check(s, all[:min(len(all), sample)])
	}
}

// sample is how many probes are tried after each step.
const sample = 150

func (w *world) choose() operation {
	var possible []operation
	pattern := regexp.MustCompile(*only)
	total := 0
	for _, o := range operations {
		if (!o.accident || *accident) && pattern.MatchString(o.name) {
			possible = append(possible, o)
			total += o.weight
		}
	}
	n := w.random.IntN(total)
	for _, o := range possible {
		if n -= o.weight; n < 0 {
			return o
		}
	}
	return possible[0]
}

func (w *world) perform(o operation) {
	w.t.Helper()
	w.steps++
	s := w.look()
	if what := o.do(w, s); what != "" {
		w.note("%s: %s", o.name, what)
	}
	if w.deaf {
		for id, f := range w.look().floatingIPs {
			w.untold[id] = w.untold[id] || f.port == "" && s.floatingIPs[id].port != ""
		}
	}
}

// note writes down what has happened, in the lab's directory too: who waits for a long run can read it there.
func (w *world) note(format string, args ...any) {
	line := fmt.Sprintf("%s step %d %s", time.Now().Format("15:04:05.000"), w.steps, fmt.Sprintf(format, args...))
	w.history = append(w.history, line)
	if f, err := os.OpenFile(filepath.Join(w.Dir, "history"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644); err == nil {
		fmt.Fprintln(f, line)
		_ = f.Close()
	}
}

// fail reports contradictions with all that is needed to look for their cause.
func (w *world) fail(what string, lines []string) {
	w.t.Helper()
	const most = 15
	if len(lines) > most {
		lines = append(lines[:most:most], fmt.Sprintf("and %d more", len(lines)-most))
	}
	w.failures++
	w.SaveStates(filepath.Join(w.Dir, fmt.Sprintf("failure-%d", w.failures)))
	w.t.Errorf("seed %d, step %d, %s: %s:\n\t%s", w.seed, w.steps, time.Now().Format("15:04:05.000"), what, strings.Join(lines, "\n\t"))
	time.Sleep(*hold)
}

// forget drops what must be from now on different.
func (w *world) forget(s *snapshot) {
	for p, want := range w.known {
		if s.may(p) != want {
			delete(w.known, p)
		}
	}
}

// check tries probes of which is known how they must end.
func (w *world) check(s *snapshot, probes []probe) {
	w.t.Helper()
	probes = slices.DeleteFunc(probes, func(p probe) bool {
		want, known := w.known[p]
		return !known || want && w.disturbed(p)
	})
	answers := send(probes, func(p probe) bool { return w.known[p] })
	w.probes += len(probes)
	bad := s.contradictions(answers, w.known)
	if len(bad) > 0 { // agents that come back ask for routers and networks that nobody has
		s = w.look()
		w.forget(s)
		maps.DeleteFunc(answers, func(p probe, _ bool) bool { _, known := w.known[p]; return !known })
		probes = slices.Collect(maps.Keys(answers))
		bad = s.contradictions(answers, w.known)
	}
	if len(bad) == 0 {
		return
	}
	again := s.contradictions(send(probes, func(p probe) bool { return w.known[p] }), w.known)
	if len(again) == 0 && !slices.ContainsFunc(bad, func(line string) bool { return strings.Contains(line, mustNot) }) {
		w.note("not answered in %s, but then, on a busy machine: %d probes", patient, len(bad))
		return
	}
	w.fail("traffic that no operation was about", append(append(bad, "and once more:"), again...))
}

const mustNot = "is answered"

// contradictions are the probes that ended otherwise than they must.
func (s *snapshot) contradictions(answers, want map[probe]bool) (lines []string) {
	for p, got := range answers {
		switch {
		case got && !want[p]:
			lines = append(lines, p.String()+" "+mustNot+": "+s.explain(p))
		case !got && want[p]:
			lines = append(lines, p.String()+" is not answered: "+s.explain(p))
		}
	}
	slices.Sort(lines)
	return lines
}

// disturbed tells whether the operations may have interrupted the probe's way.
func (w *world) disturbed(p probe) bool {
	if w.upsetAll || p.from.guest != nil && w.upset[p.from.guest] {
		return true
	}
	for g := range w.upset {
		if g.alias == p.dst || slices.Contains(g.addresses(), p.dst) {
			return true
		}
	}
	return p.from.guest == nil && len(w.upset) > 0
}

// allProbes are the probes between the addresses that guests have, in an order that depends on the seed only.
func (w *world) allProbes(s *snapshot) (all []probe) {
	for _, a := range w.guests {
		from, ok := s.ports[a.port]
		if !ok {
			continue
		}
		for _, b := range w.guests {
			to, ok := s.ports[b.port]
			if a == b || !ok {
				continue
			}
			all = append(all, between(s, kinds, a, from, to)...)
		}
		if f, ok := from.first(false); ok {
			for _, k := range kinds[:4] {
				all = append(all, probe{&a.endpoint, f.address, lab.InternetIP, k}, probe{w.internet, lab.InternetIP, f.address, k})
			}
		}
		for _, f := range s.floatingIPs {
			if f.port == a.port {
				for _, k := range kinds {
					all = append(all, probe{w.internet, lab.InternetIP, f.address, k})
				}
			}
		}
	}
	return slices.DeleteFunc(all, func(p probe) bool { return w.OpenVSwitch && s.tooBig(p) })
}

// tooBig tells whether a router answers fragments that they are too big. Open vSwitch's userspace connection tracking does not know
// that such a message belongs to the connection when it is about a fragment (extract_l3_ipv6 in lib/conntrack.c), and it is dropped as invalid.
func (s *snapshot) tooBig(p probe) bool {
	if p.from.guest == nil || p.size <= smallPayload || p.dst.Is4() {
		return false
	}
	from := s.ports[p.from.guest.port]
	to, found := s.target(from, p)
	return found && s.networks[from.network].mtu != s.networks[to.network].mtu
}

func between(s *snapshot, kinds []traffic, a *guest, from, to port) (all []probe) {
	for i, dst := range to.fixed {
		for j, src := range from.fixed {
			near := from.network == to.network && src.subnet == dst.subnet
			first := func(f fixed, p port) bool { x, _ := p.first(f.address.Is6()); return x == f }
			if src.address.Is6() != dst.address.Is6() || !near && !(first(src, from) && first(dst, to)) {
				continue
			}
			for _, k := range kinds {
				if near && (i > 1 || j > 1) && k.protocol != "icmp" { // further addresses
					continue
				}
				all = append(all, probe{&a.endpoint, src.address, dst.address, k})
			}
		}
		if from.network == to.network && a.alias.IsValid() && s.subnets[dst.subnet].prefix.Contains(a.alias) {
			all = append(all, probe{&a.endpoint, a.alias, dst.address, kinds[0]}, probe{&a.endpoint, a.alias, dst.address, kinds[3]})
		}
	}
	return all
}

// settle waits until everything is as the API says. Daemons that are dead are started first.
func (w *world) settle() {
	w.t.Helper()
	w.mend()
	deadline := time.Now().Add(patience)
	for {
		s := w.look()
		w.routeOutside(s)
		want := map[probe]bool{}
		all := w.allProbes(s)
		for _, p := range all {
			want[p] = s.may(p)
		}
		bad := s.contradictions(send(all, func(p probe) bool { return want[p] }), want)
		w.probes += len(all)
		bad = append(bad, w.statuses(s)...)
		if len(bad) == 0 {
			bad = append(w.metadata(s), w.haunted(s)...)
		}
		if len(bad) == 0 {
			yes := 0
			for _, ok := range want {
				if ok {
					yes++
				}
			}
			w.note("settled: %d guests, %d of %d probes are allowed", len(w.guests), yes, len(all))
			w.known = want
			break
		}
		if time.Now().After(deadline) {
			w.fail(fmt.Sprintf("%s after the last operation", patience), bad)
			break
		}
		time.Sleep(200 * time.Millisecond)
	}
	w.upset, w.upsetAll, w.deaf = map[*guest]bool{}, false, false
	w.compareHosts()
}

// patience is how long hosts may take to do what the API says.
const patience = 12 * time.Second

// statuses are what agents told the server.
func (w *world) statuses(s *snapshot) (bad []string) {
	for _, g := range w.guests {
		p, want := s.ports[g.port], "ACTIVE"
		if !p.up {
			want = "DOWN"
		}
		if p.status != want && !s.waits(p) {
			bad = append(bad, fmt.Sprintf("port %s of %s is %s and must be %s", p.id, g.name, p.status, want))
		}
	}
	for _, p := range s.ports {
		want := "ACTIVE"
		switch p.owner {
		case "network:dhcp":
			if !s.served(p.network) {
				continue
			}
		case "network:router_interface", "network:router_gateway":
			if !s.routers[p.device].up {
				if w.blind {
					continue
				}
				want = "DOWN"
			}
		default:
			continue
		}
		if p.status != want {
			bad = append(bad, fmt.Sprintf("port %s, %s, is %s and must be %s", p.id, p.owner, p.status, want))
		}
	}
	for _, f := range s.floatingIPs {
		want := "DOWN"
		if r := s.routers[f.router]; f.port != "" && r.up && r.external != "" {
			want = "ACTIVE"
		}
		if f.status != want && (want == "ACTIVE" || f.port == "" && !w.untold[f.id]) {
			bad = append(bad, fmt.Sprintf("floating IP %s is %s and must be %s", f.address, f.status, want))
		}
	}
	return bad
}

// patiently repeats what fails because the server is on its way back.
func (w *world) patiently(f func() error) {
	w.t.Helper()
	if err := lab.Eventually(20*time.Second, f); err != nil {
		w.t.Fatalf("seed %d, step %d: %v", w.seed, w.steps, err)
	}
}

// summary tells what has been done, and all of it after a failure.
func (w *world) summary() {
	calls, refused := 0, 0
	for name, n := range w.counts {
		calls, refused = calls+n[0], refused+n[1]
		w.t.Logf("%-24s %4d calls, %d refused", name, n[0], n[1])
	}
	if w.t.Failed() {
		w.t.Logf("operations:\n\t%s", strings.Join(w.history, "\n\t"))
	}
	w.t.Logf("seed %d: %d steps, %d calls of which %d refused, %d probes, %d facts about hosts", w.seed, w.steps, calls, refused, w.probes, w.facts)
}

// addresses are those that the guest has configured.
func (g *guest) addresses() (all []netip.Addr) {
	for _, f := range g.instance.Port.Objects("fixed_ips") {
		all = append(all, address(f.Str("ip_address")))
	}
	return all
}

// configure gives the guest's interface what the API says of its port, as cloud-init does from a configuration drive.
func (w *world) configure(g *guest) {
	w.t.Helper()
	w.patiently(func() error {
		answer, err := w.API.Call("GET", "/ports/"+g.port, nil)
		if err == nil {
			g.instance.Port = answer.Object("port")
		}
		return err
	})
	s := w.look()
	p := s.ports[g.port]
	g.alias = netip.Addr{}
	if f, ok := p.first(false); ok {
		a := s.subnets[f.subnet].prefix.Addr().As4()
		a[3] = byte(200 + g.number%50)
		g.alias = netip.AddrFrom4(a)
	}
	if err := g.node.Do(func() error { return setUp(s, p, g.alias) }); err != nil {
		w.t.Fatalf("configure %s: %v", g.name, err)
	}
	for _, other := range w.guests { // what a gratuitous ARP does when a guest comes up
		for _, a := range append(g.addresses(), g.alias) {
			_, _ = other.node.Exec("ip", "neigh", "del", a.String(), "dev", "eth0")
		}
	}
}

func setUp(s *snapshot, p port, alias netip.Addr) error {
	link, err := netlink.LinkByName("eth0")
	if err != nil {
		return err
	}
	if err := netlink.LinkSetMTU(link, s.networks[p.network].mtu); err != nil {
		return err
	}
	old, err := netlink.AddrList(link, netlink.FAMILY_ALL)
	if err != nil {
		return err
	}
	for _, a := range old {
		if !a.IP.IsLinkLocalUnicast() {
			_ = netlink.AddrDel(link, &a)
		}
	}
	if err := netlink.LinkSetUp(link); err != nil {
		return err
	}
	add := func(a netip.Addr, bits int) error {
		parsed, err := netlink.ParseAddr(netip.PrefixFrom(a, bits).String())
		if err != nil {
			return err
		}
		return netlink.AddrReplace(link, parsed)
	}
	for _, f := range p.fixed {
		if err := add(f.address, s.subnets[f.subnet].prefix.Bits()); err != nil {
			return err
		}
	}
	if alias.IsValid() {
		if err := add(alias, 32); err != nil {
			return err
		}
	}
	for _, v6 := range []bool{false, true} {
		f, ok := p.first(v6)
		if gateway := s.subnets[f.subnet].gateway; ok && gateway.IsValid() {
			if err := netlink.RouteReplace(&netlink.Route{LinkIndex: link.Attrs().Index, Gw: gateway.AsSlice()}); err != nil {
				return fmt.Errorf("default route: %w", err)
			}
		} else if ok {
			zero := netip.PrefixFrom(map[bool]netip.Addr{false: netip.IPv4Unspecified(), true: netip.IPv6Unspecified()}[v6], 0)
			_ = netlink.RouteDel(&netlink.Route{LinkIndex: link.Attrs().Index, Dst: ipNet(zero)})
		}
	}
	return nil
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}
