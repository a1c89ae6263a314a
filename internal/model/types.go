package model

import (
	"encoding/json"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"neutrino/internal/fault"
	"neutrino/internal/resource"
)

// Types of attribute values that only networking knows. Messages are upstream's (neutron_lib/api/validators).

// IP is an address; IPv6 is kept in canonical form.
var IP = resource.Type[string]{Name: "IP address", Append: resource.AppendString, Parse: parseIP,
	FromQuery: func(s string) (any, error) {
		if a, err := netip.ParseAddr(s); err == nil {
			return a.String(), nil
		}
		return s, nil
	}}

func parseIP(v any) (string, error) {
	s, ok := v.(string)
	if !ok {
		return "", resource.Reasonf("'%s' is not a valid IP address", resource.Py(v))
	}
	a, err := netip.ParseAddr(s)
	if err == nil && a.Zone() == "" {
		if a.Is4In6() {
			return s, nil
		}
		return a.String(), nil
	}
	if plain, ok := withoutZeros(s); ok {
		return "", resource.Reasonf("'%s' is not an accepted IP address, '%s' is recommended", s, plain)
	}
	return "", resource.Reasonf("'%s' is not a valid IP address", s)
}

// withoutZeros rewrites an IPv4 address whose parts have leading zeros.
func withoutZeros(s string) (string, bool) {
	parts := strings.Split(s, ".")
	if len(parts) != 4 {
		return "", false
	}
	for i, p := range parts {
		n, err := strconv.ParseUint(p, 10, 8)
		if err != nil {
			return "", false
		}
		parts[i] = strconv.FormatUint(n, 10)
	}
	return strings.Join(parts, "."), true
}

// CIDR is a prefix whose host bits are cleared. As in upstream, filters compare it as it is spelled there.
var CIDR = resource.Type[string]{Name: "CIDR", Append: resource.AppendString, Parse: func(v any) (string, error) {
	p, err := parsePrefix(v)
	if err != nil {
		return "", err
	}
	return p.Masked().String(), nil
}, FromQuery: func(s string) (any, error) {
	p, err := parsePrefix(s)
	return p.String(), err
}}

// parsePrefix reads a prefix in the forms that Python's netaddr takes: without a length it is one address, and the length
// may be a mask or, for IPv4, an inverse mask.
func parsePrefix(v any) (netip.Prefix, error) {
	wrong := fault.InvalidInput("%s is not in a CIDR format", resource.Py(v))
	s, _ := v.(string)
	addr, length, found := strings.Cut(s, "/")
	a, err := netip.ParseAddr(addr)
	if err != nil || a.Zone() != "" {
		return netip.Prefix{}, wrong
	}
	if !found {
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	n, err := resource.Int.Parse(length)
	if mask, maskErr := netip.ParseAddr(length); maskErr == nil && mask.BitLen() == a.BitLen() {
		n, err = maskLength(mask.AsSlice())
	}
	if err != nil || n < 0 || n > a.BitLen() {
		return netip.Prefix{}, wrong
	}
	return netip.PrefixFrom(a, n), nil
}

// maskLength is how many bits of a mask are set, or of an inverse mask are not.
func maskLength(mask net.IPMask) (int, error) {
	ones, size := mask.Size()
	if size == 0 || ones == 0 && mask[0] != 0 {
		for i := range mask {
			mask[i] = ^mask[i]
		}
		ones, size = mask.Size()
	}
	if size == 0 {
		return 0, errors.New("not a mask")
	}
	return ones, nil
}

// MAC is an Ethernet address in lower case with colons.
var MAC = resource.Type[string]{Name: "MAC address", Append: resource.AppendString, Parse: func(v any) (string, error) {
	s, _ := v.(string)
	mac, ok := SanitizeMAC(s)
	if !ok || mac == "00:00:00:00:00:00" || mac == "ff:ff:ff:ff:ff:ff" {
		return "", resource.Reasonf("'%s' is not a valid MAC address", resource.Py(v))
	}
	return mac, nil
}, FromQuery: func(s string) (any, error) {
	if mac, ok := SanitizeMAC(s); ok {
		return mac, nil
	}
	return s, nil
}}

// SanitizeMAC brings the usual spellings of an Ethernet address to lower case with colons.
func SanitizeMAC(s string) (string, bool) {
	if len(s) == 12 {
		s = strings.Join([]string{s[:2], s[2:4], s[4:6], s[6:8], s[8:10], s[10:]}, ":")
	}
	hw, err := net.ParseMAC(s)
	if err != nil || len(hw) != 6 {
		return "", false
	}
	return hw.String(), true
}

// FixedIP is an address of a port. In requests one of the two may be empty: any address of the subnet, or the subnet
// that has the address.
type FixedIP struct {
	SubnetID  string `json:"subnet_id"`
	IPAddress string `json:"ip_address"`
}

func appendFixedIP(b []byte, f FixedIP) []byte {
	b = resource.AppendString(append(b, `{"subnet_id":`...), f.SubnetID)
	b = resource.AppendString(append(b, `,"ip_address":`...), f.IPAddress)
	return append(b, '}')
}

// FixedIPs is the type of fixed_ips.
var FixedIPs = resource.Type[[]FixedIP]{Name: "list of {subnet_id, ip_address}", Append: resource.AppendList(appendFixedIP),
	Parse: func(v any) ([]FixedIP, error) {
		seen := map[string]bool{}
		return list[FixedIP]{format: "Invalid data format for fixed IP: '%s'", parse: func(e any) (FixedIP, error) {
			return parseFixedIP(e, seen)
		}}.of(v)
	}}

// parseFixedIP reads one entry; seen are the addresses of those before.
func parseFixedIP(e any, seen map[string]bool) (f FixedIP, err error) {
	m, ok := e.(map[string]any)
	if !ok {
		return f, resource.Reasonf("Invalid data format for fixed IP: '%s'", resource.Py(e))
	}
	if ip, given := m["ip_address"]; given {
		s, _ := ip.(string)
		if seen[s] {
			return f, resource.Reasonf("Duplicate IP address '%s'", s)
		}
		if f.IPAddress, err = parseIP(ip); err != nil {
			return f, err
		}
		seen[s] = true
	}
	if id, given := m["subnet_id"]; given {
		f.SubnetID, err = resource.UUID.Parse(id)
	}
	return f, err
}

// list reads JSON lists. format is the reason for what is no list, with a %s for it.
type list[T comparable] struct {
	format      string
	nullIsEmpty bool
	parse       func(e any) (T, error)
	distinct    bool                   // the same element may not come twice in the request, whatever it is
	duplicate   func(e any, x T) error // nil: the same value may come twice
}

func (l list[T]) of(v any) ([]T, error) {
	out := []T{}
	if v == nil && l.nullIsEmpty {
		return out, nil
	}
	elements, ok := v.([]any)
	if !ok {
		return nil, resource.Reasonf(l.format, resource.Py(v))
	}
	if l.distinct {
		if err := distinct(elements); err != nil {
			return nil, err
		}
	}
	seen := map[T]bool{}
	for _, e := range elements {
		x, err := l.parse(e)
		if err != nil {
			return nil, err
		}
		if l.duplicate != nil && seen[x] {
			return nil, l.duplicate(e, x)
		}
		seen[x] = true
		out = append(out, x)
	}
	return out, nil
}

// distinct refuses a list that names something twice, before its elements are looked at (_validate_list_of_items in
// neutron_lib/api/validators).
func distinct(elements []any) error {
	var twice []string
	count := map[string]int{}
	for _, e := range elements {
		s := resource.PyRepr(e)
		if count[s]++; count[s] == 2 {
			twice = append(twice, resource.Py(e))
		}
	}
	if len(twice) > 0 {
		return resource.Reasonf("Duplicate items in the list: '%s'", strings.Join(twice, ", "))
	}
	return nil
}

// onlyKeys checks that a dictionary has exactly the expected keys.
func onlyKeys(v any, keys ...string) (map[string]any, error) {
	m, ok := v.(map[string]any)
	if !ok {
		return nil, resource.Reasonf("Invalid input. '%s' must be a dictionary with keys: %s", resource.Py(v), resource.Py(anys(keys)))
	}
	same := len(m) == len(keys)
	for _, k := range keys {
		if _, ok := m[k]; !ok {
			same = false
		}
	}
	if !same {
		var have []string
		for k := range m {
			have = append(have, k)
		}
		slices.Sort(have)
		return nil, resource.Reasonf("Validation of dictionary's keys failed. Expected keys: %s Provided keys: %s", pySet(keys), pySet(have))
	}
	return m, nil
}

func anys(in []string) []any {
	out := make([]any, len(in))
	for i, s := range in {
		out[i] = s
	}
	return out
}

func pySet(in []string) string {
	if len(in) == 0 {
		return "set()"
	}
	s := resource.Py(anys(in))
	return "{" + s[1:len(s)-1] + "}"
}

// Pool is an allocation pool; both ends belong to it.
type Pool struct {
	Start string `json:"start"`
	End   string `json:"end"`
}

// Pools is the type of allocation_pools.
var Pools = resource.Type[[]Pool]{Name: "list of {start, end}", Append: resource.AppendList(resource.AppendJSON[Pool]),
	Parse: dictionaries("Invalid data format for allocation pools", list[Pool]{format: "Invalid data format for IP pool: '%s'", nullIsEmpty: true, parse: func(e any) (p Pool, err error) {
		m, err := onlyKeys(e, "start", "end")
		if err != nil {
			return p, err
		}
		if p.Start, err = parseIP(m["start"]); err != nil {
			return p, err
		}
		p.End, err = parseIP(m["end"])
		return p, err
	}}.of)}

// dictionaries says message for what is no list of dictionaries before parse looks at it. What Python finds empty is one.
func dictionaries[T any](message string, parse func(v any) ([]T, error)) func(v any) ([]T, error) {
	return func(v any) ([]T, error) {
		list, isList := v.([]any)
		switch v := v.(type) {
		case nil:
			return parse(v)
		case string:
			isList = v == ""
		case map[string]any:
			isList = len(v) == 0
		}
		isDictionary := func(e any) bool { _, ok := e.(map[string]any); return ok }
		if !isList || slices.ContainsFunc(list, func(e any) bool { return !isDictionary(e) }) {
			return nil, fault.InvalidInput("%s", message)
		}
		return parse(list)
	}
}

// Nameservers is the type of dns_nameservers, which stay as they are spelled; null means none.
var Nameservers = resource.Type[[]string]{Name: "list of IP addresses", Append: resource.AppendList(resource.AppendString),
	Parse: elements(list[string]{format: "Invalid data format for nameserver: '%s'", nullIsEmpty: true, parse: func(e any) (string, error) {
		if _, err := parseIP(e); err != nil {
			return "", resource.Reasonf("'%s' is not a valid nameserver. %s", resource.Py(e), err)
		}
		return e.(string), nil // or it is no address
	}, duplicate: func(_ any, s string) error { return resource.Reasonf("Duplicate nameserver '%s'", s) }}.of)}

// elements gives parse what Python iterates over: of text its characters, of a dictionary its keys.
func elements[T any](parse func(v any) ([]T, error)) func(v any) ([]T, error) {
	return func(v any) ([]T, error) {
		switch x := v.(type) {
		case string:
			v = anys(strings.Split(x, ""))
		case map[string]any:
			v = anys(sortedKeys(x))
		}
		return parse(v)
	}
}

// Route is a host route of a subnet or an extra route of a router.
type Route struct {
	Destination string `json:"destination"`
	Nexthop     string `json:"nexthop"`
}

// Routes is the type of host_routes and routes; null means none.
var Routes = resource.Type[[]Route]{Name: "list of {destination, nexthop}", Append: resource.AppendList(resource.AppendJSON[Route]),
	Parse: list[Route]{format: "Invalid data format for hostroute: '%s'", nullIsEmpty: true, parse: func(e any) (r Route, err error) {
		m, err := onlyKeys(e, "destination", "nexthop")
		if err != nil {
			return r, err
		}
		if r.Destination, err = parseRouteCIDR(m["destination"]); err != nil {
			return r, err
		}
		r.Nexthop, err = parseIP(m["nexthop"])
		return r, err
	}, duplicate: func(e any, _ Route) error { return resource.Reasonf("Duplicate hostroute '%s'", resource.Py(e)) }}.of}

// parseRouteCIDR checks a destination, which stays as it is spelled: its length may be a mask.
func parseRouteCIDR(v any) (string, error) {
	s, _ := v.(string)
	p, err := parsePrefix(v)
	if err != nil || p.Masked() != p || !strings.Contains(s, "/") || strings.ContainsFunc(s, func(r rune) bool { return r == '_' || unicode.IsSpace(r) }) {
		return "", resource.Reasonf("'%s' is not a valid CIDR", resource.Py(v))
	}
	if p.Addr().IsLoopback() {
		return "", resource.Reasonf("'%s' is not a routable CIDR", s)
	}
	return s, nil
}

// Prefix is the destination as agents read it; what was given by other ways than Routes may be no prefix at all.
func (r Route) Prefix() (netip.Prefix, error) {
	p, err := parsePrefix(r.Destination)
	return p.Masked(), err
}

// UUIDs is a list of distinct UUIDs; null means none.
var UUIDs = resource.Type[[]string]{Name: "list of uuid", Append: resource.AppendList(resource.AppendString),
	Parse: list[string]{format: "'%s' is not a list", nullIsEmpty: true, distinct: true, parse: resource.UUID.Parse}.of}

// Strings is a list of text.
var Strings = resource.Type[[]string]{Name: "list of strings", Append: resource.AppendList(resource.AppendString),
	Parse: list[string]{format: "'%s' is not a list", nullIsEmpty: true, parse: func(e any) (string, error) {
		s, ok := e.(string)
		if !ok {
			return "", resource.Reasonf("'%s' is not a valid string", resource.Py(e))
		}
		return s, nil
	}}.of}

// Dict is a dictionary of any values; in the database it is JSON text, the empty one "".
type Dict map[string]any

// Dictionary is the type of binding:profile; null means the empty one.
var Dictionary = resource.Type[Dict]{Name: "dictionary", Append: func(b []byte, d Dict) []byte {
	if len(d) == 0 {
		return append(b, "{}"...)
	}
	return resource.AppendJSON(b, d)
}, Parse: func(v any) (Dict, error) {
	m, ok := v.(map[string]any)
	switch {
	case !ok && v != nil:
		return nil, resource.Reasonf("'%s' is not a dictionary", resource.Py(v))
	case len(m) == 0: // as it is read
		return nil, nil
	}
	return m, nil
}}

// GatewayInfo is external_gateway_info.
type GatewayInfo struct {
	NetworkID        string    `json:"network_id"`
	ExternalFixedIPs []FixedIP `json:"external_fixed_ips"`
	EnableSNAT       bool      `json:"enable_snat"`

	// QosPolicyID is the QoS policy of the gateway. It is not shown if neither the gateway nor its network has one.
	QosPolicyID **string `json:"qos_policy_id,omitempty"`

	// What the request said, for checks and policy.
	HasFixedIPs, HasSNAT bool `json:"-"`
}

// gateway is the type of external_gateway_info: null, {} and whatever else is nothing in Python mean no gateway.
func gateway(qos bool) resource.Type[*GatewayInfo] {
	return resource.Type[*GatewayInfo]{Name: "{network_id, enable_snat, external_fixed_ips} or null",
		Append: func(b []byte, g *GatewayInfo) []byte { return resource.AppendJSON(b, g) },
		Parse: func(v any) (*GatewayInfo, error) {
			if resource.Falsy(v) {
				return nil, nil
			}
			m, ok := v.(map[string]any)
			if !ok {
				return nil, resource.Reasonf("'%s' is not a dictionary", resource.Py(v))
			}
			g := &GatewayInfo{EnableSNAT: true}
			id, given := m["network_id"]
			if !given {
				return nil, resource.Reasonf("Validation of dictionary's keys failed. Expected keys: {'network_id'} Provided keys: %s", pySet(sortedKeys(m)))
			}
			var err error
			if g.NetworkID, err = resource.UUID.Parse(id); err != nil {
				return nil, err
			}
			for k, x := range m {
				switch k {
				case "network_id":
				case "external_fixed_ips":
					g.HasFixedIPs = true
					if g.ExternalFixedIPs, err = FixedIPs.Parse(x); err != nil {
						return nil, err
					}
				case "enable_snat":
					g.HasSNAT = true
					if g.EnableSNAT, err = resource.Bool.Parse(x); err != nil {
						return nil, err
					}
				case "qos_policy_id":
					if !qos {
						return nil, resource.Reasonf("Unexpected keys supplied: %s", k)
					}
					id, err := resource.Nullable(resource.UUID).Parse(x)
					if err != nil {
						return nil, err
					}
					g.QosPolicyID = &id
				default:
					return nil, resource.Reasonf("Unexpected keys supplied: %s", k)
				}
			}
			return g, nil
		}}
}

func sortedKeys(m map[string]any) []string {
	var keys []string
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// jsonText scans JSON text of a column into a Go value; empty text leaves it alone.
func jsonText(v any, into any) error {
	var raw []byte
	switch x := v.(type) {
	case nil:
		return nil
	case string:
		raw = []byte(x)
	case []byte:
		raw = x
	}
	if len(raw) == 0 {
		return nil
	}
	return json.Unmarshal(raw, into)
}
