package model

import (
	"cmp"
	"net/netip"
	"strings"

	"neutrino/internal/fault"
	"neutrino/internal/resource"
)

// AddressPair is another source address that a port may use. IPAddress may be a CIDR; MACAddress empty in a request
// means the port's own. Both are spelled as the caller did.
type AddressPair struct {
	MACAddress string `json:"mac_address"`
	IPAddress  string `json:"ip_address"`
}

// AddressPairs is the type of allowed_address_pairs; null means none.
var AddressPairs = resource.Type[[]AddressPair]{Name: "list of {mac_address, ip_address}", Append: resource.AppendList(resource.AppendJSON[AddressPair]),
	Parse: func(v any) ([]AddressPair, error) {
		if _, isList := v.([]any); !isList && v != nil {
			return nil, fault.BadRequest("HTTPBadRequest", "Allowed address pairs must be a list.")
		}
		return list[AddressPair]{nullIsEmpty: true, parse: parsePair, duplicate: func(_ any, p AddressPair) error {
			return fault.BadRequest("DuplicateAddressPairInRequest",
				"Request contains duplicate address pair: mac_address %s ip_address %s.", cmp.Or(p.MACAddress, "None"), p.IPAddress)
		}}.of(v)
	}}

func parsePair(e any) (AddressPair, error) {
	var p AddressPair
	m, ok := e.(map[string]any)
	if !ok {
		return p, resource.Reasonf("'%s' is not a dictionary", resource.Py(e))
	}
	if mac, given := m["mac_address"]; given {
		if _, err := MAC.Parse(mac); err != nil {
			return p, plain(err)
		}
		p.MACAddress = mac.(string)
	}
	ip, given := m["ip_address"]
	if !given {
		return p, fault.BadRequest("AllowedAddressPairsMissingIP", "AllowedAddressPair must contain ip_address")
	}
	for k := range m {
		if k != "ip_address" && k != "mac_address" {
			return p, plain(resource.Reasonf("Unrecognized attribute(s) '%s'", k))
		}
	}
	s, _ := ip.(string)
	_, err := parseIP(ip)
	_, errPrefix := netip.ParsePrefix(s)
	if err == nil || errPrefix == nil {
		p.IPAddress = s
	} else if strings.Contains(s, "/") {
		return p, plain(resource.Reasonf("'%s' is not a valid IP subnet", s))
	} else {
		return p, plain(err)
	}
	return p, checkUnicast(p.IPAddress)
}

// Canonical is the pair in the spelling of agents: MAC address and IPv6 address in lower case and at their shortest.
func (p AddressPair) Canonical() AddressPair {
	if mac, ok := SanitizeMAC(p.MACAddress); ok {
		p.MACAddress = mac
	}
	if a, err := netip.ParseAddr(p.IPAddress); err == nil {
		p.IPAddress = a.String()
	} else if prefix, err := netip.ParsePrefix(p.IPAddress); err == nil {
		p.IPAddress = prefix.String()
	}
	return p
}

// SingleAddress reads an address, or a prefix of one address.
func SingleAddress(text string) (netip.Addr, bool) {
	if a, err := netip.ParseAddr(text); err == nil {
		return a, true
	}
	p, err := netip.ParsePrefix(text)
	return p.Addr(), err == nil && p.IsSingleIP()
}

// plain refuses a value without naming the attribute, as upstream does inside of address pairs.
func plain(err error) error { return fault.BadRequest("HTTPBadRequest", "%s", err) }

// checkUnicast refuses multicast pairs (extension aap-reject-multicast).
func checkUnicast(s string) error {
	addr, _, _ := strings.Cut(s, "/")
	if a, err := netip.ParseAddr(addr); err == nil && a.IsMulticast() {
		return plain(resource.Reasonf("IP %s is a multicast address, which is not supported.", s))
	}
	return nil
}

// DHCPOpt is an extra_dhcp_opts entry. A nil value removes the option in an update.
type DHCPOpt struct {
	Name      string  `json:"opt_name"`
	Value     *string `json:"opt_value"`
	IPVersion int     `json:"ip_version"`
}

// DHCPOpts is the type of extra_dhcp_opts; null means none.
var DHCPOpts = resource.Type[[]DHCPOpt]{Name: "list of {opt_name, opt_value, ip_version}", Append: resource.AppendList(resource.AppendJSON[DHCPOpt]),
	Parse: func(v any) ([]DHCPOpt, error) {
		given := map[string]bool{}
		opts, err := list[DHCPOpt]{format: "'%s' is not a list", nullIsEmpty: true, parse: func(e any) (DHCPOpt, error) {
			text := resource.Py(e)
			if given[text] {
				return DHCPOpt{}, resource.Reasonf("Duplicate items in the list: '%s'", text)
			}
			given[text] = true
			o, ok := parseDHCPOpt(e)
			if !ok {
				return o, resource.Reasonf("No valid key specs matched for: %s", text)
			}
			return o, nil
		}}.of(v)
		if err != nil {
			return nil, fault.InvalidInput("%s", err)
		}
		return opts, nil
	}}

func parseDHCPOpt(e any) (DHCPOpt, bool) {
	o := DHCPOpt{IPVersion: 4}
	m, ok := e.(map[string]any)
	if !ok {
		return o, false
	}
	name, ok := m["opt_name"].(string)
	value, given := m["opt_value"]
	if !ok || !given || strings.TrimSpace(name) == "" || len(name) > 64 || strings.Contains(name, "\n") {
		return o, false
	}
	o.Name = name
	if s, ok := value.(string); ok {
		blankAllowed := name == "router" || name == "classless-static-route"
		if len(s) > 255 || !blankAllowed && (strings.TrimSpace(s) == "" || strings.Contains(s, "\n")) {
			return o, false
		}
		o.Value = &s
	} else if value != nil {
		return o, false
	}
	if v, given := m["ip_version"]; given {
		n, err := resource.Int.Parse(v)
		if err != nil || n != 4 && n != 6 {
			return o, false
		}
		o.IPVersion = n
	}
	for k := range m {
		if k != "opt_name" && k != "opt_value" && k != "ip_version" {
			return o, false
		}
	}
	return o, true
}
