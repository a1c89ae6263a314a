package dns

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	wire "github.com/miekg/dns"
)

// ParseResolver reads an address, with "#PORT" if it is not 53, as dnsmasq's --server takes it.
func ParseResolver(s string) (netip.AddrPort, error) {
	address, port, given := strings.Cut(strings.TrimSpace(s), "#")
	a, err := netip.ParseAddr(address)
	if err != nil {
		return netip.AddrPort{}, err
	}
	number := uint64(53)
	if given {
		if number, err = strconv.ParseUint(port, 10, 16); err != nil {
			return netip.AddrPort{}, fmt.Errorf("port of %q: %w", s, err)
		}
	}
	return netip.AddrPortFrom(a, uint16(number)), nil
}

// HostResolvers are the name servers of a resolv.conf. Those at a loopback address are left out: questions are sent from
// namespaces, where nobody is at them.
func HostResolvers(path string) ([]netip.AddrPort, error) {
	conf, err := wire.ClientConfigFromFile(path)
	if err != nil {
		return nil, err
	}
	var out []netip.AddrPort
	for _, s := range conf.Servers {
		if a, err := netip.ParseAddr(s); err == nil && !a.IsLoopback() {
			out = append(out, netip.AddrPortFrom(a, 53))
		}
	}
	return out, nil
}

// ParseText reads a TXT record as dnsmasq's --txt-record takes it: NAME,TEXT,TEXT…, with quotes around texts that have
// commas.
func ParseText(s string) map[string][]string {
	var fields []string
	var field strings.Builder
	quoted := false
	for _, r := range s {
		switch {
		case r == '"':
			quoted = !quoted
		case r == ',' && !quoted:
			fields = append(fields, field.String())
			field.Reset()
		default:
			field.WriteRune(r)
		}
	}
	fields = append(fields, field.String())
	if fields[0] == "" {
		return nil
	}
	texts := []string{}
	for _, f := range fields[1:] {
		for ; len(f) > 255; f = f[255:] {
			texts = append(texts, f[:255])
		}
		texts = append(texts, f)
	}
	return map[string][]string{wire.CanonicalName(fields[0]): texts}
}
