package ipam

import (
	"fmt"
	"net/netip"
	"slices"

	"neutrino/internal/fault"
	"neutrino/internal/model"
	"neutrino/internal/resource"
	"neutrino/internal/store"
)

// Values of a port's ip_allocation.
const (
	Immediate = "immediate"
	Deferred  = "deferred" // the port gets its addresses when its host is known
	None      = "none"     // the request wanted no address
)

// loadHosts reads which hosts reach the segments of the networks' subnets, in one query if there are any.
func loadHosts(tx *store.Tx, networks map[string]*Network) error {
	var segments []string
	for _, n := range networks {
		n.hosts = map[string][]string{}
		for _, s := range n.Subnets {
			if s.SegmentID != "" && !slices.Contains(segments, s.SegmentID) {
				segments = append(segments, s.SegmentID)
			}
		}
	}
	if len(segments) == 0 {
		return nil
	}
	in := resource.In("segment_id", segments)
	rows, err := tx.Query("SELECT segment_id, host FROM segmenthostmappings WHERE "+in.SQL, in.Args...)
	if err != nil {
		return fmt.Errorf("read hosts of segments: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var segment, host string
		if err := rows.Scan(&segment, &host); err != nil {
			return fmt.Errorf("read hosts of segments: %w", err)
		}
		for _, n := range networks {
			n.hosts[segment] = append(n.hosts[segment], host)
		}
	}
	return rows.Err()
}

// routed tells whether the network's subnets are bound to segments: then the host of a port decides about its subnet.
func (n *Network) routed() bool {
	return slices.ContainsFunc(n.Subnets, func(s *Subnet) bool { return s.SegmentID != "" })
}

// reachable are those of the subnets that a port may use: with a host those that it reaches, without one those of the
// segment that the request's addresses are on. Deferred means that only the host will tell.
func (n *Network) reachable(p *model.Port, configured bool, subnets []*Subnet) (list []*Subnet, deferred bool, err error) {
	if !n.routed() {
		return subnets, false, nil
	}
	keep := func(wanted func(*Subnet) bool) []*Subnet {
		return slices.DeleteFunc(slices.Clone(subnets), func(s *Subnet) bool { return !wanted(s) })
	}
	switch {
	case p.HostID != "":
		list = keep(func(s *Subnet) bool { return s.SegmentID == "" || slices.Contains(n.hosts[s.SegmentID], p.HostID) })
		if len(list) == 0 {
			return nil, false, fault.Conflict("HostNotConnectedToAnySegment", "Host %s is not connected to any segments on routed provider "+
				"network '%s'.  It should be connected to one.", p.HostID, n.ID)
		}
	case configured && p.DeviceOwner == ownerDistributed:
		return subnets, false, nil
	case configured:
		segment, known, err := oneSegment(p.FixedIPs, subnets)
		if err != nil || !known {
			return subnets, false, err
		}
		list = keep(func(s *Subnet) bool { return s.SegmentID == segment })
	default:
		list = keep(func(s *Subnet) bool { return s.SegmentID == "" })
		deferred = len(list) == 0
	}
	return list, deferred, nil
}

// oneSegment is the segment of the subnets that the addresses are in; known is false if one is in no subnet, which
// others refuse.
func oneSegment(ips []model.FixedIP, subnets []*Subnet) (segment string, known bool, err error) {
	for _, f := range ips {
		addr, _ := netip.ParseAddr(f.IPAddress)
		i := slices.IndexFunc(subnets, func(s *Subnet) bool {
			return s.ID == f.SubnetID || f.SubnetID == "" && s.CIDR.Contains(addr)
		})
		if i < 0 {
			return "", false, nil
		}
		if known && subnets[i].SegmentID != segment {
			return "", false, fault.BadRequest("FixedIpsSubnetsNotOnSameSegment", "Cannot allocate addresses from different segments.")
		}
		segment, known = subnets[i].SegmentID, true
	}
	return segment, known, nil
}

// Suits refuses a host from which the addresses of the port cannot be reached.
func (n *Network) Suits(p *model.Port) error {
	subnets, _, err := n.eligible(p, false)
	if err != nil {
		return err
	}
	for _, f := range p.FixedIPs {
		if !slices.ContainsFunc(subnets, func(s *Subnet) bool { return s.ID == f.SubnetID }) {
			return fault.Conflict("HostNotCompatibleWithFixedIps", "Host %s is not connected to a segment where the existing fixed_ips on "+
				"port %s will function given the routed network topology.", p.HostID, p.ID)
		}
	}
	return nil
}
