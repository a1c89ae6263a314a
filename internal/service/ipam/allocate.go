package ipam

import (
	"database/sql"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"neutrino/internal/fault"
	"neutrino/internal/model"
	"neutrino/internal/resource"
	"neutrino/internal/store"
)

// Want is a port that needs addresses. Its FixedIPs are what was asked for, and afterwards what it got.
type Want struct {
	Port *model.Port
	// Unspecified says that nothing was asked for, which is not the same as asking for no address.
	Unspecified bool
}

// request is one address that a port needs: a certain one, or any of one of the subnets.
type request struct {
	want    *Want
	subnet  *Subnet
	addr    netip.Addr
	choices []*Subnet
	lowest  bool
}

// Allocate gives addresses to ports of the network, with a number of queries that does not depend on how many they
// are. Certain addresses go first, so that no choice takes them.
func (n *Network) Allocate(tx *store.Tx, wants ...*Want) error {
	var all []*request
	for _, w := range wants {
		requests, err := n.requests(tx, w)
		if err != nil {
			return err
		}
		all = append(all, requests...)
		w.Port.FixedIPs = []model.FixedIP{}
	}
	return n.serve(tx, all)
}

func (n *Network) serve(tx *store.Tx, all []*request) error {
	subnets := involved(all)
	if err := find(tx, subnets); err != nil {
		return err
	}
	for _, s := range subnets {
		if s.ipamID == "" {
			return store.Retry(fmt.Errorf("subnet %s has no row in ipamsubnets", s.ID)) // deleted meanwhile
		}
	}
	var certain, open []*request
	for _, r := range all {
		if r.choices == nil {
			certain = append(certain, r)
		} else {
			open = append(open, r)
		}
	}
	if err := take(tx, certain); err != nil {
		return err
	}
	if err := n.choose(tx, open); err != nil {
		return err
	}
	for _, r := range all {
		r.want.Port.FixedIPs = append(r.want.Port.FixedIPs, model.FixedIP{SubnetID: r.subnet.ID, IPAddress: r.addr.String()})
	}
	for _, r := range all {
		SortIPs(r.want.Port.FixedIPs)
	}
	return nil
}

// SortIPs brings addresses into the order in which they are read.
func SortIPs(ips []model.FixedIP) {
	slices.SortFunc(ips, func(a, b model.FixedIP) int { return strings.Compare(a.IPAddress, b.IPAddress) })
}

func involved(all []*request) []*Subnet {
	set := map[*Subnet]bool{}
	for _, r := range all {
		if r.choices == nil {
			set[r.subnet] = true
		}
		for _, s := range r.choices {
			set[s] = true
		}
	}
	return slices.Collect(keys(set))
}

// take allocates certain addresses.
func take(tx *store.Tx, requests []*request) error {
	if len(requests) == 0 {
		return nil
	}
	type key struct{ addr, subnet string }
	asked := map[key]*request{}
	var text []string
	var rows [][]any
	for _, r := range requests {
		if !r.subnet.holds(r.addr, "") {
			return fault.BadRequest("InvalidIpForSubnet", "IP address %s does not belong to subnet %s", r.addr, r.subnet.ID)
		}
		k := key{r.addr.String(), r.subnet.ipamID}
		if asked[k] != nil {
			return alreadyAllocated(r)
		}
		asked[k] = r
		text = append(text, k.addr)
		rows = append(rows, []any{k.addr, "ALLOCATED", k.subnet})
	}
	for part := range slices.Chunk(text, chunk) {
		in := resource.In("ip_address", part)
		found, err := tx.Query("SELECT ip_address, ipam_subnet_id FROM ipamallocations WHERE "+in.SQL, in.Args...)
		taken, err := store.All(found, err, func(r *sql.Rows) (k key, err error) { err = r.Scan(&k.addr, &k.subnet); return k, err })
		if err != nil {
			return fmt.Errorf("read allocated addresses: %w", err)
		}
		for _, k := range taken {
			if r := asked[k]; r != nil {
				return alreadyAllocated(r)
			}
		}
	}
	return allocate(tx, rows)
}

func alreadyAllocated(r *request) error {
	return fault.Conflict("IpAddressAlreadyAllocated", "IP address %s already allocated in subnet %s", r.addr, r.subnet.ID)
}

// choose allocates addresses where any of some subnets is good, all requests with the same choice together.
func (n *Network) choose(tx *store.Tx, requests []*request) error {
	if len(requests) == 0 {
		return nil
	}
	if err := loadPools(tx, involved(requests)); err != nil {
		return err
	}
	groups := map[string][]*request{}
	for _, r := range requests {
		k := fmt.Sprint(r.lowest)
		for _, s := range r.choices {
			k += " " + s.ID
		}
		groups[k] = append(groups[k], r)
	}
	for _, group := range groups {
		for _, s := range group[0].choices {
			if len(group) == 1 && !group[0].lowest {
				a, ok, err := s.guess(tx)
				if err != nil {
					return err
				}
				if ok {
					group[0].subnet, group[0].addr = s, a
					group = nil
					break
				}
			}
			found, err := s.free(tx, len(group), group[0].lowest)
			if err != nil {
				return err
			}
			var rows [][]any
			for i, a := range found {
				group[i].subnet, group[i].addr = s, a
				rows = append(rows, []any{a.String(), "ALLOCATED", s.ipamID})
			}
			if err := allocate(tx, rows); err != nil {
				return err
			}
			if group = group[len(found):]; len(group) == 0 {
				break
			}
		}
		if len(group) > 0 {
			return fault.Conflict("IpAddressGenerationFailure", "No more IP addresses available on network %s.", n.ID)
		}
	}
	return nil
}

// requests are the addresses that a new port needs.
func (n *Network) requests(tx *store.Tx, w *Want) ([]*request, error) {
	p := w.Port
	subnets, deferred, err := n.eligible(p, !w.Unspecified && len(p.FixedIPs) > 0)
	if err != nil {
		return nil, err
	}
	p.IPAllocation = Immediate
	switch {
	case !w.Unspecified && len(p.FixedIPs) == 0:
		p.IPAllocation = None
	case deferred:
		p.IPAllocation = Deferred
		return nil, nil
	}
	if !w.Unspecified {
		asked, err := n.asked(tx, w, p.FixedIPs, subnets)
		if err != nil {
			return nil, err
		}
		return n.addAuto(asked, w, subnets, nil)
	}
	var v4, v6 []*Subnet
	for _, s := range subnets {
		switch {
		case s.CIDR.Addr().Is4():
			v4 = append(v4, s)
		case !s.Auto:
			v6 = append(v6, s)
		}
	}
	var out []*request
	for _, choices := range [][]*Subnet{v4, v6} {
		if len(choices) > 0 {
			out = append(out, w.anyOf(choices...))
		}
	}
	return n.addAuto(out, w, subnets, nil)
}

// anyOf asks for any address of one of the subnets. Ports that serve a whole subnet get its lowest.
func (w *Want) anyOf(choices ...*Subnet) *request {
	owner := w.Port.DeviceOwner
	return &request{want: w, choices: choices, lowest: owner == ownerDHCP || owner == ownerDistributed}
}

// eligible are the candidates for a port; configured tells whether the request names addresses. None is an error only if
// the network has subnets. Deferred means that only the port's host will tell.
func (n *Network) eligible(p *model.Port, configured bool) (list []*Subnet, deferred bool, err error) {
	c := n.candidates(p.DeviceOwner)
	if len(c) == 0 && len(n.Subnets) > 0 {
		return nil, false, fault.Conflict("IpAddressGenerationFailureNoMatchingSubnet",
			"No valid service subnet for the given device owner, network %s, service type %s.", n.ID, p.DeviceOwner)
	}
	return n.reachable(p, configured, c)
}

// addAuto adds the addresses that the port's device will make itself from its MAC address.
func (n *Network) addAuto(out []*request, w *Want, subnets []*Subnet, except map[string]bool) ([]*request, error) {
	if slices.Contains(routerInterfacesSNAT, w.Port.DeviceOwner) {
		return out, nil
	}
	for _, s := range subnets {
		if !s.Auto || except[s.ID] {
			continue
		}
		a, err := EUI64(s.CIDR, w.Port.MACAddress)
		if err != nil {
			return nil, err
		}
		if !slices.ContainsFunc(out, func(r *request) bool { return r.subnet == s && r.addr == a }) {
			out = append(out, &request{want: w, subnet: s, addr: a})
		}
	}
	return out, nil
}

// asked turns the entries of a request's fixed_ips into requests.
func (n *Network) asked(tx *store.Tx, w *Want, ips []model.FixedIP, subnets []*Subnet) ([]*request, error) {
	var out []*request
	owner := w.Port.DeviceOwner
	for _, f := range ips {
		s, err := n.subnetFor(tx, f, owner, subnets)
		if err != nil {
			return nil, err
		}
		if f.IPAddress == "" {
			// The automatic ones are added for all such subnets, asked for or not.
			if !s.Auto || slices.Contains(routerInterfacesSNAT, owner) {
				out = append(out, w.anyOf(s))
			}
			continue
		}
		a, err := netip.ParseAddr(f.IPAddress)
		if err != nil {
			return nil, fault.InvalidInput("'%s' is not a valid IP address", f.IPAddress)
		}
		if s.Auto && !slices.Contains(routerInterfaces, owner) {
			own, err := EUI64(s.CIDR, w.Port.MACAddress)
			if err != nil {
				return nil, err
			}
			if a != own {
				return nil, fault.BadRequest("AllocationOnAutoAddressSubnet", "IPv6 address %s cannot be directly assigned to a port "+
					"on subnet %s as the subnet is configured for automatic addresses", a, s.ID)
			}
		}
		out = append(out, &request{want: w, subnet: s, addr: a})
	}
	return out, nil
}

// subnetFor finds the subnet that an entry of fixed_ips means.
func (n *Network) subnetFor(tx *store.Tx, f model.FixedIP, owner string, subnets []*Subnet) (*Subnet, error) {
	switch {
	case len(subnets) == 0:
		return nil, fault.InvalidInput("IP allocation requires subnets for network")
	case f.SubnetID == "" && f.IPAddress == "":
		return nil, fault.InvalidInput("IP allocation requires subnet_id or ip_address")
	}
	a, err := netip.ParseAddr(f.IPAddress)
	if err != nil && f.IPAddress != "" {
		return nil, fault.InvalidInput("'%s' is not a valid IP address", f.IPAddress)
	}
	for _, s := range subnets {
		switch {
		case f.SubnetID == "":
			if s.holds(a, owner) {
				return s, nil
			}
		case s.ID == f.SubnetID:
			if f.IPAddress != "" && !s.holds(a, owner) {
				return nil, fault.BadRequest("InvalidIpForSubnet", "IP address %s is not a valid IP for the specified subnet.", f.IPAddress)
			}
			return s, nil
		}
	}
	if f.SubnetID == "" {
		return nil, fault.BadRequest("InvalidIpForNetwork",
			"IP address %s is not a valid IP for any of the subnets on the specified network.", f.IPAddress)
	}
	return nil, n.foreignSubnet(tx, f.SubnetID)
}

// foreignSubnet tells why a subnet is not one to choose from.
func (n *Network) foreignSubnet(tx *store.Tx, id string) error {
	_, exists, err := store.One[string](tx.QueryRow("SELECT id FROM subnets WHERE id = ?", id))
	switch {
	case err != nil:
		return fmt.Errorf("read subnet: %w", err)
	case !exists:
		return fault.NotFound("SubnetNotFound", "Subnet %s could not be found.", id)
	}
	return fault.InvalidInput("Failed to create port on network %s, because fixed_ips included invalid subnet %s", n.ID, id)
}
