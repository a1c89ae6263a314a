package l2

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"neutrino/internal/agent/l2/firewall"
	"neutrino/internal/agent/l2/linuxbridge"
	"neutrino/internal/linux/bridge"
	"neutrino/internal/linux/conntrack"
	"neutrino/internal/linux/nft"
	"neutrino/internal/rpc"

	"github.com/vishvananda/netlink"
	"go.uber.org/goleak"
)

const (
	netA = "aaaa0000-0000-4000-8000-000000000000"
	netB = "bbbb0000-0000-4000-8000-000000000000"

	groupDefault = "d0000000-0000-4000-8000-000000000001" // everything between members, everything out
	groupClosed  = "c0000000-0000-4000-8000-000000000002" // everything out
	groupOther   = "e0000000-0000-4000-8000-000000000003" // nothing
)

func allOut() []rpc.SecurityGroupRule {
	return []rpc.SecurityGroupRule{
		{Direction: "egress", Ethertype: "IPv4", Stateful: true},
		{Direction: "egress", Ethertype: "IPv6", Stateful: true},
	}
}

func allIn(remote string) []rpc.SecurityGroupRule {
	return []rpc.SecurityGroupRule{
		{Direction: "ingress", Ethertype: "IPv4", RemoteGroupID: remote, Stateful: true},
	}
}

// rig is a bus, a server and an agent that can be restarted.
type rig struct {
	t      *testing.T
	bus    *memoryBus
	server *fakeServer
	cfg    Config
	agent  *Agent
	cancel context.CancelFunc
	done   chan error
	logged record
	log    *slog.Logger // nil: standard error
}

func newRig(t *testing.T) *rig {
	needRoot(t)
	b := newMemoryBus()
	r := &rig{t: t, bus: b, server: newFakeServer(t, b), cfg: testConfig()}
	r.server.Groups[groupDefault] = append(allOut(), allIn(groupDefault)...)
	r.server.Groups[groupClosed] = allOut()
	t.Cleanup(func() {
		r.stop()
		cleanHost(t)
		goleak.VerifyNone(t)
	})
	return r
}

func testConfig() Config {
	return Config{Host: "h1", LocalIP: endpoints()[0], Coalesce: 5 * time.Millisecond,
		StaleAfter: patient(300 * time.Millisecond)}
}

func (r *rig) start() {
	level := slog.LevelWarn
	if testing.Verbose() {
		level = slog.LevelInfo
	}
	log := r.log
	if log == nil {
		log = slog.New(slog.NewTextHandler(io.MultiWriter(os.Stderr, &r.logged), &slog.HandlerOptions{Level: level}))
	}
	r.agent = New(r.cfg, r.bus, log)
	ctx, cancel := context.WithCancel(context.Background())
	r.cancel, r.done = cancel, make(chan error, 1)
	go func() { r.done <- r.agent.Run(ctx) }()
}

// record is a log to be searched.
type record struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (r *record) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.text.Write(p)
}

// count tells how often the log has the text.
func (r *record) count(text string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return strings.Count(r.text.String(), text)
}

// stop ends the agent once it has come to rest.
func (r *rig) stop() {
	if r.cancel == nil {
		return
	}
	r.rest()
	r.cancel()
	if err := <-r.done; err != nil {
		r.t.Error(err)
	}
	r.cancel = nil
}

// rest waits until the agent has nothing to do any more: what it made itself reaches it as news a little later, and what the server does
// not tell anew is dropped after a while.
func (r *rig) rest() {
	end, last := time.Now().Add(patient(patience)), int64(-1)
	for quiet := 0; quiet < 5 && len(r.done) == 0 && time.Now().Before(end); quiet++ {
		r.pass(end)
		r.pass(end) // the one before is over
		time.Sleep(20 * time.Millisecond)
		if now := r.agent.Writes(); now != last || r.expects() {
			last, quiet = now, 0
		}
	}
}

// pass has the agent make a pass and waits until it has begun.
func (r *rig) pass(end time.Time) {
	const nothing = "nothing" // a device that is not there
	r.agent.inbox.add(func(n *news) { n.links[nothing] = true })
	for waits := true; waits && len(r.done) == 0 && time.Now().Before(end); time.Sleep(time.Millisecond) {
		r.agent.inbox.mu.Lock()
		waits = r.agent.inbox.news.links[nothing]
		r.agent.inbox.mu.Unlock()
	}
}

// expects tells whether the agent is about to drop what the server has not told anew.
func (r *rig) expects() (is bool) {
	r.server.change(func() { is = len(r.server.up) > 0 && r.cfg.StaleAfter < patient(patience) && !r.agent.told.Load() })
	return is
}

// members makes instances the members of a group.
func (r *rig) members(group string, all ...*instance) {
	r.server.change(func() {
		var v4, v6 [][2]*string
		for _, i := range all {
			v4 = append(v4, [2]*string{ptr(i.v4.String()), ptr(i.mac.String())})
			v6 = append(v6, [2]*string{ptr(i.v6.String()), ptr(i.mac.String())})
		}
		r.server.Members[group] = map[string][][2]*string{"IPv4": v4, "IPv6": v6}
	})
}

func (r *rig) tell(m rpc.Method[rpc.SecurityGroupsArgs, rpc.None], group string) {
	if err := m.Fanout(r.t.Context(), r.bus, rpc.SecurityGroupsArgs{SecurityGroups: []string{group}}); err != nil {
		r.t.Fatal(err)
	}
}

func TestWiringAndGroups(t *testing.T) {
	r := newRig(t)
	a := newInstance(t, r.server, netA, 1, groupDefault).plug()
	b := newInstance(t, r.server, netA, 2, groupDefault).plug()
	c := newInstance(t, r.server, netA, 3, groupClosed).plug()
	r.members(groupDefault, a, b)
	r.start()
	r.server.waitFor(t, a.device, b.device, c.device)
	r.groupsWork(t, a, b, c)
}

// A port that an administrator switched off stays off when Nova plugs it again while no agent runs.
func TestSwitchedOffPort(t *testing.T) {
	r := newRig(t)
	a, b := newInstance(t, r.server, netA, 1, groupDefault).plug(), newInstance(t, r.server, netA, 2, groupDefault).plug()
	r.members(groupDefault, a, b)
	r.start()
	r.server.waitFor(t, a.device, b.device)
	a.reaches(b.v4, true)
	toggle := func(up bool) {
		r.server.change(func() {
			p := r.server.Ports[b.device]
			p.Details.AdminStateUp = up
			r.server.Ports[b.device] = p
		})
		if err := rpc.PortUpdate.Fanout(t.Context(), r.bus, rpc.PortUpdateArgs{Port: rpc.Port{ID: b.portID}}); err != nil {
			t.Fatal(err)
		}
	}
	toggle(false)
	a.reaches(b.v4, false)
	eventually(t, "the device is down", func() bool {
		l, err := netlink.LinkByName(b.device)
		return err == nil && l.Attrs().Flags&net.FlagUp == 0
	})
	r.stop()
	b.unplug()
	b.plug()
	tap, err := netlink.LinkByName(b.device)
	if err != nil {
		t.Fatal(err)
	}
	other, err := netlink.LinkByName(a.device)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(netlink.LinkSetMasterByIndex(tap, other.Attrs().MasterIndex), netlink.LinkSetUp(tap)); err != nil {
		t.Fatal(err)
	}
	for range 4 {
		if a.pings(b.v4) || b.pings(a.v4) {
			t.Error("the port is on")
		}
	}
	r.start()
	toggle(true)
	a.reaches(b.v4, true)
}

// A host whose tunnel endpoint is of no use to the server serves its ports all the same.
func TestRefusedEndpoint(t *testing.T) {
	r := newRig(t)
	r.server.refuses = true
	a, b := newInstance(t, r.server, netA, 1, groupDefault).plug(), newInstance(t, r.server, netA, 2, groupDefault).plug()
	r.members(groupDefault, a, b)
	r.start()
	r.server.waitFor(t, a.device, b.device)
	a.reaches(b.v4, true)
}

// groupsWork changes members and rules. a and b are in groupDefault, c is in groupClosed and joins the other one.
func (r *rig) groupsWork(t *testing.T, a, b, c *instance) {
	t.Helper()
	a.reaches(b.v4, true)
	a.reaches(c.v4, false)
	c.reaches(a.v4, false) // not a member
	b.reaches(a.v6, false) // the group allows only IPv4 in

	r.members(groupDefault, a, b, c)
	r.tell(rpc.SecurityGroupsMemberUpdated, groupDefault)
	c.reaches(a.v4, true)

	r.server.change(func() {
		r.server.Groups[groupClosed] = append(allOut(),
			rpc.SecurityGroupRule{Direction: "ingress", Ethertype: "IPv6", Protocol: "icmp", PortRangeMin: ptr(128), Stateful: true})
	})
	r.tell(rpc.SecurityGroupsRuleUpdated, groupClosed)
	a.reaches(c.v6, true)
	a.reaches(c.v4, false)
	if err := r.agent.Healthy(); err != nil {
		t.Error(err)
	}
}

func TestRestartWritesNothing(t *testing.T) {
	r := newRig(t)
	a := newInstance(t, r.server, netA, 1, groupDefault).plug()
	b := newInstance(t, r.server, netA, 2, groupDefault).plug()
	r.members(groupDefault, a, b)
	r.server.change(func() {
		p := r.server.Ports[b.device]
		p.Filter.AddressPairs = []rpc.AddressPair{{IPAddress: "10.9.0.0/16"}, {IPAddress: "fd99::/48"}}
		r.server.Ports[b.device] = p
		r.server.FDB[netA] = remoteFDB()
	})
	r.start()
	r.server.waitFor(t, a.device, b.device)
	a.reaches(b.v4, true)
	eventually(t, "remote entries", func() bool { return len(kernelFDB(t)) == 5 })
	if r.agent.Writes() == 0 {
		t.Fatal("writes are not counted")
	}
	r.stop()
	r.server.change(func() { clear(r.server.up) })
	r.start()
	r.server.waitFor(t, a.device, b.device)
	a.reaches(b.v4, true)
	eventually(t, "stale entries expired", func() bool { return r.agent.remotes.fresh() })
	if n := r.agent.Writes(); n != 0 {
		t.Errorf("%d writes for an unchanged state", n)
	}
}

// remoteFDB is one remote port and the endpoint it is behind.
func remoteFDB() rpc.NetworkFDB {
	return rpc.NetworkFDB{NetworkType: "vxlan", SegmentID: 5, Ports: map[string][]rpc.FDBEntry{
		"192.168.50.2": {rpc.FloodEntry, {MAC: "fa:16:3e:00:00:63", IP: "10.0.0.99"}, {MAC: "fa:16:3e:00:00:63", IP: "fd00::63"}},
		"192.168.50.1": {rpc.FloodEntry, {MAC: "fa:16:3e:00:00:01", IP: "10.0.0.1"}}, // this host
	}}
}

func kernelFDB(t *testing.T) map[bridge.Entry]string {
	t.Helper()
	d := linuxbridge.New(linuxbridge.Config{Unfiltered: true}, new(atomic.Int64), slog.Default())
	defer d.Close()
	if err := d.Open(t.Context(), func(string) {}); err != nil {
		t.Fatal(err)
	}
	all, err := d.Entries().List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// fresh tells whether everything known was told in the current round.
func (r *remotes) fresh() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, n := range r.networks {
		for _, h := range n.hosts {
			if h.round < r.round {
				return false
			}
		}
	}
	return r.round > 1
}

func TestForwardingEntries(t *testing.T) {
	r := newRig(t)
	a := newInstance(t, r.server, netA, 1, groupDefault).plug()
	r.server.FDB[netA] = remoteFDB()
	r.start()
	r.server.waitFor(t, a.device)
	endpoint, moved := netip.MustParseAddr("192.168.50.2"), netip.MustParseAddr("192.168.50.3")
	const mac = "fa:16:3e:00:00:63"
	want := func(endpoints ...netip.Addr) map[bridge.Entry]string {
		all := map[bridge.Entry]string{}
		for _, e := range endpoints {
			all[bridge.Entry{Kind: bridge.Flood, VNI: 5, IP: e}] = ""
			all[bridge.Entry{Kind: bridge.Remote, VNI: 5, MAC: mac}] = e.String()
			all[bridge.Entry{Kind: bridge.Static, VNI: 5, MAC: mac}] = ""
			all[bridge.Entry{Kind: bridge.Neighbour, VNI: 5, IP: netip.MustParseAddr("10.0.0.99")}] = mac
			all[bridge.Entry{Kind: bridge.Neighbour, VNI: 5, IP: netip.MustParseAddr("fd00::63")}] = mac
		}
		return all
	}
	has := func(step string, entries map[bridge.Entry]string) {
		t.Helper()
		eventually(t, step, func() bool { return maps.Equal(entries, kernelFDB(t)) })
	}
	has("first", want(endpoint))

	cast := func(m rpc.Method[rpc.FDBArgs, rpc.None], n rpc.NetworkFDB) {
		if err := m.Fanout(t.Context(), r.bus, rpc.FDBArgs{Entries: map[string]rpc.NetworkFDB{netA: n, netB: n}}); err != nil {
			t.Fatal(err)
		}
	}
	there := remoteFDB()
	there.Ports[moved.String()] = there.Ports[endpoint.String()]
	delete(there.Ports, endpoint.String())
	cast(rpc.AddFDBEntries, there)
	cast(rpc.RemoveFDBEntries, remoteFDB()) // told after the move: the new place stays
	has("moved", want(moved))
	cast(rpc.RemoveFDBEntries, there)
	has("removed", want())
}

func TestLastPortTakesNetworkAlong(t *testing.T) {
	r := newRig(t)
	a := newInstance(t, r.server, netA, 1, groupDefault).plug()
	b := newInstance(t, r.server, netA, 2, groupDefault).plug()
	r.start()
	r.server.waitFor(t, a.device, b.device)
	if !exists("brqaaaa0000-00") || !exists("vxlan-5") {
		t.Fatal("network is not wired")
	}
	a.unplug()
	r.server.waitFor(t, b.device)
	if !exists("brqaaaa0000-00") {
		t.Error("network is gone with one port left")
	}
	b.unplug()
	r.server.waitFor(t)
	eventually(t, "network gone", func() bool { return !exists("brqaaaa0000-00") && !exists("vxlan-5") })
	c, err := nft.List(t.Context(), "bridge", "neutrino")
	if err != nil {
		t.Fatal(err)
	}
	for name, elements := range c.Sets {
		if len(elements) > 0 {
			t.Errorf("%s still has %v", name, elements)
		}
	}
}

// The server may delete a port before its device goes.
func TestPortGoesBeforeDevice(t *testing.T) {
	r := newRig(t)
	a := newInstance(t, r.server, netA, 1, groupDefault).plug()
	r.start()
	r.server.waitFor(t, a.device)
	r.details(a, func(d *rpc.DeviceDetails) { *d = rpc.DeviceDetails{Device: d.Device} })
	if err := rpc.PortDelete.Fanout(t.Context(), r.bus, rpc.PortDeleteArgs{PortID: a.portID}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "network is given up", func() bool {
		c, err := nft.List(t.Context(), "bridge", "neutrino")
		if err != nil {
			t.Fatal(err)
		}
		return !strings.Contains(fmt.Sprint(c.Sets["ports"]), "vxlan-5")
	})
	if !exists("brqaaaa0000-00") {
		t.Fatal("the bridge was taken from under the device")
	}
	a.unplug()
	eventually(t, "network gone", func() bool { return !exists("brqaaaa0000-00") && !exists("vxlan-5") })
}

func TestForeignDevicesStay(t *testing.T) {
	r := newRig(t)
	a := newInstance(t, r.server, netA, 1, groupDefault).plug()
	for _, name := range []string{"br-foreign", "brqffffffff-ff"} { // the second is one that Nova just made
		if err := bridge.Add(name, 0); err != nil {
			t.Fatal(err)
		}
	}
	defer deleteLink(t, "br-foreign")
	foreign := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "tap0"}, PeerName: "tap0p"}
	if err := netlink.LinkAdd(foreign); err != nil {
		t.Fatal(err)
	}
	defer deleteLink(t, "tap0")
	r.start()
	r.server.waitFor(t, a.device)
	br, err := netlink.LinkByName("brqaaaa0000-00")
	if err != nil {
		t.Fatal(err)
	}
	if err := netlink.LinkSetMaster(foreign, br); err != nil {
		t.Fatal(err)
	}
	a.unplug()
	r.server.waitFor(t)
	for _, name := range []string{"br-foreign", "brqffffffff-ff", "tap0", "brqaaaa0000-00"} {
		if !exists(name) {
			t.Errorf("%s was deleted", name)
		}
	}
}

func deleteLink(t *testing.T, name string) {
	l, err := netlink.LinkByName(name)
	if err == nil {
		err = netlink.LinkDel(l)
	}
	if err != nil {
		t.Errorf("delete %s: %v", name, err)
	}
}

func TestRemovedRuleCutsConnection(t *testing.T) {
	r := newRig(t)
	a := newInstance(t, r.server, netA, 1, groupDefault).plug()
	b := newInstance(t, r.server, netA, 2, groupClosed).plug()
	open := func(ports ...int) {
		r.server.change(func() {
			rules := allOut()
			for _, p := range ports {
				rules = append(rules, rpc.SecurityGroupRule{Direction: "ingress", Ethertype: "IPv4", Protocol: "tcp",
					PortRangeMin: ptr(p), PortRangeMax: ptr(p), Stateful: true})
			}
			r.server.Groups[groupClosed] = rules
		})
	}
	open(7, 8)
	r.start()
	r.server.waitFor(t, a.device, b.device)
	kept, cut := a.connect(b, 7), a.connect(b, 8)
	kept.echoes()
	cut.echoes()

	r.stop() // connections survive the agent
	kept.echoes()
	r.start()
	eventually(t, "agent is back", func() bool { return r.agent.Healthy() == nil })
	kept.echoes()

	open(7)
	r.tell(rpc.SecurityGroupsRuleUpdated, groupClosed)
	cut.isCut(kept)
	kept.echoes()

	open(7, 8) // what was cut goes on when it is allowed again
	r.tell(rpc.SecurityGroupsRuleUpdated, groupClosed)
	cut.echoes()
}

func TestOneDeviceIsAskedPerGroup(t *testing.T) {
	r := newRig(t)
	var devices []string
	for n := 1; n <= 4; n++ {
		devices = append(devices, newInstance(t, r.server, netA, n, groupDefault).plug().device)
	}
	r.start()
	r.server.waitFor(t, devices...)
	r.server.change(func() { r.server.asked = nil })
	r.tell(rpc.SecurityGroupsMemberUpdated, groupDefault)
	eventually(t, "asked", func() bool {
		r.server.mu.Lock()
		defer r.server.mu.Unlock()
		return len(r.server.asked) > 0
	})
	r.server.mu.Lock()
	defer r.server.mu.Unlock()
	if len(r.server.asked) != 1 || len(r.server.asked[0]) != 1 {
		t.Errorf("asked for %v", r.server.asked)
	}
}

// A server that tells which addresses joined or left is asked only for these. One that does not know that is asked for all.
func TestMembersAreAskedByAddress(t *testing.T) {
	r := newRig(t)
	here := newInstance(t, r.server, netA, 1, groupDefault).plug()
	var all []*instance
	for n := range firewall.ManyMembers + 2 {
		all = append(all, newInstance(t, r.server, netB, n+2, groupDefault)) // elsewhere
	}
	joins, leaves := all[0], all[1]
	r.members(groupDefault, all[1:]...)
	r.start()
	r.server.waitFor(t, here.device)
	r.server.change(func() { r.server.asked, r.server.among = nil, 0 })
	tell := func(addresses ...*instance) {
		args := rpc.SecurityGroupsArgs{SecurityGroups: []string{groupDefault, groupClosed}, Addresses: map[string][]string{}}
		for _, i := range addresses {
			args.Addresses[groupDefault] = append(args.Addresses[groupDefault], i.v4.String(), i.v6.String())
		}
		if err := rpc.SecurityGroupsMemberUpdated.Fanout(t.Context(), r.bus, args); err != nil {
			t.Fatal(err)
		}
	}
	inSet := func(i *instance) bool {
		return exec.Command("nft", "get", "element", "bridge", "neutrino", "members4-"+groupDefault, "{ "+i.v4.String()+" }").Run() == nil
	}
	asked := func(devices, among int) {
		t.Helper()
		r.server.mu.Lock()
		defer r.server.mu.Unlock()
		if len(r.server.asked) != devices || r.server.among != among {
			t.Errorf("asked for devices %v, and %d times for addresses; want %d and %d", r.server.asked, r.server.among, devices, among)
		}
	}
	if inSet(joins) || !inSet(leaves) {
		t.Fatal("members are not as the test needs them")
	}
	tell(joins)
	r.members(groupDefault, append(all[2:], joins)...) // the order of news and changes does not matter
	tell(joins, leaves)
	eventually(t, "joined and left", func() bool { return inSet(joins) && !inSet(leaves) && inSet(all[2]) })
	r.server.mu.Lock()
	among := r.server.among
	r.server.mu.Unlock()
	asked(0, among)

	// A port that comes is wired without being told of them again.
	late := newInstance(t, r.server, netA, 99, groupDefault).plug()
	r.server.waitFor(t, here.device, late.device)
	r.server.mu.Lock()
	if known := r.server.known[len(r.server.known)-1]; !slices.Contains(known[groupDefault], "IPv4") {
		t.Errorf("the agent says that it knows %v", known)
	}
	r.server.mu.Unlock()
	asked(1, among)

	r.server.change(func() { r.server.old = true })
	r.members(groupDefault, all...)
	tell(leaves)
	eventually(t, "joined again", func() bool { return inSet(leaves) })
	asked(2, among+1)
	r.server.change(func() { r.server.old = false })
	r.agent.inbox.add(func(n *news) { n.resync = true })
	eventually(t, "fetched again", func() bool {
		r.server.mu.Lock()
		defer r.server.mu.Unlock()
		return len(r.server.asked) == 3 && len(r.server.known[len(r.server.known)-1]) == 0
	})
}

// A device that leaves a group does not speak for it: those that stay must forget its address.
func TestMemberLeavesGroup(t *testing.T) {
	r := newRig(t)
	leaves, stays := newInstance(t, r.server, netA, 1, groupDefault).plug(), newInstance(t, r.server, netA, 2, groupDefault).plug()
	r.members(groupDefault, leaves, stays)
	r.start()
	r.server.waitFor(t, leaves.device, stays.device)
	r.members(groupDefault, stays)
	r.server.change(func() {
		p := r.server.Ports[leaves.device]
		p.Filter.SecurityGroups = []string{groupClosed}
		r.server.Ports[leaves.device] = p
	})
	r.agent.inbox.add(func(n *news) { n.ports[leaves.device], n.members[groupDefault] = true, nil }) // in one pass
	eventually(t, "address forgotten", func() bool {
		out, err := exec.Command("nft", "list", "set", "bridge", "neutrino", "members4-"+groupDefault).Output()
		if err != nil {
			t.Fatal(err)
		}
		return strings.Contains(string(out), stays.v4.String()) && !strings.Contains(string(out), leaves.v4.String())
	})
}

// A stateless group has no memory: answers need a rule of their own. A port with a memory on the same host has it all the same.
func TestStatelessGroup(t *testing.T) {
	r := newRig(t)
	stateless := func(rules []rpc.SecurityGroupRule) []rpc.SecurityGroupRule {
		for i := range rules {
			rules[i].Stateful = false
		}
		return rules
	}
	icmp := rpc.SecurityGroupRule{Direction: "ingress", Ethertype: "IPv4", Protocol: "icmp", Stateful: true}
	r.server.Groups[groupDefault] = append(allOut(), icmp)
	r.server.Groups[groupClosed] = stateless(allOut())
	a := newInstance(t, r.server, netA, 1, groupDefault).plug()
	b := newInstance(t, r.server, netA, 2, groupClosed).plug()
	c := newInstance(t, r.server, netA, 3, groupClosed).plug()
	r.start()
	r.server.waitFor(t, a.device, b.device, c.device)
	b.reaches(a.v4, false)
	r.server.change(func() {
		r.server.Groups[groupClosed] = stateless(append(allOut(), icmp))
		r.server.Groups[groupDefault] = allOut()
	})
	r.tell(rpc.SecurityGroupsRuleUpdated, groupClosed)
	r.tell(rpc.SecurityGroupsRuleUpdated, groupDefault)
	b.reaches(c.v4, true)
	a.reaches(b.v4, true) // a rule lets the question in, and no rule but the connection the answer
	b.reaches(a.v4, false)
	tracked, err := conntrack.List(func(f *conntrack.Flow) bool { return f.Source == c.v4 || f.Dest == c.v4 })
	if err != nil || len(tracked) > 0 {
		t.Errorf("tracked: %+v, %v", tracked, err)
	}
}

// Networks with the same addresses have zones of their own: cutting in one leaves the other alone.
func TestOverlappingNetworks(t *testing.T) {
	r := newRig(t)
	ssh := rpc.SecurityGroupRule{Direction: "ingress", Ethertype: "IPv4", Protocol: "tcp", Stateful: true}
	r.server.Groups[groupDefault] = append(allOut(), ssh)
	r.server.Groups[groupClosed] = append(allOut(), ssh)
	a1 := newInstance(t, r.server, netA, 1, groupDefault).plug()
	a2 := newInstance(t, r.server, netA, 2, groupDefault).plug()
	b1 := newInstance(t, r.server, netB, 1, groupClosed).plug()
	b2 := newInstance(t, r.server, netB, 2, groupClosed).plug()
	for _, i := range []*instance{b1, b2} {
		r.details(i, func(d *rpc.DeviceDetails) { d.SegmentationID = ptr(6) })
	}
	r.start()
	r.server.waitFor(t, a1.device, a2.device, b1.device, b2.device)
	kept, cut := a1.connect(a2, 22), b1.connect(b2, 22)
	kept.echoes()
	cut.echoes()
	zones := map[uint16]bool{}
	if _, err := conntrack.List(func(f *conntrack.Flow) bool { zones[f.Zone] = f.DestPort == 22; return false }); err != nil {
		t.Fatal(err)
	}
	if len(zones) < 2 || zones[0] {
		t.Errorf("zones: %v", zones)
	}
	r.server.change(func() { r.server.Groups[groupClosed] = allOut() })
	r.tell(rpc.SecurityGroupsRuleUpdated, groupClosed)
	cut.isCut(kept)
	kept.echoes()
}
