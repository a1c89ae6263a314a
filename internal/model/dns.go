package model

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"neutrino/internal/fault"
	"neutrino/internal/resource"
)

// PortNames are the names of a port in DNS.
type PortNames struct {
	DNSName       string // "" = none was chosen
	DNSDomain     string
	DNSAssignment []DNSAssignment // filled by the service
}

// DNSAssignment is the name of one address of a port.
type DNSAssignment struct {
	IPAddress string `json:"ip_address"`
	Hostname  string `json:"hostname"`
	FQDN      string `json:"fqdn"`
}

// dnsTable holds the names of ports; its rows are written by the ML2 plug-in.
const dnsTable = "portdnses"

var dnsAssignments = resource.Type[[]DNSAssignment]{Name: "list of {ip_address, hostname, fqdn}",
	Append: resource.AppendList(appendAssignment),
	Parse: func(v any) ([]DNSAssignment, error) {
		return nil, resource.Reasonf("'%s' cannot be set", resource.Py(v))
	}}

func appendAssignment(b []byte, a DNSAssignment) []byte {
	b = resource.AppendString(append(b, `{"ip_address":`...), a.IPAddress)
	b = resource.AppendString(append(b, `,"hostname":`...), a.Hostname)
	b = resource.AppendString(append(b, `,"fqdn":`...), a.FQDN)
	return append(b, '}')
}

func portNames() []resource.Attr[Port] {
	column := func(name string) resource.Option {
		return resource.Derived("COALESCE(" + dnsTable + "." + name + ", '')")
	}
	attrs := resource.Ext("dns-integration",
		resource.Field("dns_name", dnsName, post|put, func(p *Port) *string { return &p.DNSName }, column("dns_name"), resource.Default("")),
		resource.Field("dns_assignment", dnsAssignments, 0, func(p *Port) *[]DNSAssignment { return &p.DNSAssignment },
			resource.Unstored(), resource.From("fixed_ips", "dns_name")))
	return append(attrs, resource.Ext("dns-domain-ports",
		resource.Field("dns_domain", dnsDomain, post|put, func(p *Port) *string { return &p.DNSDomain }, column("dns_domain"), resource.Default("")))...)
}

// maxFQDN is how many characters a domain name may have.
const maxFQDN = 255

// dnsName is a host name, relative or, with a full stop at its end, absolute.
var dnsName = lowerCase("host name").Checked(dnsFormat)

// floatingName is a relative host name.
var floatingName = lowerCase("relative host name").Checked(func(s string) error {
	if strings.HasSuffix(s, ".") {
		return resource.Reasonf("'%s' is a FQDN. It should be a relative domain name", s)
	}
	return nil
}, dnsFormat, func(s string) error {
	if len(s) > maxFQDN-3 {
		return resource.Reasonf("'%s' contains %d characters. Adding a domain name will cause it to exceed the maximum length of a FQDN of '%d'",
			s, len(s), maxFQDN)
	}
	return nil
})

// dnsDomain is an absolute domain name, or "".
var dnsDomain = lowerCase("domain name with a full stop at its end").Checked(func(s string) error {
	if s != "" && !strings.HasSuffix(s, ".") {
		return resource.Reasonf("'%s' is not a FQDN", s)
	}
	return nil
}, dnsFormat, func(s string) error {
	if len(s) > maxFQDN-2 {
		return resource.Reasonf("'%s' contains %d characters. Adding a sub-domain will cause it to exceed the maximum length of a FQDN of '%d'",
			s, len(s), maxFQDN)
	}
	return nil
})

// lowerCase is text, of which case does not matter.
func lowerCase(name string) resource.Type[string] {
	return resource.Type[string]{Name: name, Append: resource.AppendString, Parse: func(v any) (string, error) {
		s, ok := v.(string)
		if !ok {
			return "", fault.InvalidInput("Input value %s must be string type", resource.Py(v))
		}
		return strings.ToLower(s), nil
	}}
}

// dnsLabelKeywords may stand for labels; the driver dns_domain_keywords replaces them.
var dnsLabelKeywords = []string{"<project_id>", "<project_name>", "<user_name>", "<user_id>"}

// isLabel tells whether s may stand between the full stops of a name.
func isLabel(s string) bool {
	return slices.Contains(dnsLabelKeywords, s) || len(s) <= 63 && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789-") == ""
}

// dnsFormat checks the labels of a name (RFC 952, RFC 1123 section 2.1).
func dnsFormat(s string) error {
	wrong := func(format string, args ...any) error {
		return resource.Reasonf("'%s' not a valid PQDN or FQDN. Reason: %s", s, fmt.Sprintf(format, args...))
	}
	if s == "" {
		return nil
	}
	trimmed := strings.TrimSuffix(s, ".")
	if utf8.RuneCountInString(trimmed) > maxFQDN {
		return wrong("'%s' exceeds the %d character FQDN limit", trimmed, maxFQDN)
	}
	labels := strings.Split(trimmed, ".")
	for _, label := range labels {
		switch {
		case label == "":
			return wrong("Encountered an empty component")
		case strings.HasPrefix(label, "-") || strings.HasSuffix(label, "-"):
			return wrong("Name '%s' must not start or end with a hyphen", label)
		case !isLabel(label):
			return wrong("Name '%s' must be 1-63 characters long, each of which can only be alphanumeric or a hyphen", label)
		}
	}
	if last := labels[len(labels)-1]; len(labels) > 1 && strings.Trim(last, "0123456789") == "" {
		return wrong("TLD '%s' must not be all numeric", last)
	}
	return nil
}

// networkDomain is the domain of a network's names in an external DNS.
func networkDomain() []resource.Attr[Network] {
	return resource.Ext("dns-integration", resource.Field("dns_domain", dnsDomain, post|put, func(n *Network) *string { return &n.DNSDomain },
		resource.Side("networkdnsdomains", "dns_domain", "''"), resource.Sparse(), resource.Default("")))
}

// publishFixedIP tells whether an external DNS learns the addresses of a subnet.
func publishFixedIP() []resource.Attr[Subnet] {
	return resource.Ext("subnet-dns-publish-fixed-ip", resource.Field("dns_publish_fixed_ip", resource.Bool, post|put,
		func(s *Subnet) *bool { return &s.DNSPublishFixedIP },
		resource.Side("subnet_dns_publish_fixed_ips", "dns_publish_fixed_ip", "false"), resource.Sparse(), resource.Default(false)))
}

// floatingNames are the names of floating IPs. They are kept only for an external DNS, as upstream does.
func floatingNames() []resource.Attr[FloatingIP] {
	column := func(name string) resource.Option {
		return resource.Derived("COALESCE(floatingipdnses." + name + ", '')")
	}
	return resource.Ext("dns-integration",
		resource.Field("dns_name", floatingName, post, func(f *FloatingIP) *string { return &f.DNSName }, column("dns_name"), resource.Default("")),
		resource.Field("dns_domain", dnsDomain, post, func(f *FloatingIP) *string { return &f.DNSDomain }, column("dns_domain"), resource.Default("")))
}
