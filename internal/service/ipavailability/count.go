// Package ipavailability counts the addresses of networks: how many there are and how many are used (extensions
// network-ip-availability and network-ip-availability-details).
package ipavailability

import (
	"fmt"
	"math/big"
	"net/netip"
	"net/url"
	"slices"
	"strconv"

	"neutrino/internal/identity"
	"neutrino/internal/model"
	"neutrino/internal/resource"
	"neutrino/internal/store"
)

// Logic fills in the numbers; networks themselves are the engine's.
func Logic(catalog *model.Catalog) resource.Logic[model.IPAvailability] {
	return resource.Logic[model.IPAvailability]{
		Load: func(tx *store.Tx, _ *identity.Caller, set resource.Set, networks []*model.IPAvailability) error {
			r := catalog.IPAvailabilities
			if set&r.Bits("total_ips", "used_ips", "subnet_ip_availability", "ip_availability_details") == 0 {
				return nil
			}
			return count(tx, networks)
		},
		AfterList: onlyVersions,
	}
}

// onlyVersions leaves out the subnets that a filter for ip_version does not want.
func onlyVersions(query url.Values, networks []*model.IPAvailability) {
	wanted, filtered := query["ip_version"]
	if !filtered {
		return
	}
	for _, n := range networks {
		n.Subnets = slices.DeleteFunc(n.Subnets, func(s model.SubnetIPAvailability) bool {
			return !slices.Contains(wanted, strconv.Itoa(s.IPVersion))
		})
		n.Sum()
	}
}

// chunk is how many networks go into one query.
const chunk = 5000

func count(tx *store.Tx, networks []*model.IPAvailability) error {
	for some := range slices.Chunk(networks, chunk) {
		ids := make([]string, len(some))
		for i, n := range some {
			ids[i] = n.ID
		}
		in := resource.In("s.network_id", ids)
		subnets, err := readSubnets(tx, in)
		if err != nil {
			return fmt.Errorf("read subnets: %w", err)
		}
		if err := readPools(tx, in, subnets); err != nil {
			return fmt.Errorf("read allocation pools: %w", err)
		}
		if err := readUsed(tx, in, subnets); err != nil {
			return fmt.Errorf("read addresses of ports: %w", err)
		}
		for _, n := range some {
			n.Subnets = []model.SubnetIPAvailability{}
			for _, s := range subnets.of[n.ID] {
				n.Subnets = append(n.Subnets, s.result())
			}
			n.Sum()
		}
	}
	return nil
}

// subnet is what is known of a subnet while it is being counted.
type subnet struct {
	model.SubnetIPAvailability
	pools []pool
}

// pool is an allocation pool; both ends belong to it.
type pool struct{ first, last netip.Addr }

func (p pool) size() *big.Int {
	number := func(a netip.Addr) *big.Int { return new(big.Int).SetBytes(a.AsSlice()) }
	n := number(p.last)
	return n.Sub(n, number(p.first)).Add(n, big.NewInt(1))
}

type subnets struct {
	of   map[string][]*subnet // by network
	byID map[string]*subnet
}

func readSubnets(tx *store.Tx, in resource.Cond) (*subnets, error) {
	all := &subnets{map[string][]*subnet{}, map[string]*subnet{}}
	rows, err := tx.Query("SELECT s.network_id, s.id, COALESCE(s.name, ''), s.ip_version, s.cidr FROM subnets s WHERE "+in.SQL+
		" ORDER BY s.standard_attr_id", in.Args...)
	_, err = store.All(rows, err, func(rows *store.Rows) (struct{}, error) {
		var network string
		s := &subnet{}
		if err := rows.Scan(&network, &s.ID, &s.Name, &s.IPVersion, &s.CIDR); err != nil {
			return struct{}{}, err
		}
		cidr, err := netip.ParsePrefix(s.CIDR)
		if err != nil {
			return struct{}{}, err
		}
		s.Total = new(big.Int).Lsh(big.NewInt(1), uint(cidr.Addr().BitLen()-cidr.Bits()))
		s.Details.TotalInSubnet, s.Details.TotalInPools = new(big.Int).Set(s.Total), new(big.Int)
		if s.IPVersion == 4 { // as upstream: without network and broadcast address, whatever the size
			s.Details.TotalInSubnet.Sub(s.Details.TotalInSubnet, big.NewInt(2))
		}
		all.of[network], all.byID[s.ID] = append(all.of[network], s), s
		return struct{}{}, nil
	})
	return all, err
}

func readPools(tx *store.Tx, in resource.Cond, all *subnets) error {
	rows, err := tx.Query("SELECT p.subnet_id, p.first_ip, p.last_ip FROM ipallocationpools p JOIN subnets s ON s.id = p.subnet_id WHERE "+
		in.SQL, in.Args...)
	_, err = store.All(rows, err, func(rows *store.Rows) (struct{}, error) {
		var id, first, last string
		if err := rows.Scan(&id, &first, &last); err != nil {
			return struct{}{}, err
		}
		p, err := parsePool(first, last)
		if s := all.byID[id]; s != nil && err == nil {
			s.pools = append(s.pools, p)
			s.Details.TotalInPools.Add(s.Details.TotalInPools, p.size())
		}
		return struct{}{}, err
	})
	return err
}

func parsePool(first, last string) (p pool, err error) {
	if p.first, err = netip.ParseAddr(first); err == nil {
		p.last, err = netip.ParseAddr(last)
	}
	return p, err
}

func readUsed(tx *store.Tx, in resource.Cond, all *subnets) error {
	rows, err := tx.Query("SELECT a.subnet_id, a.ip_address FROM ipallocations a JOIN subnets s ON s.id = a.subnet_id WHERE "+in.SQL, in.Args...)
	_, err = store.All(rows, err, func(rows *store.Rows) (struct{}, error) {
		var id, ip string
		if err := rows.Scan(&id, &ip); err != nil {
			return struct{}{}, err
		}
		a, err := netip.ParseAddr(ip)
		if s := all.byID[id]; s != nil && err == nil {
			s.use(a)
		}
		return struct{}{}, err
	})
	return err
}

// use counts an address that a port has.
func (s *subnet) use(a netip.Addr) {
	s.Used++
	s.Details.UsedInSubnet++
	if slices.ContainsFunc(s.pools, func(p pool) bool { return p.first.Compare(a) <= 0 && a.Compare(p.last) <= 0 }) {
		s.Details.UsedInPools++
	}
}

func (s *subnet) result() model.SubnetIPAvailability {
	if len(s.pools) > 0 {
		s.Total = s.Details.TotalInPools
	}
	return s.SubnetIPAvailability
}
