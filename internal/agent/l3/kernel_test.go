package l3

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"neutrino/internal/linux/netns"
	"neutrino/internal/rpc"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

const routerID = "0a0a0a0a-0000-4000-8000-000000000001"

// site is a host with a router, two internal networks and an external one.
//
//	a1 10.0.0.5, a2 10.0.0.6 | br-a | qr- 10.0.0.1  router  qg- 203.0.113.2 | br-x | 203.0.113.1 internet
//	              b1 10.0.1.5 | br-b | qr- 10.0.1.1
type site struct {
	t                    *testing.T
	server               *server
	a1, a2, b1, internet machine
}

func aRouter() rpc.Router {
	return rpc.Router{ID: routerID, AdminStateUp: true, EnableSNAT: true,
		GatewayPort: withGateway(externalPort(), "203.0.113.1"),
		Interfaces:  []rpc.Port{internalPort(), port("22222222-2222-2222", "fa:16:3e:00:00:02", "b=10.0.1.1/24")}}
}

func newSite(t *testing.T, r rpc.Router) *site {
	needHost(t)
	bridge(t, "br-a", "tap11111111-11", "tap66666666-66")
	bridge(t, "br-b", "tap22222222-22")
	bridge(t, "br-x", "tapeeeeeeee-ee", "tapffffffff-ff")
	s := &site{t: t, server: newServer(r),
		a1:       newMachine(t, "a1", "br-a", "10.0.0.5/24", "10.0.0.1"),
		a2:       newMachine(t, "a2", "br-a", "10.0.0.6/24", "10.0.0.1"),
		b1:       newMachine(t, "b1", "br-b", "10.0.1.5/24", "10.0.1.1"),
		internet: newMachine(t, "internet", "br-x", "203.0.113.1/24", "")}
	for _, m := range []machine{s.a1, s.a2, s.b1, s.internet} {
		m.serve()
	}
	t.Cleanup(func() { removeRouters(t) })
	return s
}

// removeRouters cleans up after a test; the agent leaves routers as they are.
func removeRouters(t testing.TB) {
	names, err := netns.Names(namespacePrefix)
	must(t, err)
	links, err := netlink.LinkList()
	must(t, err)
	for _, l := range links {
		if strings.HasPrefix(l.Attrs().Name, "tap") {
			must(t, netlink.LinkDel(l))
		}
	}
	for _, n := range names {
		must(t, netns.Delete(n))
	}
}

func TestSourceNAT(t *testing.T) {
	s := newSite(t, aRouter())
	a := run(t, s.server, nil)
	a.settled()
	s.a1.reaches("203.0.113.1:7")
	s.a1.sees("203.0.113.1:7", "203.0.113.2")
	s.a1.sees("10.0.1.5:7", "10.0.0.5") // nothing is translated inside
	lost, _, err := s.a1.dial("203.0.113.1:7")
	must(t, err)
	r := aRouter()
	r.GatewayPort.FixedIPs[0].IPAddress = "203.0.113.4" // in the same subnet
	before := s.server.requests()
	s.server.set(t, r)
	a.settled()
	if n := s.server.requests() - before; n != 1 {
		t.Errorf("it took %d tries", n)
	}
	s.a1.sees("203.0.113.1:7", "203.0.113.4")
	if !dead(lost) {
		t.Error("a connection by an address that the router has lost goes on")
	}

	r.EnableSNAT = false
	s.internet.route("10.0.0.0/16", "203.0.113.4")
	s.server.set(t, r)
	a.settled()
	s.a1.sees("203.0.113.1:7", "10.0.0.5")

	r.GatewayPort = nil
	s.server.set(t, r)
	a.settled()
	s.a1.sees("203.0.113.1:7", "")
	s.a1.sees("10.0.1.5:7", "10.0.0.5")
	if linkExists("tapeeeeeeee-ee") {
		t.Error("the gateway's interface is left")
	}
	if err := a.Healthy(); err != nil {
		t.Error(err)
	}
	eventually(t, "a report with counts", func() bool {
		c := s.server.lastReport().Configurations
		return c["routers"] == 1.0 && c["ex_gw_ports"] == 0.0 && c["interfaces"] == 2.0 && c["floating_ips"] == 0.0
	})
}

func TestFloatingIPs(t *testing.T) {
	for _, named := range []bool{false, true} {
		t.Run(fmt.Sprintf("named %v", named), func(t *testing.T) { testFloatingIPs(t, named) })
	}
}

// testFloatingIPs has the server name the floating IPs that change, or not.
func testFloatingIPs(t *testing.T, named bool) {
	r := aRouter()
	r.FloatingIPs = []rpc.FloatingIP{fip("fip-a1", "203.0.113.10", "10.0.0.5"), fip("fip-b1", "203.0.113.11", "10.0.1.5"),
		fip("fip-bad", "203.0.113.12", "fd00::5")}
	s := newSite(t, r)
	a := run(t, s.server, nil)
	a.settled()
	s.internet.reaches("203.0.113.10:7")
	if got := s.server.status("fip-bad"); got != statusError {
		t.Errorf("status of one that cannot be translated %q", got)
	}
	r.FloatingIPs = r.FloatingIPs[:2]
	for _, c := range []struct {
		from     machine
		to, want string
	}{
		{s.internet, "203.0.113.10:7", "203.0.113.1"},
		{s.a1, "203.0.113.1:7", "203.0.113.10"},
		{s.a2, "203.0.113.1:7", "203.0.113.2"},
		{s.a2, "203.0.113.10:7", "203.0.113.2"},  // from inside, without an own one
		{s.b1, "203.0.113.10:7", "203.0.113.11"}, // from inside, with an own one
		{s.a1, "203.0.113.10:7", "203.0.113.10"}, // to itself
	} {
		c.from.sees(c.to, c.want)
	}
	if got := s.server.status("fip-a1"); got != statusActive {
		t.Errorf("status %q", got)
	}

	lost, _, err := s.internet.dial("203.0.113.10:7")
	must(t, err)
	lostOut, _, err := s.a1.dial("203.0.113.1:7")
	must(t, err)
	kept, _, err := s.internet.dial("203.0.113.11:7")
	must(t, err)
	set := func(id string) {
		t.Helper()
		var ids []string
		if named {
			ids = []string{id}
		}
		s.server.setFloating(t, r, ids...)
		a.settled()
	}
	r.FloatingIPs = r.FloatingIPs[1:]
	set("fip-a1")
	if !dead(lost) || !dead(lostOut) {
		t.Error("connections by a removed floating IP go on")
	}
	if !alive(kept) {
		t.Error("a connection by another floating IP was cut")
	}
	if got := s.server.status("fip-a1"); got != statusDown {
		t.Errorf("status of the removed one %q", got)
	}
	s.a1.sees("203.0.113.1:7", "203.0.113.2")

	// The floating IP moves to another address, on which established connections must not stay.
	r.FloatingIPs[0].FixedIPAddress = ptr("10.0.0.5")
	set("fip-b1")
	if !dead(kept) {
		t.Error("a connection by a floating IP that moved goes on")
	}
	s.a1.sees("203.0.113.1:7", "203.0.113.11")
}

// A status that could not be told is told with the next one, of whatever floating IP that is.
func TestStatusNotTold(t *testing.T) {
	r := aRouter()
	r.FloatingIPs = manyFloatingIPs(worthKeeping)
	needHost(t)
	s := newServer(r)
	defer removeRouters(t)
	a := New(Config{Host: "host"}, s, slog.New(slog.DiscardHandler), nil)
	process := func(changed ...int) error {
		w := work{id: r.ID}
		for _, i := range changed {
			r.FloatingIPs[i].FixedIPAddress, r.FloatingIPs[i].Status = ptr(fmt.Sprintf("10.0.0.%d", 200+i)), statusDown
			w.floating = map[string]bool{r.FloatingIPs[i].ID: true}
		}
		return a.process(t.Context(), w)
	}
	must(t, process())
	s.fail["update_floatingip_statuses"] = errors.New("no answer")
	if process(1) == nil {
		t.Fatal("the server was told")
	}
	clear(s.fail)
	must(t, process(2))
	for _, i := range []int{1, 2} {
		if got := s.status(r.FloatingIPs[i].ID); got != statusActive {
			t.Errorf("status of %d: %q", i, got)
		}
	}
}

// Of a router with many floating IPs those are asked for that are told to have changed, and nothing is reported of the others.
func TestFloatingIPsAreAskedForAlone(t *testing.T) {
	r := aRouter()
	all := manyFloatingIPs(worthKeeping + 2)
	for i := range all {
		all[i].Status = statusDown
	}
	r.FloatingIPs = all[:worthKeeping]
	needHost(t)
	s := newServer(r)
	defer removeRouters(t)
	a := run(t, s, nil)
	defer a.stop()
	a.settled()
	tell := func(now []rpc.FloatingIP, ids ...string) {
		t.Helper()
		s.mu.Lock()
		s.floating, s.reported = nil, 0
		s.mu.Unlock()
		r.FloatingIPs = now
		s.setFloating(t, r, ids...)
		a.settled()
		before := a.Writes()
		a.queue.add(work{id: r.ID, check: true}, byCheck)
		a.settled()
		if a.Writes() != before {
			t.Error("the check that followed had to change something")
		}
		a.mu.Lock()
		pairs := a.routers[r.ID].state.NAT.FloatingIPs
		a.mu.Unlock()
		want, _ := desired(r, a.options)
		if diff := cmp.Diff(want.NAT.FloatingIPs, pairs, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
			t.Errorf("translations (-want +got):\n%s", diff)
		}
	}
	expect := func(asked []string, reported int) {
		t.Helper()
		s.mu.Lock()
		defer s.mu.Unlock()
		if len(s.floating) != 1 || !slices.Equal(s.floating[0], asked) || s.reported != reported {
			t.Errorf("asked for %v, %d statuses were reported; want %v and %d", s.floating, s.reported, asked, reported)
		}
	}
	added := all[worthKeeping].ID
	tell(all[:worthKeeping+1], added)
	expect([]string{added}, 1)
	if got := s.status(added); got != statusActive {
		t.Errorf("status %q", got)
	}
	tell(all[1:worthKeeping+1], all[0].ID)
	expect([]string{all[0].ID}, 1)
	if got := s.status(all[0].ID); got != statusDown {
		t.Errorf("status of the one that is gone %q", got)
	}
	moved := slices.Clone(all[1 : worthKeeping+1])
	moved[3].FixedIPAddress = ptr("10.0.0.250")
	tell(moved, moved[3].ID)
	expect([]string{moved[3].ID}, 1) // the server has it as DOWN
	s.mu.Lock()                      // news that were lost: a full synchronisation sees to them
	r.FloatingIPs = all[:2]
	s.routers[r.ID] = r
	s.mu.Unlock()
	a.sync.Kick()
	eventually(t, "the others are gone", func() bool {
		a.mu.Lock()
		defer a.mu.Unlock()
		return len(a.routers[r.ID].state.NAT.FloatingIPs) == 2
	})
}

func TestNewFloatingIPIsAnnounced(t *testing.T) {
	s := newSite(t, aRouter())
	a := run(t, s.server, nil)
	a.settled()
	s.a1.reaches("203.0.113.1:7")
	old := net.HardwareAddr{2, 0, 0, 0, 0, 9}
	neighbour := &netlink.Neigh{IP: net.ParseIP("203.0.113.10"), HardwareAddr: old, State: unix.NUD_STALE}
	s.internet.with(func(h *netlink.Handle, eth0 netlink.Link) {
		neighbour.LinkIndex = eth0.Attrs().Index
		must(t, h.NeighSet(neighbour))
	})
	r := aRouter()
	r.FloatingIPs = []rpc.FloatingIP{fip("fip", "203.0.113.10", "10.0.0.5")}
	s.server.set(t, r)
	eventually(t, "the neighbour knows the new MAC address", func() (known bool) {
		s.internet.with(func(h *netlink.Handle, eth0 netlink.Link) {
			all, err := h.NeighList(eth0.Attrs().Index, netlink.FAMILY_V4)
			must(t, err)
			for _, n := range all {
				known = known || n.IP.Equal(neighbour.IP) && n.HardwareAddr.String() == r.GatewayPort.MACAddress
			}
		})
		return known
	})
}

func TestExtraRoutes(t *testing.T) {
	r := dual(aRouter())
	r.Routes = []rpc.Route{{Destination: "192.168.9.0/24", Nexthop: "10.0.0.6"},
		{Destination: "192.168.8.0/24", Nexthop: "10.0.0.6"}, {Destination: "192.168.8.0/24", Nexthop: "10.0.0.5"},
		{Destination: "fd00:9::/64", Nexthop: "fd00:a::6"}, {Destination: "fd00:9::/64", Nexthop: "fd00:a::5"}}
	s := newSite(t, r)
	s.withIPv6()
	for _, a := range []string{"fd00:a::6/64", "fd00:9::1/128"} {
		s.a2.address(a)
	}
	s.a1.address("fd00:9::1/128")
	s.a2.route("::/0", "fd00:a::1")
	s.a2.address("192.168.9.1/32")
	a := run(t, s.server, nil)
	a.settled()
	s.b1.reaches("192.168.9.1:7")
	s.b1.reaches("[fd00:9::1]:7")
	before := a.Writes()
	notify(t, s.server, rpc.RoutersUpdated, rpc.RoutersArgs{Routers: []string{routerID}})
	a.settled()
	if n := a.Writes() - before; n != 0 {
		t.Errorf("%d writes without a change", n)
	}
	// One way less, and one that leads nowhere: a destination is reached whichever way is left.
	s.a1.address("192.168.8.1/32")
	s.a1.address("fd00:9::1/128")
	for _, hops := range [][2]string{{"10.0.0.5", "fd00:a::5"}, {"10.0.0.6", "fd00:a::6"}} {
		r.Routes = []rpc.Route{{Destination: "192.168.8.0/24", Nexthop: hops[0]}, {Destination: "fd00:9::/64", Nexthop: hops[1]}}
		s.server.set(t, r)
		a.settled()
		for to, through := range map[string]string{"192.168.8.1": hops[0], "fd00:9::1": hops[1]} {
			if got := in(t, namespaceOf(routerID), "ip route get "+to); !strings.Contains(got, "via "+through+" ") {
				t.Errorf("to %s: %s", to, got)
			}
		}
	}
	s.b1.reaches("[fd00:9::1]:7")
	r.Routes = nil
	s.server.set(t, r)
	a.settled()
	if got := strings.Join(routesIn(t, namespaceOf(routerID)), " "); got != "0.0.0.0/0" {
		t.Errorf("routes left: %s", got)
	}
}

func TestIPv6(t *testing.T) {
	r := aRouter()
	p := port("66666666-6666-6666", "fa:16:3e:00:00:06", "s=fd00:6::1/64")
	p.Subnets[0].IPv6RAMode = ptr("slaac")
	r.Interfaces = append(r.Interfaces, p)
	r.Interfaces[1].FixedIPs = append(r.Interfaces[1].FixedIPs, rpc.FixedIP{SubnetID: "b6", IPAddress: "fd00:b::1", Prefixlen: 64})
	s := newSite(t, r)
	s.b1.address("fd00:b::5/64")
	s.b1.route("fd00:6::/64", "fd00:b::1")
	run(t, s.server, nil).settled()
	within := netip.MustParsePrefix("fd00:6::/64")
	var own string
	eventually(t, "an address from the advertisement", func() bool {
		s.a1.with(func(h *netlink.Handle, eth0 netlink.Link) {
			addrs, err := h.AddrList(eth0, netlink.FAMILY_V6)
			must(t, err)
			for _, a := range addrs {
				if p := prefixOf(a.IPNet); within.Contains(p.Addr()) {
					own = p.Addr().String()
				}
			}
		})
		return own != ""
	})
	s.a1.reaches("[fd00:b::5]:7")
	s.a1.sees("[fd00:b::5]:7", own)
}

func TestRestartDisturbsNothing(t *testing.T) {
	r := aRouter()
	r.FloatingIPs = []rpc.FloatingIP{fip("fip", "203.0.113.10", "10.0.0.5")}
	r.Routes = []rpc.Route{{Destination: "192.168.9.0/24", Nexthop: "10.0.0.6"}, {Destination: "192.168.9.0/24", Nexthop: "10.0.0.5"}}
	p := port("66666666-6666-6666", "fa:16:3e:00:00:06", "s=fd00:6::1/64")
	p.Subnets[0].IPv6RAMode = ptr("slaac")
	r.Interfaces = append(r.Interfaces, p)
	s := newSite(t, r)
	first := run(t, s.server, nil)
	first.settled()
	if first.Writes() == 0 {
		t.Fatal("writes are not counted")
	}
	s.a2.reaches("203.0.113.1:7")
	in, _, err := s.internet.dial("203.0.113.10:7")
	must(t, err)
	out, _, err := s.a2.dial("203.0.113.1:7")
	must(t, err)
	first.stop()
	if !alive(in) || !alive(out) {
		t.Fatal("a connection broke when the agent ended")
	}

	second := run(t, s.server, nil)
	second.settled()
	if n := second.Writes(); n != 0 {
		t.Errorf("%d writes although nothing changed", n)
	}
	// A change of the rules replaces the whole table.
	r.GatewayPort.FixedIPs = append(r.GatewayPort.FixedIPs, rpc.FixedIP{SubnetID: "x", IPAddress: "203.0.113.3", Prefixlen: 24})
	r.EnableSNAT = false
	second.stop()
	s.server.set(t, r)
	third := run(t, s.server, nil)
	third.settled()
	if third.Writes() == 0 {
		t.Error("a change that came while no agent ran is not made")
	}
	if !alive(in) || !alive(out) {
		t.Error("a connection broke by the restart")
	}
}

func TestDeletedRouterLeavesNothing(t *testing.T) {
	r := aRouter()
	r.FloatingIPs = []rpc.FloatingIP{fip("fip", "203.0.113.10", "10.0.0.5")}
	for _, c := range []struct {
		name string
		end  func(t *testing.T, s *server)
	}{
		{"router_deleted", func(t *testing.T, s *server) {
			s.drop(routerID)
			notify(t, s, rpc.RouterDeleted, rpc.RouterIDArgs{RouterID: routerID})
		}},
		{"router_removed_from_agent", func(t *testing.T, s *server) {
			s.drop(routerID)
			notify(t, s, rpc.RouterRemovedFromAgent, rpc.RouterPayload{Payload: rpc.RouterIDArgs{RouterID: routerID}})
		}},
		{"admin_state_up false", func(t *testing.T, s *server) {
			off := r
			off.AdminStateUp = false
			s.set(t, off)
		}},
		{"found by a full sync", func(t *testing.T, s *server) {
			s.drop(routerID)
			notify(t, s, rpc.L3AgentUpdated, rpc.AgentUpdatedArgs{})
			eventually(t, "the namespace goes", func() bool { return !netns.Exists(namespaceOf(routerID)) })
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			needHost(t)
			t.Cleanup(func() { removeRouters(t) })
			s := newServer(r)
			a := run(t, s, nil)
			a.settled()
			if !netns.Exists(namespaceOf(routerID)) || !linkExists("tap11111111-11") {
				t.Fatal("the router was never there")
			}
			c.end(t, s)
			a.settled()
			if netns.Exists(namespaceOf(routerID)) {
				t.Error("the namespace is left")
			}
			for _, tap := range []string{"tap11111111-11", "tap22222222-22", "tapeeeeeeee-ee"} {
				if linkExists(tap) {
					t.Error("left:", tap)
				}
			}
			if got := s.status("fip"); got != statusDown {
				t.Errorf("status of the floating IP %q", got)
			}
		})
	}
}

func TestStaleNamespaceGoesAfterTheFirstSync(t *testing.T) {
	needHost(t)
	t.Cleanup(func() { removeRouters(t) })
	const stale, foreign = namespacePrefix + "0a0a0a0a-0000-4000-8000-00000000dead", namespacePrefix + "by-hand"
	for _, n := range []string{stale, foreign} {
		_, err := netns.Ensure(n)
		must(t, err)
	}
	s := newServer()
	s.failWith("get_router_ids", errors.New("the database is away"))
	a := run(t, s, nil)
	notify(t, s, rpc.RoutersUpdated, rpc.RoutersArgs{Routers: []string{routerID}})
	eventually(t, "a report", func() bool { return s.lastReport().Binary == "neutron-l3-agent" })
	if !netns.Exists(stale) || a.Writes() != 0 || a.Healthy() == nil {
		t.Error("something was done before the first full sync")
	}
	s.failWith("get_router_ids", nil)
	a.settled()
	if netns.Exists(stale) {
		t.Error("the namespace is left")
	}
	if !netns.Exists(foreign) {
		t.Error("a namespace that is not of a router was removed")
	}
}

func TestRoutersGoWithTheAgentIfWanted(t *testing.T) {
	needHost(t)
	t.Cleanup(func() { removeRouters(t) })
	a := runWith(t, newServer(aRouter()), Config{CleanUpOnStop: true}, slog.New(slog.NewTextHandler(t.Output(), nil)))
	a.settled()
	if !netns.Exists(namespaceOf(routerID)) {
		t.Fatal("the router was never there")
	}
	a.stop()
	if netns.Exists(namespaceOf(routerID)) || linkExists("tap11111111-11") {
		t.Error("the router is left")
	}
}

func TestBrokenRouterBlocksNoOther(t *testing.T) {
	needHost(t)
	t.Cleanup(func() { removeRouters(t) })
	bad, good := aRouter(), aRouter()
	bad.FloatingIPs = []rpc.FloatingIP{fip("fip-bad", "203.0.113.10", "10.0.0.5")}
	bad.Interfaces = bad.Interfaces[:1]
	bad.Interfaces[0].MTU = 20 // no Ethernet device can have it
	good.ID = "0a0a0a0a-0000-4000-8000-000000000002"
	good.GatewayPort, good.Interfaces = nil, good.Interfaces[1:]
	s := newServer(bad, good)
	a := run(t, s, nil)
	eventually(t, "the good router is there", func() bool { return linkExists("tap22222222-22") })
	eventually(t, "the bad one is in error", func() bool { return s.status("fip-bad") == statusError })
	eventually(t, "the agent says so", func() bool { return a.Healthy() != nil })

	bad.Interfaces = slices.Clone(bad.Interfaces) // the server is still asked for the other
	bad.Interfaces[0].MTU = 1450
	s.set(t, bad)
	a.settled()
	if got := s.status("fip-bad"); got != statusActive {
		t.Errorf("status after the repair %q", got)
	}
	if err := a.Healthy(); err != nil {
		t.Error(err)
	}
}

func TestNetworkUpdateChangesMTU(t *testing.T) {
	needHost(t)
	t.Cleanup(func() { removeRouters(t) })
	r := aRouter()
	s := newServer(r)
	a := run(t, s, nil)
	a.settled()
	r.Interfaces[0].MTU = 1400
	s.mu.Lock()
	s.routers[r.ID] = r
	s.mu.Unlock()
	var args rpc.NetworkArgs
	args.Network.ID = r.Interfaces[0].NetworkID
	notify(t, s, rpc.L3NetworkUpdate, args)
	a.settled()
	l, err := netlink.LinkByName("tap11111111-11")
	must(t, err)
	if l.Attrs().MTU != 1400 {
		t.Error("MTU", l.Attrs().MTU)
	}
}

// listeners is a metadata service that says who connected.
type listeners struct {
	t  *testing.T
	mu sync.Mutex
	at map[string]string // router by address
}

func (l *listeners) Listen(_ context.Context, namespace, address, router string) (io.Closer, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.at[address] != "" {
		return nil, fmt.Errorf("twice on %s", address)
	}
	l.at[address] = router
	return serveIn(l.t, namespace, address), nil
}

func TestMetadata(t *testing.T) {
	r := aRouter()
	r.Interfaces = append(r.Interfaces, port("66666666-6666-6666", "fa:16:3e:00:00:06", "s=fd00:6::1/64"))
	s := newSite(t, r)
	md := &listeners{t: t, at: map[string]string{}}
	a := run(t, s.server, md)
	a.settled()
	s.a1.reaches("169.254.169.254:80")
	s.a1.sees("169.254.169.254:80", "10.0.0.5")
	s.a1.sees("10.0.0.1:9697", "")
	s.internet.sees("203.0.113.2:9697", "")
	c, source, err := s.a1.dial("[fe80::a9fe:a9fe%eth0]:80")
	must(t, err)
	c.Close()
	if !netip.MustParseAddr(source).IsLinkLocalUnicast() {
		t.Error("source", source)
	}
	notify(t, s.server, rpc.L3AgentUpdated, rpc.AgentUpdatedArgs{}) // must not listen again
	a.settled()
	if got := md.at["0.0.0.0:9697"]; got != routerID {
		t.Error("router", got)
	}
	if err := a.Healthy(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat("/run/netns/" + namespaceOf(routerID)); err != nil {
		t.Error(err)
	}
}
