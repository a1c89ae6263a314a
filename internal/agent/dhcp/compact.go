package dhcp

import (
	"slices"

	"neutrino/internal/rpc"
)

// repeated are strings of an answer, so that those that repeat take memory once: a decoder makes each anew.
type repeated map[string]string

func (r repeated) share(texts ...*string) {
	for _, text := range texts {
		if had, known := r[*text]; known {
			*text = had
		} else {
			r[*text] = *text
		}
	}
}

// compact makes n take little memory. There may be thousands, and they stay.
func (r repeated) compact(n *rpc.DHCPNetwork) {
	r.share(&n.ID, &n.ProjectID)
	// The decoder makes room for four elements at least, and more than there are.
	n.Subnets, n.NonLocalSubnets = slices.Clone(n.Subnets), slices.Clone(n.NonLocalSubnets)
	for _, subnets := range [][]rpc.Subnet{n.Subnets, n.NonLocalSubnets} {
		for i := range subnets {
			s := &subnets[i]
			s.AllocationPools = slices.Clone(s.AllocationPools)
			r.share(&s.ID, &s.NetworkID)
		}
	}
	for i := range n.Ports {
		p := &n.Ports[i]
		r.share(&p.NetworkID, &p.ProjectID, &p.DeviceOwner, &p.Status, &p.HostID, &p.VIFType)
		p.FixedIPs = slices.Clone(p.FixedIPs)
		for j := range p.FixedIPs {
			r.share(&p.FixedIPs[j].SubnetID)
		}
	}
}
