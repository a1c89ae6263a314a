package dhcp

import (
	"context"
	"time"

	"neutrino/internal/rpc"
)

// handlers are the server's notifications. They only note what changed and wake the loop. Messages may be lost,
// doubled or late.
func (a *Agent) handlers() *rpc.Mux {
	x := rpc.NewMux(a.log)
	for _, h := range []struct {
		method rpc.Method[rpc.DHCPNotification, rpc.None]
		note   func(p *rpc.DHCPPayload)
	}{
		{rpc.DHCPNetworkCreateEnd, a.networkChanged},
		{rpc.DHCPNetworkUpdateEnd, a.networkChanged},
		{rpc.DHCPNetworkDeleteEnd, a.networkDeleted},
		{rpc.DHCPSubnetCreateEnd, a.subnetChanged},
		{rpc.DHCPSubnetUpdateEnd, a.subnetChanged},
		{rpc.DHCPSubnetDeleteEnd, a.subnetDeleted},
		{rpc.DHCPPortCreateEnd, a.portChanged},
		{rpc.DHCPPortUpdateEnd, a.portChanged},
		{rpc.DHCPPortDeleteEnd, a.portDeleted},
	} {
		rpc.Handle(x, h.method, func(_ context.Context, n rpc.DHCPNotification) (rpc.None, error) {
			a.mu.Lock()
			defer a.mu.Unlock()
			h.note(&n.Payload)
			a.loop.Kick()
			return rpc.None{}, nil
		})
	}
	rpc.Handle(x, rpc.DHCPAgentUpdated, func(context.Context, rpc.AgentUpdatedArgs) (rpc.None, error) {
		a.Resync("an administrator changed the agent") // a disabled agent is given no networks
		return rpc.None{}, nil
	})
	return x
}

func (a *Agent) networkChanged(p *rpc.DHCPPayload) {
	if p.Network == nil {
		return
	}
	n, known := a.table.Wanted(p.Network.ID)
	if up := p.Network.AdminStateUp; up == nil || *up {
		a.fetch[p.Network.ID] = true
	} else if known && n.AdminStateUp {
		off := *n
		off.AdminStateUp = false
		a.table.Want(n.ID, &off)
	}
}

func (a *Agent) networkDeleted(p *rpc.DHCPPayload) {
	id := p.NetworkID
	if id == "" && p.Network != nil {
		id = p.Network.ID
	}
	delete(a.fetch, id)
	a.table.Unwant(id)
}

func (a *Agent) subnetChanged(p *rpc.DHCPPayload) {
	if p.Subnet != nil && p.Subnet.NetworkID != "" {
		a.fetch[p.Subnet.NetworkID] = true
	}
}

func (a *Agent) subnetDeleted(p *rpc.DHCPPayload) {
	if _, known := a.table.Wanted(p.NetworkID); known {
		a.fetch[p.NetworkID] = true
		return
	}
	for id, n := range a.table.AllWanted() {
		for _, s := range n.allSubnets() {
			if s.ID == p.SubnetID {
				a.fetch[id] = true
			}
		}
	}
}

func (a *Agent) portChanged(p *rpc.DHCPPayload) {
	port := p.Port
	if port == nil {
		return
	}
	if _, gone := a.deleted[port.ID]; gone {
		return
	}
	n, known := a.table.Wanted(port.NetworkID)
	if known {
		if have := n.ports.byID[port.ID]; have != nil && have.Revision > port.Revision {
			return
		}
	}
	if a.journal != nil { // the network may be on its way without this port
		a.journal[port.ID] = port
	}
	if !known {
		return
	}
	// Another port is thought to have an address of this one: the message of its deletion was lost.
	clash := n.ports.clash(port)
	a.table.Want(n.ID, n.with(port))
	if clash || a.lostAddress(n, port) {
		a.fetch[n.ID] = true
	}
}

// lostAddress tells whether port is ours and lacks an address, perhaps because the subnet is going.
func (a *Agent) lostAddress(n *network, port *rpc.Port) bool {
	if port.DeviceID != rpc.DHCPDeviceID(a.cfg.Host, n.ID) {
		return false
	}
	_, missing, _ := wantedIPs(n, port)
	return missing
}

func (a *Agent) portDeleted(p *rpc.DHCPPayload) {
	a.deleted[p.PortID] = time.Now()
	delete(a.journal, p.PortID)
	for _, n := range a.candidates(p) {
		port := n.ports.byID[p.PortID]
		if port == nil {
			continue
		}
		a.table.Want(n.ID, n.without(p.PortID))
		if port.DeviceID == rpc.DHCPDeviceID(a.cfg.Host, n.ID) {
			a.fetch[n.ID] = true
		}
	}
}

// candidates are the networks that may have the port of a deletion.
func (a *Agent) candidates(p *rpc.DHCPPayload) map[string]*network {
	if n, ok := a.table.Wanted(p.NetworkID); ok {
		return map[string]*network{n.ID: n}
	}
	if p.NetworkID != "" {
		return nil
	}
	return a.table.AllWanted()
}

// remember makes a port that the server just gave us part of its network.
func (a *Agent) remember(port *rpc.Port) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if n, ok := a.table.Wanted(port.NetworkID); ok {
		a.table.Want(n.ID, n.with(port))
		a.loop.Kick()
	}
}

// refetch asks for a network again, with the next run of the loop.
func (a *Agent) refetch(id string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.fetch[id] = true
}
