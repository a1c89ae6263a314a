package l2

import (
	"context"
	"log/slog"
	"net/netip"
	"os"
	"testing"
	"time"

	"neutrino/internal/rpc"

	"go.uber.org/goleak"
)

const (
	netA = "aaaa0000-0000-4000-8000-000000000000"
	netB = "bbbb0000-0000-4000-8000-000000000000"

	groupDefault = "d0000000-0000-4000-8000-000000000001" // everything between members, everything out
	groupClosed  = "c0000000-0000-4000-8000-000000000002" // everything out
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
	agent  *Agent
	cancel context.CancelFunc
	done   chan error
}

func newRig(t *testing.T) *rig {
	needRoot(t)
	b := newMemoryBus()
	r := &rig{t: t, bus: b, server: newFakeServer(t, b)}
	r.server.Groups[groupDefault] = append(allOut(), allIn(groupDefault)...)
	r.server.Groups[groupClosed] = allOut()
	t.Cleanup(func() {
		r.stop()
		goleak.VerifyNone(t)
	})
	return r
}

func testConfig() Config {
	return Config{Host: "h1", LocalIP: netip.MustParseAddr("192.168.50.1"), Coalesce: 5 * time.Millisecond,
		StaleAfter: 300 * time.Millisecond}
}

func (r *rig) start() {
	level := slog.LevelWarn
	if testing.Verbose() {
		level = slog.LevelInfo
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level}))
	r.agent = New(testConfig(), r.bus, log)
	ctx, cancel := context.WithCancel(context.Background())
	r.cancel, r.done = cancel, make(chan error, 1)
	go func() { r.done <- r.agent.Run(ctx) }()
}

func (r *rig) stop() {
	if r.cancel == nil {
		return
	}
	r.cancel()
	if err := <-r.done; err != nil {
		r.t.Error(err)
	}
	r.cancel = nil
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
