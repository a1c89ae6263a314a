package dhcp

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// Option is a DHCP option as it goes on the wire. Without data it suppresses what the subnet would send.
type Option struct {
	Code  uint16
	Data  []byte
	Force bool     // sent whether the client asks for it or not
	Tags  []string // only for clients with all these dnsmasq tags ("ipxe", "ipxe6"); "!" in front negates
}

func (o Option) appliesTo(tags map[string]bool) bool {
	for _, tag := range o.Tags {
		name, not := strings.CutPrefix(tag, "!")
		if tags[name] == not {
			return false
		}
	}
	return true
}

// Parser turns options as users write them, by dnsmasq name or number, into octets.
type Parser struct {
	byName [2]map[string]known // IPv4, IPv6
	byCode [2]map[uint16]encoding
	own4   map[uint16]bool
}

// NewParser makes a Parser, which is safe for concurrent use.
func NewParser() *Parser {
	p := &Parser{byName: [2]map[string]known{options4ByName(), options6ByName()}, own4: ownCodes()}
	for i, table := range p.byName {
		p.byCode[i] = map[uint16]encoding{}
		for _, k := range table {
			p.byCode[i][k.code] = k.as
		}
	}
	return p
}

// Parse reads an option of extra_dhcp_opts. name may start with "tag:NAME,", more than once. As with dnsmasq, both end at a newline.
func (p *Parser) Parse(is4 bool, name, value string) (Option, error) {
	name, _, _ = strings.Cut(name, "\n")
	value, _, _ = strings.Cut(value, "\n")
	var o Option
	for strings.HasPrefix(name, "tag:") {
		tag, option, ok := strings.Cut(name, ",")
		if !ok {
			return o, fmt.Errorf("option %q: no name after the tag", name)
		}
		o.Tags, name = append(o.Tags, strings.TrimPrefix(tag, "tag:")), option
	}
	name = strings.TrimPrefix(strings.TrimPrefix(name, "option:"), "option6:")
	k, err := p.lookup(is4, name)
	if err != nil {
		return o, err
	}
	o.Code = k.code
	if value == "" {
		return o, nil
	}
	if bare := strings.ReplaceAll(value, `"`, ""); bare != value { // quotes say that it is text
		if value = bare; k.as == guess {
			k.as = text
		}
	}
	if o.Data, err = encode(k.as, is4, value); err != nil {
		return o, fmt.Errorf("option %s: %w", name, err)
	}
	return o, nil
}

func (p *Parser) lookup(is4 bool, name string) (known, error) {
	family, limit := 0, uint64(codeServerIPAddress)
	if !is4 {
		family, limit = 1, 65535
	}
	if k, ok := p.byName[family][name]; ok {
		return k, nil
	}
	code, err := strconv.ParseUint(name, 10, 16)
	if err != nil || code == 0 || code > limit {
		return known{}, fmt.Errorf("option %q is neither a known name nor a number", name)
	}
	if is4 && p.own4[uint16(code)] {
		return known{}, fmt.Errorf("option %q is the server's own", name)
	}
	return known{uint16(code), p.byCode[family][uint16(code)]}, nil
}

func encode(as encoding, is4 bool, value string) ([]byte, error) {
	parts := strings.Split(value, ",")
	for i := range parts {
		parts[i] = strings.TrimSpace(parts[i])
	}
	switch as {
	case address:
		return encodeAddresses(is4, parts)
	case text:
		return []byte(value), nil
	case names:
		return encodeNames(parts)
	case uint8s:
		return encodeNumber(value, 8)
	case uint16s:
		return encodeNumber(value, 16)
	case uint32s:
		return encodeNumber(value, 32)
	case seconds:
		return encodeSeconds(value)
	case routes:
		return encodeRoutes(parts)
	case strings16:
		return encodeStrings16(parts), nil
	case ntp6:
		return encodeNTP6(parts)
	case sip4:
		return encodeSIP4(parts)
	default:
		return encodeGuess(is4, value, parts)
	}
}

func encodeAddresses(is4 bool, parts []string) ([]byte, error) {
	var out []byte
	for _, s := range parts {
		a, err := netip.ParseAddr(strings.Trim(s, "[]"))
		if err != nil || a.Is4() != is4 {
			return nil, fmt.Errorf("%q is not an address of the option's IP version", s)
		}
		out = append(out, a.AsSlice()...)
	}
	return out, nil
}

// encodeNames writes domain names uncompressed; a name that does not fit RFC 1035 is an error.
func encodeNames(list []string) ([]byte, error) {
	var out []byte
	for _, name := range list {
		start := len(out)
		for label := range strings.SplitSeq(strings.TrimSuffix(name, "."), ".") {
			if len(label) == 0 || len(label) > 63 {
				return nil, fmt.Errorf("%q is not a domain name", name)
			}
			out = append(append(out, byte(len(label))), label...)
		}
		if out = append(out, 0); len(out)-start > 255 {
			return nil, fmt.Errorf("domain name %q is too long", name)
		}
	}
	return out, nil
}

func encodeNumber(value string, bits int) ([]byte, error) {
	v, err := strconv.ParseInt(value, 0, 64)
	if err != nil || v >= 1<<bits || v < -(1<<(bits-1)) {
		return nil, fmt.Errorf("%q is not a number of %d bits", value, bits)
	}
	return binary.BigEndian.AppendUint64(nil, uint64(v))[8-bits/8:], nil
}

func encodeSeconds(value string) ([]byte, error) {
	if value == "infinite" {
		return []byte{255, 255, 255, 255}, nil
	}
	unit := uint64(1)
	for suffix, n := range map[string]uint64{"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400} {
		if s, ok := strings.CutSuffix(value, suffix); ok {
			value, unit = s, n
			break
		}
	}
	v, err := strconv.ParseUint(value, 10, 32)
	if err != nil || v*unit > 1<<32-1 {
		return nil, fmt.Errorf("%q is not a time", value)
	}
	return binary.BigEndian.AppendUint32(nil, uint32(v*unit)), nil
}

func encodeRoutes(parts []string) ([]byte, error) {
	if len(parts)%2 != 0 {
		return nil, fmt.Errorf("routes are pairs of destination and router")
	}
	var list []Route
	for i := 0; i < len(parts); i += 2 {
		dst, err := netip.ParsePrefix(parts[i])
		if err != nil {
			return nil, err
		}
		router, err := netip.ParseAddr(parts[i+1])
		if err != nil {
			return nil, err
		}
		list = append(list, Route{dst, router})
	}
	return routes4(list), nil
}

func encodeStrings16(parts []string) []byte {
	var out []byte
	for _, s := range parts {
		out = append(binary.BigEndian.AppendUint16(out, uint16(len(s))), s...)
	}
	return out
}

// encodeNTP6 writes the suboptions of RFC 5908.
func encodeNTP6(parts []string) ([]byte, error) {
	const server, name = 1, 3
	var out []byte
	for _, s := range parts {
		code := uint16(server)
		data, err := encodeAddresses(false, []string{s})
		if err != nil {
			code = name
			if data, err = encodeNames([]string{s}); err != nil {
				return nil, err
			}
		}
		out = binary.BigEndian.AppendUint16(out, code)
		out = append(binary.BigEndian.AppendUint16(out, uint16(len(data))), data...)
	}
	return out, nil
}

// encodeSIP4 writes addresses after an octet of one, names after an octet of zero.
func encodeSIP4(parts []string) ([]byte, error) {
	if out, err := encodeAddresses(true, parts); err == nil {
		return append([]byte{1}, out...), nil
	}
	out, err := encodeNames(parts)
	return append([]byte{0}, out...), err
}

// encodeGuess follows dnsmasq for options whose type nobody knows: a list of addresses, an address range (RFC 3442), one
// number, octets in hexadecimal with colons, else text.
func encodeGuess(is4 bool, value string, parts []string) ([]byte, error) {
	if out, err := encodeAddresses(is4, parts); err == nil {
		return out, nil
	}
	if p, err := netip.ParsePrefix(value); err == nil && is4 && p.Addr().Is4() {
		return append([]byte{byte(p.Bits())}, p.Masked().Addr().AsSlice()[:(p.Bits()+7)/8]...), nil
	}
	if out, ok := encodeGuessedNumber(value); ok {
		return out, nil
	}
	if out, ok := hexOctets(value); ok {
		return out, nil
	}
	if is4 && len(parts) > 1 && strings.Trim(value, "0123456789., ") == "" {
		return nil, fmt.Errorf("%q is not a list of addresses", value)
	}
	return []byte(value), nil
}

// encodeGuessedNumber writes a number in as few octets as it needs, or in as many as its suffix says: b one, s two, i four.
func encodeGuessedNumber(value string) ([]byte, bool) {
	digits, width := value, 0
	if i := len(value) - 1; i > 0 {
		if w := map[byte]int{'b': 1, 's': 2, 'i': 4}[value[i]]; w > 0 {
			digits, width = value[:i], w
		}
	}
	number, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || number < -1<<31 || number >= 1<<32 {
		return nil, false
	}
	if width == 0 {
		switch {
		case number >= 0 && number < 1<<8:
			width = 1
		case number >= 0 && number < 1<<16:
			width = 2
		default:
			width = 4
		}
	}
	return binary.BigEndian.AppendUint32(nil, uint32(number))[4-width:], true
}

// hexOctets reads "01:02:ab"; at least two octets, so that a plain number is not taken for one.
func hexOctets(value string) ([]byte, bool) {
	groups := strings.Split(value, ":")
	if len(groups) < 2 {
		return nil, false
	}
	var out []byte
	for _, g := range groups {
		if len(g) == 1 {
			g = "0" + g
		}
		b, err := hex.DecodeString(g)
		if err != nil || len(b) != 1 {
			return nil, false
		}
		out = append(out, b...)
	}
	return out, true
}

// ParseClientID reads a client identifier: octets in hexadecimal with colons, else text (dnsmasq's "id:").
func ParseClientID(value string) []byte {
	value, _, _ = strings.Cut(value, "\n")
	if b, ok := hexOctets(value); ok {
		return b
	}
	return []byte(value)
}
