package model

import (
	"database/sql/driver"
	"maps"

	"neutrino/internal/resource"
)

// PortExtras are what ML2's extension drivers add to ports for Nova and Cyborg. nil means that it is not set.
type PortExtras struct {
	DataPlaneStatus       *string // ACTIVE or DOWN, as something outside of Neutron saw it
	PropagateUplinkStatus bool    // of SR-IOV virtual functions
	DeviceProfile         *string // of Cyborg
	NUMAPolicy            *string // required, preferred, legacy or socket
	Hints                 Hints
	Trusted               *bool
	OffloadType           *string // switchdev
}

// extraTables have at most one row for each port.
var extraTables = []string{"portdataplanestatuses", "portuplinkstatuspropagation", "portdeviceprofiles", "portnumaaffinitypolicies",
	"porthints", "porttrusted", "porthardwareoffloadtype"}

// oneOf is text out of the given values, or null.
func oneOf(values ...string) resource.Type[*string] {
	return resource.Nullable(resource.OneOf(values...))
}

// required is t where null is refused as any other wrong value: the attribute may be absent, but not set to null.
func required[T any](t resource.Type[T]) resource.Type[*T] {
	n := resource.Nullable(t)
	n.Parse = func(v any) (*T, error) {
		x, err := t.Parse(v)
		return &x, err
	}
	return n
}

// deviceProfile is the name of a device profile; the empty name means none, as null does.
var deviceProfile = func() resource.Type[*string] {
	t := resource.Nullable(resource.String(255))
	parse := t.Parse
	t.Parse = func(v any) (*string, error) {
		if v == "" {
			return nil, nil
		}
		return parse(v)
	}
	return t
}()

// numaPolicies are the values of numa_affinity_policy.
func numaPolicies(enabled func(string) bool) []string {
	values := []string{"required", "preferred", "legacy"}
	if enabled("port-numa-affinity-policy-socket") {
		values = append(values, "socket")
	}
	return values
}

// portExtras are the attributes of PortExtras.
func portExtras(enabled func(string) bool) []resource.Attr[Port] {
	uplink := post
	if enabled("uplink-status-propagation-updatable") {
		uplink |= put
	}
	extra := func(alias string, a resource.Attr[Port]) resource.Attr[Port] {
		return resource.Ext(alias, a)[0]
	}
	null := resource.Default((*string)(nil))
	return []resource.Attr[Port]{
		extra("data-plane-status", resource.Field("data_plane_status", oneOf("ACTIVE", "DOWN"), put|policy,
			func(p *Port) **string { return &p.DataPlaneStatus }, resource.Side("portdataplanestatuses", "data_plane_status", "NULL"))),
		extra("uplink-status-propagation", resource.Field("propagate_uplink_status", resource.Bool, uplink,
			func(p *Port) *bool { return &p.PropagateUplinkStatus },
			resource.Side("portuplinkstatuspropagation", "propagate_uplink_status", "true"), resource.Sparse(), resource.Default(true))),
		extra("port-device-profile", resource.Field("device_profile", deviceProfile, post,
			func(p *Port) **string { return &p.DeviceProfile }, resource.Side("portdeviceprofiles", "device_profile", "NULL"), null)),
		extra("port-numa-affinity-policy", resource.Field("numa_affinity_policy", oneOf(numaPolicies(enabled)...), post|put,
			func(p *Port) **string { return &p.NUMAPolicy }, resource.Side("portnumaaffinitypolicies", "numa_affinity_policy", "NULL"), null)),
		extra("port-hints", resource.Field("hints", portHints, post|put|policy,
			func(p *Port) *Hints { return &p.Hints }, resource.Side("porthints", "hints", "NULL"), resource.Sparse(), resource.Default(Hints(nil)))),
		extra("port-trusted-vif", resource.Field("trusted", required(resource.Bool), post|put|policy,
			func(p *Port) **bool { return &p.Trusted }, resource.Side("porttrusted", "trusted", "NULL"))),
		extra("port-hardware-offload-type", resource.Field("hardware_offload_type", required(resource.OneOf("switchdev")), post|policy,
			func(p *Port) **string { return &p.OffloadType }, resource.Side("porthardwareoffloadtype", "hardware_offload_type", "NULL"))),
	}
}

// BindingProfile is binding:profile as clients and agents see it: what is stored, and whether the port is trusted.
func (p *Port) BindingProfile() Dict {
	if p.Trusted == nil {
		return p.Profile
	}
	all := maps.Clone(p.Profile)
	if all == nil {
		all = Dict{}
	}
	all["trusted"] = *p.Trusted
	return all
}

// Hints are settings that only some backends know. nil means none.
type Hints map[string]any

// Scan reads JSON text.
func (h *Hints) Scan(v any) error { *h = nil; return jsonText(v, h) }

// Value writes JSON text.
func (h Hints) Value() (driver.Value, error) { return Dict(h).Value() }

// portHints is the type of hints. The only one that is defined tells Open vSwitch how to spread sent packets over threads.
var portHints = resource.Type[Hints]{Name: "{openvswitch: {other_config: {tx-steering: thread | hash}}} or null",
	Append: func(b []byte, h Hints) []byte {
		if len(h) == 0 {
			return append(b, "null"...)
		}
		return resource.AppendJSON(b, h)
	},
	Parse: func(v any) (Hints, error) {
		m, ok := v.(map[string]any)
		if v == nil || ok && len(m) == 0 {
			return m, nil // policy tells none from an empty one
		}
		steering := resource.OneOf("thread", "hash")
		err := nested(v, []string{"openvswitch", "other_config", "tx-steering"}, func(leaf any) error {
			_, err := steering.Parse(leaf)
			return err
		})
		if err != nil {
			return nil, err
		}
		return m, nil
	}}

// nested checks dictionaries in each other, each with at most the one key of its level, and the value in the innermost.
func nested(v any, keys []string, check func(leaf any) error) error {
	if len(keys) == 0 {
		return check(v)
	}
	m, ok := v.(map[string]any)
	if !ok {
		return resource.Reasonf("'%s' is not a dictionary", resource.Py(v))
	}
	for _, k := range sortedKeys(m) {
		if k != keys[0] {
			return resource.Reasonf("Unexpected keys supplied: %s", k)
		}
	}
	if inner, given := m[keys[0]]; given {
		return nested(inner, keys[1:], check)
	}
	return nil
}
