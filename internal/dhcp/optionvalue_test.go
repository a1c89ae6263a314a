package dhcp

import (
	"encoding/hex"
	"strings"
	"testing"
)

func TestParseOption(t *testing.T) {
	p := NewParser()
	for _, c := range []struct {
		is4         bool
		name, value string
		code        uint16
		tag, data   string // data in hexadecimal
	}{
		{true, "tftp-server", "10.0.0.1", 66, "", hex.EncodeToString([]byte("10.0.0.1"))},
		{true, "66", "10.0.0.1", 66, "", hex.EncodeToString([]byte("10.0.0.1"))},
		{true, "150", "10.0.0.1,10.0.0.2", 150, "", "0a0000010a000002"},
		{true, "ntp-server", "10.0.0.1, 10.0.0.2", 42, "", "0a0000010a000002"},
		{true, "mtu", "1400", 26, "", "0578"},
		{true, "interface-mtu", "0x578", 26, "", "0578"},
		{true, "T1", "10m", 58, "", "00000258"},
		{true, "domain-search", "a.example,b", 119, "", "0161076578616d706c65000162" + "00"},
		{true, "classless-static-route", "10.1.0.0/20,10.0.0.1,0.0.0.0/0,10.0.0.2", 121, "", "140a01000a000001" + "000a000002"},
		{true, "tag:!ipxe,bootfile-name", "x\nport=1", 67, "!ipxe", "78"},
		{true, "option:router", "", 3, "", ""},
		{true, "time-offset", "-3600", 2, "", "fffff1f0"},
		{true, "server-ip-address", "10.0.0.1", 255, "", "0a000001"},
		{true, "224", "7", 224, "", "07"},
		{true, "224", "300", 224, "", "012c"},
		{true, "224", "70000", 224, "", "00011170"},
		{true, "224", "de:ad:1", 224, "", "dead01"},
		{true, "224", "text", 224, "", "74657874"},
		{true, "224", "10.0.0.1", 224, "", "0a000001"},
		{false, "dns-server", "[2001:db8::1]", 23, "", "20010db8000000000000000000000001"},
		{false, "23", "2001:db8::1", 23, "", "20010db8000000000000000000000001"},
		{false, "domain-search", "a", 24, "", "016100"},
		{false, "information-refresh-time", "1h", 32, "", "00000e10"},
		{false, "bootfile-param", "ab,c", 60, "", "0002616200" + "0163"},
		{false, "ntp-server", "n", 56, "", "00030003016e00"},
		{false, "300", "x", 300, "", "78"},
	} {
		o, err := p.Parse(c.is4, c.name, c.value)
		if err != nil || o.Code != c.code || strings.Join(o.Tags, ",") != c.tag || hex.EncodeToString(o.Data) != c.data {
			t.Errorf("%s=%s: %d tag %q %x, %v; want %d tag %q %s", c.name, c.value, o.Code, o.Tags, o.Data, err, c.code, c.tag, c.data)
		}
	}
	for _, c := range []struct {
		is4         bool
		name, value string
	}{
		{true, "no-such-option", "1"}, {true, "0", "1"}, {true, "256", "1"}, {true, "51", "600"}, {true, "224", "1,2"}, {true, "300", "x"}, {true, "router", "2001:db8::1"},
		{true, "router", "x"}, {true, "mtu", "65536"}, {true, "mtu", "x"}, {true, "T1", "99999999999"},
		{true, "classless-static-route", "10.0.0.0/8"}, {true, "domain-search", "a..b"}, {true, "tag:x", "1"},
		{false, "dns-server", "10.0.0.1"}, {false, "router", "::1"}, {false, "65536", "1"},
	} {
		if o, err := p.Parse(c.is4, c.name, c.value); err == nil {
			t.Errorf("%s=%s was read as %+v", c.name, c.value, o)
		}
	}
}

func FuzzParseOption(f *testing.F) {
	p := NewParser()
	f.Add(true, "tag:ipxe,67", "x")
	f.Add(false, "ntp-server", "::1,a.b")
	f.Fuzz(func(t *testing.T, is4 bool, name, value string) {
		if o, err := p.Parse(is4, name, value); err == nil && o.Code == 0 {
			t.Errorf("%q=%q has no code", name, value)
		}
		ParseClientID(value)
	})
}
