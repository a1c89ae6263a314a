package l3

import (
	"errors"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"neutrino/internal/agent/records"
	"neutrino/internal/linux/netns"
	"neutrino/internal/rpc"
)

// An agent that is started while no server is there advertises routers and serves metadata as its predecessor did, and changes nothing.
func TestStartWithoutServer(t *testing.T) {
	r := aRouter()
	p := port("77777777-7777-7777", "fa:16:3e:00:00:07", "s=fd00:7::1/64")
	mode := "slaac"
	p.Subnets[0].IPv6RAMode = &mode
	r.Interfaces = append(r.Interfaces, p)
	s := newSite(t, r)
	bridge(t, "br-7", "tap77777777-77")
	records := records.Dir(filepath.Join(t.TempDir(), "ra"))
	begin := func() *running {
		c := Config{Host: "host", ReportInterval: 50 * time.Millisecond, Records: records}
		return start(t, New(c, s.server, slog.New(slog.NewTextHandler(t.Output(), nil)), &listeners{t: t, at: map[string]string{}}))
	}
	first := begin()
	first.settled()
	first.stop()

	methods := []string{"report_state", "get_router_ids", "sync_routers"}
	for _, method := range methods {
		s.server.failWith(method, errors.New("nobody is there"))
	}
	m := newMachine(t, "m7", "br-7", "", "")
	from := m.hearAdvertisements()
	second := begin()
	heard := m.advertisement(from)
	if len(heard.Prefixes) != 1 || heard.Prefixes[0] != "fd00:7::/64 L=true A=true" || heard.Lifetime == 0 {
		t.Errorf("advertised without a server: %+v", heard)
	}
	s.a1.reaches("169.254.169.254:80")
	if second.Writes() > 0 || second.Healthy() == nil {
		t.Errorf("without a server: %d writes, health %v", second.Writes(), second.Healthy())
	}

	s.server.drop(routerID)
	for _, method := range methods {
		s.server.failWith(method, nil)
	}
	notify(t, s.server, rpc.L3AgentUpdated, rpc.AgentUpdatedArgs{})
	second.settled()
	if ids, err := records.IDs(); len(ids) > 0 || err != nil || netns.Exists(namespaceOf(routerID)) {
		t.Errorf("left of a router that was deleted meanwhile: records %v, %v, namespace %v", ids, err, netns.Exists(namespaceOf(routerID)))
	}
}

// What answered before a restart goes on with the first look at the router: nothing is opened twice or closed.
func TestRecalledRouterGoesOn(t *testing.T) {
	s := newSite(t, aRouter())
	records := records.Dir(t.TempDir())
	for range 2 {
		md := &listeners{t: t, at: map[string]string{}}
		a := start(t, New(Config{Host: "host", ReportInterval: 50 * time.Millisecond, Records: records}, s.server, slog.New(slog.DiscardHandler), md))
		a.settled()
		s.a1.reaches("169.254.169.254:80")
		if err := a.Healthy(); err != nil {
			t.Error(err)
		}
		a.stop()
	}
}
