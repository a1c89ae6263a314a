package dhcp

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"neutrino/internal/bus"
	"neutrino/internal/rpc"
)

// errChanged says that the server's picture of the network is not ours any more: fetch it again.
var errChanged = errors.New("the network changed on the server")

// portTimeout bounds one call about our port; a network that waits keeps others waiting.
const portTimeout = 20 * time.Second

// ensurePort returns our port on the network, with an address in each DHCP subnet. It takes the one we have, else one
// that was reserved when another agent gave up the network, else it has a new one made.
func (a *Agent) ensurePort(ctx context.Context, s *service, n *network) (*rpc.Port, error) {
	ctx, cancel := context.WithTimeout(ctx, portTimeout)
	defer cancel()
	id := rpc.DHCPDeviceID(a.cfg.Host, n.ID)
	own, err := n.port(id), error(nil)
	if own == nil {
		if own, err = a.adoptPort(ctx, n, id); err != nil {
			return nil, err
		}
	}
	if own == nil {
		want, _, _ := wantedIPs(n, &rpc.Port{})
		if own, err = a.createPort(ctx, n, id, want); err != nil {
			return nil, err
		}
	}
	want, missing, extra := wantedIPs(n, own)
	// The server gives a port some addresses whether it asks or not, so that superfluous ones are refused only once.
	if missing || extra && !slices.Equal(want, s.asked) {
		s.asked = want
		own, err = a.updatePort(ctx, n, own.ID, rpc.DHCPPort{NetworkID: n.ID, FixedIPs: &want})
		if err != nil {
			return nil, err
		}
	}
	if _, missing, _ := wantedIPs(n, own); missing {
		return nil, fmt.Errorf("DHCP port %s has not the addresses that were asked for: %w", own.ID, errChanged)
	}
	return own, nil
}

// wantedIPs are the addresses that the port should have: its own in the DHCP subnets, and any where it has none. missing
// and extra say how that differs from what it has.
func wantedIPs(n *network, own *rpc.Port) (want []rpc.FixedIPRequest, missing, extra bool) {
	subnets := n.dhcpSubnets()
	has := map[string]bool{}
	for _, ip := range own.FixedIPs {
		if subnets[ip.SubnetID] == nil {
			extra = true
			continue
		}
		has[ip.SubnetID] = true
		want = append(want, rpc.FixedIPRequest{SubnetID: ip.SubnetID, IPAddress: ip.IPAddress})
	}
	for i := range n.Subnets { // in the server's order, for readers of logs
		if s := &n.Subnets[i]; s.EnableDHCP && !has[s.ID] {
			missing = true
			want = append(want, rpc.FixedIPRequest{SubnetID: s.ID})
		}
	}
	return want, missing, extra
}

// adoptPort takes over a reserved port; nil if there is none left.
func (a *Agent) adoptPort(ctx context.Context, n *network, id string) (*rpc.Port, error) {
	for _, p := range n.infra {
		if p.DeviceID != reservedDeviceID {
			continue
		}
		port, err := a.updatePort(ctx, n, p.ID, rpc.DHCPPort{NetworkID: n.ID, DeviceID: &id})
		if errors.Is(err, errChanged) { // another agent was faster
			continue
		}
		return port, err
	}
	return nil, nil
}

func (a *Agent) createPort(ctx context.Context, n *network, id string, ips []rpc.FixedIPRequest) (*rpc.Port, error) {
	name, up := "", true
	port, err := rpc.CreateDHCPPort.Call(ctx, a.transport, "", rpc.CreateDHCPPortArgs{Host: a.cfg.Host,
		Port: rpc.DHCPPortBody{Port: rpc.DHCPPort{Name: &name, AdminStateUp: &up, DeviceID: &id, NetworkID: n.ID,
			ProjectID: &n.ProjectID, FixedIPs: &ips}}})
	return a.answered(n, port, err)
}

func (a *Agent) updatePort(ctx context.Context, n *network, portID string, change rpc.DHCPPort) (*rpc.Port, error) {
	port, err := rpc.UpdateDHCPPort.Call(ctx, a.transport, "", rpc.UpdateDHCPPortArgs{Host: a.cfg.Host, PortID: portID,
		Port: rpc.DHCPPortBody{Port: change}})
	return a.answered(n, port, err)
}

// answered makes our port part of the network. No port, or no network, means that our picture is old.
func (a *Agent) answered(n *network, port *rpc.Port, err error) (*rpc.Port, error) {
	if remote, ok := errors.AsType[*bus.RemoteError](err); ok && remote.Class == "NetworkNotFound" {
		a.Resync("the agent does not host network " + n.ID)
	}
	if err != nil {
		return nil, err
	}
	if port == nil {
		return nil, fmt.Errorf("the DHCP port of network %s was not made: %w", n.ID, errChanged)
	}
	a.remember(port)
	return port, nil
}

func (a *Agent) releasePort(ctx context.Context, networkID string) error {
	ctx, cancel := context.WithTimeout(ctx, portTimeout)
	defer cancel()
	_, err := rpc.ReleaseDHCPPort.Call(ctx, a.transport, "", rpc.ReleaseDHCPPortArgs{NetworkID: networkID,
		DeviceID: rpc.DHCPDeviceID(a.cfg.Host, networkID), Host: a.cfg.Host})
	return err
}
