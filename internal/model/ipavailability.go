package model

import (
	"math/big"

	"neutrino/internal/fault"
	"neutrino/internal/resource"
)

// IPAvailability tells how many addresses a network has and how many are used. An IPv6 network has more than fit into
// 64 bits.
type IPAvailability struct {
	Standard      // of the network
	IPVersion int // filter: only subnets of these versions
	Subnets   []SubnetIPAvailability
	Total     *big.Int
	Used      int
	Details   IPDetails
}

// SubnetIPAvailability is the part of one subnet.
type SubnetIPAvailability struct {
	ID        string    `json:"subnet_id"`
	Name      string    `json:"subnet_name"`
	IPVersion int       `json:"ip_version"`
	CIDR      string    `json:"cidr"`
	Total     *big.Int  `json:"total_ips"` // in allocation pools or, without pools, in the CIDR
	Used      int       `json:"used_ips"`
	Details   IPDetails `json:"ip_availability_details"`
}

// IPDetails tells addresses of allocation pools from others.
type IPDetails struct {
	TotalInSubnet *big.Int `json:"total_ips_in_subnet"`
	TotalInPools  *big.Int `json:"total_ips_in_allocation_pool"`
	UsedInSubnet  int      `json:"used_ips_in_subnet"`
	UsedInPools   int      `json:"used_ips_in_allocation_pool"`
}

// Sum adds up what the subnets have.
func (n *IPAvailability) Sum() {
	n.Total, n.Used, n.Details = new(big.Int), 0, IPDetails{TotalInSubnet: new(big.Int), TotalInPools: new(big.Int)}
	for _, s := range n.Subnets {
		n.Total.Add(n.Total, s.Total)
		n.Used += s.Used
		n.Details.TotalInSubnet.Add(n.Details.TotalInSubnet, s.Details.TotalInSubnet)
		n.Details.TotalInPools.Add(n.Details.TotalInPools, s.Details.TotalInPools)
		n.Details.UsedInSubnet += s.Details.UsedInSubnet
		n.Details.UsedInPools += s.Details.UsedInPools
	}
}

// IPAvailabilities describes the IP availability of networks.
func IPAvailabilities(enabled func(string) bool) *resource.Resource[IPAvailability] {
	id := func(n *IPAvailability) *string { return &n.ID }
	project := func(n *IPAvailability) *string { return &n.ProjectID }
	t := resource.Table[IPAvailability]{Name: "networks", ID: id, Missing: func(id string) error {
		return fault.NotFound("NetworkNotFound", "Network %s could not be found.", id)
	}}
	t.Fields = func(r *resource.Resource[IPAvailability], wanted resource.Set, list bool) resource.Set {
		owner := r.Bits("project_id", "tenant_id")
		asked := owner
		if list {
			asked = r.Bit("project_id")
		}
		if wanted&asked == 0 {
			return wanted &^ owner
		}
		return wanted | owner
	}
	return resource.New("network_ip_availability", "network_ip_availabilities", "network-ip-availabilities", t, enabled,
		[]resource.Attr[IPAvailability]{
			resource.Field("id", resource.UUID, hidden, id),
			resource.Field("network_id", resource.UUID, filter|sort, id, resource.Derived("t.id")),
			resource.Field("network_name", resource.String(255), filter, func(n *IPAvailability) *string { return &n.Name }, resource.Derived("t.name")),
			resource.Field("tenant_id", resource.String(255), filter, project, resource.Derived("t.project_id")),
			resource.Field("project_id", resource.String(255), filter|needed, project),
			resource.Field("total_ips", shown[*big.Int]("integer"), 0, func(n *IPAvailability) **big.Int { return &n.Total }, resource.Unstored()),
			resource.Field("used_ips", resource.Int, 0, func(n *IPAvailability) *int { return &n.Used }, resource.Unstored()),
			resource.Field("subnet_ip_availability", shown[[]SubnetIPAvailability]("list of subnets"), 0,
				func(n *IPAvailability) *[]SubnetIPAvailability { return &n.Subnets }, resource.Unstored()),
			resource.Field("ip_version", resource.Int, hidden|filter, func(n *IPAvailability) *int { return &n.IPVersion }, resource.Unstored(),
				resource.Matching(func(values []string) (resource.Cond, error) {
					in := resource.In("s.ip_version", values)
					return resource.Cond{SQL: "EXISTS (SELECT 1 FROM subnets s WHERE s.network_id = t.id AND " + in.SQL + ")", Args: in.Args}, nil
				})),
		},
		resource.Ext("network-ip-availability-details",
			resource.Field("ip_availability_details", shown[IPDetails]("dictionary"), 0, func(n *IPAvailability) *IPDetails { return &n.Details }, resource.Unstored())),
	)
}

// shown is a type that is never in a request.
func shown[T any](name string) resource.Type[T] {
	return resource.Type[T]{Name: name, Append: resource.AppendJSON[T], Parse: func(v any) (x T, err error) {
		return x, resource.Reasonf("'%s' cannot be set", resource.Py(v))
	}}
}
