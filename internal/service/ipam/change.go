package ipam

import (
	"net/netip"
	"slices"

	"neutrino/internal/model"
	"neutrino/internal/store"
)

// Update turns the addresses that old has into those that now asks for, in the database too: entries that match stay,
// the others are allocated or released. A new MAC address also renews the addresses made of the old one.
// now.FixedIPs becomes what the port has.
func (n *Network) Update(tx *store.Tx, old, now *model.Port) error {
	subnets, _, err := n.eligible(now, len(now.FixedIPs) > 0)
	if err != nil {
		return err
	}
	w := &Want{Port: now}
	add, keep, remove := n.compare(old, now)
	if len(add) > 0 && len(subnets) == 0 {
		_, err := n.subnetFor(tx, add[0], now.DeviceOwner, subnets)
		return err
	}
	requests, err := n.asked(tx, w, add, subnets)
	if err != nil {
		return err
	}
	handled := map[string]bool{}
	for _, f := range slices.Concat(keep, remove) {
		handled[f.SubnetID] = true
	}
	for _, f := range remove {
		if old.MACAddress != now.MACAddress && n.made(f) {
			delete(handled, f.SubnetID) // made of the MAC address: made anew
		}
	}
	for _, r := range requests {
		if r.subnet != nil {
			handled[r.subnet.ID] = true
		}
	}
	if requests, err = n.addAuto(requests, w, subnets, handled); err != nil {
		return err
	}
	if err := Forget(tx, now.NetworkID, remove); err != nil {
		return err
	}
	if err := Release(tx, remove); err != nil {
		return err
	}
	now.FixedIPs = nil
	if err := n.serve(tx, requests); err != nil {
		return err
	}
	if err := Record(tx, now); err != nil {
		return err
	}
	now.FixedIPs = append(slices.Clone(keep), now.FixedIPs...)
	SortIPs(now.FixedIPs)
	return nil
}

// made tells whether the address was made of a MAC address in a subnet where that is done.
func (n *Network) made(f model.FixedIP) bool {
	a, err := netip.ParseAddr(f.IPAddress)
	return err == nil && isEUI64(a) && n.auto(f.SubnetID)
}

func (n *Network) auto(id string) bool {
	return slices.ContainsFunc(n.Subnets, func(s *Subnet) bool { return s.ID == id && s.Auto })
}

// compare matches what is asked for with what the port has: first by address, then by subnet.
func (n *Network) compare(old, now *model.Port) (add, keep, remove []model.FixedIP) {
	left := slices.Clone(old.FixedIPs)
	newMAC := old.MACAddress != now.MACAddress
	if newMAC {
		left = slices.DeleteFunc(left, func(f model.FixedIP) bool {
			if n.made(f) {
				remove = append(remove, f)
				return true
			}
			return false
		})
	}
	wanted := slices.DeleteFunc(slices.Clone(now.FixedIPs), func(f model.FixedIP) bool {
		return newMAC && slices.Contains(remove, f) // the body repeats what is to be renewed
	})
	match := func(f model.FixedIP, same func(o model.FixedIP) bool) bool {
		i := slices.IndexFunc(left, same)
		if i < 0 {
			return false
		}
		keep = append(keep, left[i])
		left = slices.Delete(left, i, i+1)
		return true
	}
	for _, f := range wanted {
		if f.IPAddress != "" && !match(f, func(o model.FixedIP) bool { return o.IPAddress == f.IPAddress }) {
			add = append(add, f)
		}
	}
	for _, f := range wanted {
		if f.IPAddress == "" && !match(f, func(o model.FixedIP) bool { return o.SubnetID == f.SubnetID }) {
			add = append(add, f)
		}
	}
	for _, f := range left {
		// Automatic addresses stay: the device makes them anyway.
		if n.auto(f.SubnetID) && !slices.Contains(routerInterfacesSNAT, now.DeviceOwner) {
			keep = append(keep, f)
		} else {
			remove = append(remove, f)
		}
	}
	return add, keep, remove
}

// AddAuto gives each port that is no router's an address in a new subnet where hosts make their addresses, unless it
// has it. It returns the ports that got one.
func (n *Network) AddAuto(tx *store.Tx, subnetID string, ports []*model.Port) ([]*model.Port, error) {
	var got []*model.Port
	var requests []*request
	for _, p := range ports {
		for _, s := range n.candidates(p.DeviceOwner) {
			if s.ID != subnetID {
				continue
			}
			added, err := n.addAuto(nil, &Want{Port: p}, []*Subnet{s}, nil)
			if err != nil {
				return nil, err
			}
			if len(added) > 0 {
				requests, got = append(requests, added...), append(got, p)
			}
		}
	}
	if err := n.serve(tx, requests); err != nil {
		return nil, err
	}
	var records []*model.Port
	for _, r := range requests {
		records = append(records, &model.Port{Standard: r.want.Port.Standard, NetworkID: r.want.Port.NetworkID,
			FixedIPs: []model.FixedIP{{SubnetID: subnetID, IPAddress: r.addr.String()}}})
	}
	return got, Record(tx, records...)
}
