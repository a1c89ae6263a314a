package model

import (
	"encoding/json"
	"strings"

	"neutrino/internal/fault"
	"neutrino/internal/resource"
)

// Network is a layer-2 broadcast domain.
type Network struct {
	Standard
	AdminStateUp      bool
	Status            string
	MTU               int
	Shared            bool // an RBAC entry shares it with the caller
	External          bool
	IsDefault         bool
	PortSecurity      bool
	NetworkType       *string // provider attributes: those of the only segment
	PhysicalNetwork   *string
	SegmentationID    *int
	Segments          []Segment // of networks that have several
	SubnetIDs         []string
	AvailabilityZones []string
	ZoneHints         ZoneHints
	IPv4AddressScope  *string
	IPv6AddressScope  *string
	DNSDomain         string
	QosPolicyID       *string
	HA                bool // of requests: it is to be the network between a project's highly available routers
	L2Adjacency       bool // no subnet is bound to a segment

	// ShowDefault shows is_default although the network is not external, as upstream does in the answers to some requests
	// (services/auto_allocate/db.py).
	ShowDefault bool
}

// ignored is a filter that upstream accepts and then does not apply, because its networks have no such column.
func ignored([]string) (resource.Cond, error) { return resource.Cond{SQL: "1 = 1"}, nil }

// Segment is one piece of a network on a physical network or an overlay.
type Segment struct {
	ID              string  `json:"-"`
	NetworkType     string  `json:"provider:network_type"`
	PhysicalNetwork *string `json:"provider:physical_network"`
	SegmentationID  *int    `json:"provider:segmentation_id"`
}

// anySegment filters networks by a column of any of their segments.
func anySegment(column string, parse func(string) (any, error)) func(values []string) (resource.Cond, error) {
	return func(values []string) (resource.Cond, error) {
		var args []any
		for _, text := range values {
			v := any(text)
			if parse != nil {
				var err error
				if v, err = parse(text); err != nil {
					return resource.Cond{}, err
				}
			}
			if resource.Fits(v) {
				args = append(args, v)
			}
		}
		in := resource.In("s."+column, args)
		return resource.Cond{SQL: "EXISTS (SELECT 1 FROM networksegments s WHERE s.network_id = t.id AND " + in.SQL + ")", Args: in.Args}, nil
	}
}

// networkSegments is the type of a network's segments (neutron-lib api/validators/multiprovidernet.py).
var networkSegments = resource.Type[[]Segment]{Name: "list of segments", Append: resource.AppendList(resource.AppendJSON[Segment]), Parse: parseSegments}

func parseSegments(v any) ([]Segment, error) {
	if m, ok := v.(map[string]any); ok && len(m) == 0 {
		return []Segment{}, nil
	}
	items, ok := v.([]any)
	if !ok {
		return nil, resource.Reasonf("'%s' is not a list", resource.Py(v))
	}
	all := make([]Segment, len(items))
	for i, item := range items {
		var err error
		if all[i], err = parseSegment(item); err != nil {
			return nil, err
		}
	}
	return all, nil
}

func parseSegment(v any) (s Segment, err error) {
	m, ok := v.(map[string]any)
	if !ok {
		return s, resource.Reasonf("'%s' is not a dictionary", resource.Py(v))
	}
	var unknown []string
	for _, name := range sortedKeys(m) {
		value := m[name]
		switch name {
		case "provider:network_type":
			if value != nil {
				s.NetworkType = resource.Py(value)
			}
		case "provider:physical_network":
			if value != nil {
				text := resource.Py(value)
				s.PhysicalNetwork = &text
			}
		case "provider:segmentation_id":
			if value == nil || value == "" {
				continue
			}
			id, err := resource.Int.Parse(value)
			if err != nil {
				return s, err
			}
			if id != 0 {
				s.SegmentationID = &id
			}
		default:
			unknown = append(unknown, name)
		}
	}
	if len(unknown) > 0 {
		return s, fault.BadRequest("HTTPBadRequest", "Unrecognized attribute(s) '%s'", strings.Join(unknown, ", "))
	}
	return s, nil
}

func segmentColumn(c string) string {
	return "(SELECT s." + c + " FROM networksegments s WHERE s.network_id = t.id ORDER BY s.segment_index LIMIT 1)"
}

// Networks describes networks.
func Networks(enabled func(string) bool) *resource.Resource[Network] {
	std := func(n *Network) *Standard { return &n.Standard }
	t := table("networks", std)
	t.StrictMarker = true
	t.Sides = map[string]resource.SideTable{
		"networksecuritybindings": {Key: "network_id"}, "externalnetworks": {Key: "network_id"},
		"networkdnsdomains": {Key: "network_id"}, "qos_network_policy_bindings": {Key: "network_id"},
	}
	t.Visible = "t.project_id = :project OR " + reachableBy("networkrbacs", "t.id")
	several := func(n *Network) bool { return len(n.Segments) > 0 }
	return resource.New("network", "networks", "networks", t, enabled,
		owned(std), named(std), standard("networks", std), []resource.Attr[Network]{
			resource.Field("admin_state_up", resource.Bool, post|put|filter|sort, func(n *Network) *bool { return &n.AdminStateUp }, resource.Default(true)),
			resource.Field("status", resource.String(16), filter|sort, func(n *Network) *string { return &n.Status }),
			resource.Field("shared", resource.Bool, post|put|filter|policy|needed, func(n *Network) *bool { return &n.Shared },
				resource.Derived(sharedBy("networkrbacs", "t.id")), resource.Default(false)),
			resource.List("subnets", UUIDs, 0, func(n *Network) *[]string { return &n.SubnetIDs }, resource.Children[string]{
				Table: "subnets", Parent: "network_id", ReadOnly: true,
				Columns: []resource.Col[string]{{Name: "id", Ref: func(e *string) any { return e }, Key: true}}}),
		},
		resource.Ext("net-mtu",
			resource.Field("mtu", resource.NonNegative, post|put|filter|sort|policy, func(n *Network) *int { return &n.MTU }, resource.Default(0))),
		resource.Ext("network_ha",
			resource.Field("ha", resource.Bool, post|hidden, func(n *Network) *bool { return &n.HA }, resource.Unstored(), resource.Default(false))),
		resource.Ext("external-net",
			resource.Field("router:external", resource.Bool, post|put|filter|policy|needed, func(n *Network) *bool { return &n.External },
				resource.Derived("(externalnetworks.network_id IS NOT NULL)"), resource.Default(false))),
		resource.Ext("auto-allocated-topology",
			resource.Field("is_default", resource.Bool, post|put|filter|policy|needed, func(n *Network) *bool { return &n.IsDefault },
				resource.Derived("COALESCE(externalnetworks.is_default, false)"), resource.Default(false), resource.Matching(ignoredBool)).
				OmitWhen(func(n *Network) bool { return !n.External && !n.ShowDefault })),
		resource.Ext("port-security",
			resource.Field("port_security_enabled", resource.Bool, post|put|policy, func(n *Network) *bool { return &n.PortSecurity },
				resource.Side("networksecuritybindings", "port_security_enabled", "true"), resource.Default(true))),
		resource.Ext("provider",
			resource.Field("provider:network_type", givenOrAbsent(resource.String(32)), post|put|filter|policy,
				func(n *Network) **string { return &n.NetworkType }, resource.Derived(segmentColumn("network_type")),
				resource.Matching(anySegment("network_type", nil))).OmitWhen(several),
			resource.Field("provider:physical_network", givenOrAbsent(resource.String(64)), post|put|filter|policy,
				func(n *Network) **string { return &n.PhysicalNetwork }, resource.Derived(segmentColumn("physical_network")),
				resource.Matching(anySegment("physical_network", nil))).OmitWhen(several),
			resource.Field("provider:segmentation_id", givenOrAbsent(resource.Int), post|put|filter|policy,
				func(n *Network) **int { return &n.SegmentationID }, resource.Derived(segmentColumn("segmentation_id")),
				resource.Matching(anySegment("segmentation_id", resource.Int.FromQuery))).OmitWhen(several)),
		resource.Ext("l2_adjacency",
			resource.Field("l2_adjacency", resource.Bool, 0, func(n *Network) *bool { return &n.L2Adjacency },
				resource.Derived("(NOT EXISTS (SELECT 1 FROM subnets x WHERE x.network_id = t.id AND x.segment_id IS NOT NULL))"))),
		resource.Ext("multi-provider",
			resource.Field("segments", networkSegments, post|put|policy, func(n *Network) *[]Segment { return &n.Segments }, resource.Unstored()).
				OmitWhen(func(n *Network) bool { return len(n.Segments) == 0 })),
		resource.Ext("address-scope",
			resource.Field("ipv4_address_scope", resource.Nullable(resource.UUID), 0, func(n *Network) **string { return &n.IPv4AddressScope },
				resource.Derived(networkScope("4"))),
			resource.Field("ipv6_address_scope", resource.Nullable(resource.UUID), 0, func(n *Network) **string { return &n.IPv6AddressScope },
				resource.Derived(networkScope("6")))),
		resource.Ext("network_availability_zone",
			resource.Field("availability_zone_hints", AvailabilityZoneHints, post|sort, func(n *Network) *ZoneHints { return &n.ZoneHints }, resource.Default(ZoneHints{})),
			resource.List("availability_zones", Strings, 0, func(n *Network) *[]string { return &n.AvailabilityZones }, resource.Children[string]{
				Table: "(SELECT DISTINCT b.network_id AS network_id, a.availability_zone AS zone FROM networkdhcpagentbindings b " +
					"JOIN agents a ON a.id = b.dhcp_agent_id WHERE a.availability_zone IS NOT NULL)",
				Source: "networkdhcpagentbindings", Parent: "network_id", ReadOnly: true,
				Columns: []resource.Col[string]{{Name: "zone", Ref: func(e *string) any { return e }}}})),
		resource.Ext("qos",
			resource.Field("qos_policy_id", resource.Nullable(resource.UUID), post|put|policy, func(n *Network) **string { return &n.QosPolicyID },
				resource.Side("qos_network_policy_bindings", "policy_id", "NULL"), resource.Default((*string)(nil)))),
		networkDomain(),
	)
}

// givenOrAbsent is t for attributes that may be null in answers but not in requests.
func givenOrAbsent[T any](t resource.Type[T]) resource.Type[*T] {
	n := resource.Nullable(t)
	n.Parse = func(v any) (*T, error) {
		x, err := t.Parse(v)
		return &x, err
	}
	return n
}

// ZoneHints are availability zone names; JSON text in the database, "" for none.
type ZoneHints []string

// AvailabilityZoneHints is the type of availability_zone_hints.
var AvailabilityZoneHints = resource.Type[ZoneHints]{Name: "list of zone names",
	Append: func(b []byte, z ZoneHints) []byte { return Strings.Append(b, z) },
	Parse: func(v any) (ZoneHints, error) {
		elements, ok := v.([]any)
		if !ok {
			return nil, resource.Reasonf("'%s' is not a list", resource.Py(v))
		}
		if err := distinct(elements); err != nil {
			return nil, err
		}
		list, err := Strings.Parse(v)
		if err != nil {
			return nil, err
		}
		if raw, _ := json.Marshal(list); len(raw) > 255 {
			return nil, fault.InvalidInput("Too many availability_zone_hints specified")
		}
		return list, nil
	}}
