package dhcp

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"neutrino/internal/bus"
	"neutrino/internal/bus/bustest"
	"neutrino/internal/rpc"
)

var quiet = slog.New(slog.DiscardHandler)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// server is as much of Neutron as a DHCP agent sees.
type server struct {
	bus *bustest.Bus

	mu       sync.Mutex
	networks map[string]*rpc.DHCPNetwork
	next     int
	calls    map[string]int
	ready    map[string]int // times reported, by port
	batches  []int
	fail     map[string]error // by method
	full     map[string]bool  // networks without free addresses
	states   []rpc.AgentState
	answer   string // of report_state
}

func newServer(t testing.TB) *server {
	t.Helper()
	s := &server{bus: bustest.New(), networks: map[string]*rpc.DHCPNetwork{}, calls: map[string]int{}, ready: map[string]int{},
		fail: map[string]error{}, full: map[string]bool{}, answer: rpc.AgentAlive}
	x := rpc.NewMux(quiet)
	handle(s, x, rpc.ReportState, func(a rpc.ReportStateArgs) (string, error) {
		s.states = append(s.states, a.AgentState.AgentState)
		return s.answer, nil
	})
	handle(s, x, rpc.GetActiveNetworksInfo, func(rpc.HostArgs) ([]rpc.DHCPNetwork, error) {
		var out []rpc.DHCPNetwork
		for _, n := range s.networks {
			out = append(out, s.copy(n))
		}
		return out, nil
	})
	handle(s, x, rpc.GetNetworkInfo, func(a rpc.NetworkInfoArgs) (*rpc.DHCPNetwork, error) {
		n := s.networks[a.NetworkID]
		if n == nil {
			return nil, nil
		}
		c := s.copy(n)
		return &c, nil
	})
	handle(s, x, rpc.CreateDHCPPort, s.createPort)
	handle(s, x, rpc.UpdateDHCPPort, s.updatePort)
	handle(s, x, rpc.ReleaseDHCPPort, func(a rpc.ReleaseDHCPPortArgs) (rpc.None, error) {
		if n := s.networks[a.NetworkID]; n != nil {
			n.Ports = slices.DeleteFunc(n.Ports, func(p rpc.Port) bool { return p.DeviceID == a.DeviceID })
		}
		return rpc.None{}, nil
	})
	handle(s, x, rpc.DHCPReadyOnPorts, func(a rpc.PortIDsArgs) (rpc.None, error) {
		s.batches = append(s.batches, len(a.PortIDs))
		for _, id := range a.PortIDs {
			s.ready[id]++
		}
		return rpc.None{}, nil
	})
	stop, err := x.Serve(s.bus, "server")
	must(t, err)
	t.Cleanup(stop)
	return s
}

func handle[A, R any](s *server, x *rpc.Mux, m rpc.Method[A, R], f func(A) (R, error)) {
	rpc.Handle(x, m, func(_ context.Context, a A) (r R, err error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.calls[m.Name]++
		if err := s.fail[m.Name]; err != nil {
			return r, err
		}
		return f(a)
	})
}

func (s *server) copy(n *rpc.DHCPNetwork) rpc.DHCPNetwork {
	c := *n
	c.Ports = slices.Clone(n.Ports)
	c.Subnets = slices.DeleteFunc(slices.Clone(n.Subnets), func(s rpc.Subnet) bool { return !s.EnableDHCP })
	return c
}

func (s *server) createPort(a rpc.CreateDHCPPortArgs) (*rpc.Port, error) {
	n := s.networks[a.Port.Port.NetworkID]
	if n == nil {
		return nil, nil
	}
	if s.full[n.ID] {
		return nil, &bus.RemoteError{Class: "IpAddressGenerationFailure"}
	}
	s.next++
	p := rpc.Port{ID: fmt.Sprintf("%08d-0000-4000-8000-000000000000", s.next), NetworkID: n.ID, DeviceOwner: ownerDHCP,
		DeviceID: *a.Port.Port.DeviceID, MACAddress: fmt.Sprintf("fa:16:3e:ff:%02x:%02x", s.next>>8, s.next&255), AdminStateUp: true,
		HostID: a.Host}
	s.assign(n, &p, *a.Port.Port.FixedIPs)
	n.Ports = append(n.Ports, p)
	return &p, nil
}

// assign gives the third address of the subnet where none is asked for.
func (s *server) assign(n *rpc.DHCPNetwork, p *rpc.Port, ips []rpc.FixedIPRequest) {
	p.FixedIPs = nil
	for _, ip := range ips {
		for _, sub := range n.Subnets {
			if sub.ID != ip.SubnetID {
				continue
			}
			if ip.IPAddress == "" {
				ip.IPAddress = netip.MustParsePrefix(sub.CIDR).Addr().Next().Next().String()
			}
			p.FixedIPs = append(p.FixedIPs, rpc.FixedIP{SubnetID: sub.ID, IPAddress: ip.IPAddress})
		}
	}
	p.Revision++
}

func (s *server) updatePort(a rpc.UpdateDHCPPortArgs) (*rpc.Port, error) {
	n := s.networks[a.Port.Port.NetworkID]
	if n == nil {
		return nil, &bus.RemoteError{Class: "NetworkNotFound"}
	}
	for i := range n.Ports {
		p := &n.Ports[i]
		if p.ID != a.PortID {
			continue
		}
		if id := a.Port.Port.DeviceID; id != nil {
			p.DeviceID = *id
		}
		if ips := a.Port.Port.FixedIPs; ips != nil {
			s.assign(n, p, *ips)
		}
		c := *p
		return &c, nil
	}
	return nil, nil
}

// set changes what the server has, without telling the agent.
func (s *server) set(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
}

func (s *server) count(method string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls[method]
}

func (s *server) notify(t *testing.T, m rpc.Method[rpc.DHCPNotification, rpc.None], p rpc.DHCPPayload) {
	t.Helper()
	must(t, m.Cast(t.Context(), s.bus, "h1", rpc.DHCPNotification{Payload: p}))
}

// addPort makes a port, and tells the agent.
func (s *server) addPort(t *testing.T, p rpc.Port) {
	t.Helper()
	s.set(func() { n := s.networks[p.NetworkID]; n.Ports = append(n.Ports, p) })
	s.notify(t, rpc.DHCPPortCreateEnd, rpc.DHCPPayload{Port: &p})
}

// start runs an agent until the end of the test or until stop.
func (s *server) start(t testing.TB, cfg Config) (a *Agent, stop func()) {
	t.Helper()
	a = New(cfg, s.bus, quiet)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- a.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error("agent:", err)
		}
	})
	t.Cleanup(stop)
	return a, stop
}

// eventually waits until ok holds; it fails only long after any machine would have been ready.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("in vain: %s", what)
		}
	}
}

func (s *server) isReady(ids ...string) func() bool {
	return func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, id := range ids {
			if s.ready[id] == 0 {
				return false
			}
		}
		return true
	}
}

func testConfig() Config {
	cfg := Defaults()
	cfg.Host = "h1"
	return cfg
}

func ptr[T any](v T) *T { return &v }

// testNetwork is a network with one IPv4 subnet and two ports.
func testNetwork(i int) *rpc.DHCPNetwork {
	id := fmt.Sprintf("net%d", i)
	sub := fmt.Sprintf("sub%d", i)
	port := func(n int) rpc.Port {
		return rpc.Port{ID: fmt.Sprintf("port%d-%d", i, n), NetworkID: id, MACAddress: fmt.Sprintf("fa:16:3e:%02x:%02x:%02x", i>>8, i&255, n),
			DeviceOwner: "compute:nova", DeviceID: fmt.Sprintf("vm%d-%d", i, n), AdminStateUp: true,
			FixedIPs: []rpc.FixedIP{{SubnetID: sub, IPAddress: fmt.Sprintf("10.0.0.%d", n)}}}
	}
	return &rpc.DHCPNetwork{ID: id, ProjectID: "p1", AdminStateUp: true, MTU: 1450, Ports: []rpc.Port{port(5), port(6)},
		Subnets: []rpc.Subnet{{ID: sub, NetworkID: id, IPVersion: 4, CIDR: "10.0.0.0/24", GatewayIP: ptr("10.0.0.1"), EnableDHCP: true}}}
}
