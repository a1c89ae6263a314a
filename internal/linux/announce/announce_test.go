package announce

import (
	"encoding/hex"
	"net"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestFrames(t *testing.T) {
	mac := net.HardwareAddr{0xfa, 0x16, 0x3e, 0, 0, 1}
	for _, c := range []struct {
		addr string
		want []string
	}{
		{"203.0.113.10", []string{
			"fffffffffffffa163e000001" + "0806" + "0001080006040001" + "fa163e000001cb00710a" + "fa163e000001cb00710a",
			"fffffffffffffa163e000001" + "0806" + "0001080006040002" + "fa163e000001cb00710a" + "fa163e000001cb00710a",
		}},
		{"fd00::1", []string{
			"333300000001fa163e000001" + "86dd" + "6000000000203aff" + "fd000000000000000000000000000001" + "ff020000000000000000000000000001" +
				"8800a483a0000000" + "fd000000000000000000000000000001" + "0201fa163e000001",
		}},
	} {
		var got []string
		for _, f := range Frames(mac, netip.MustParseAddr(c.addr), true) {
			got = append(got, hex.EncodeToString(f))
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Error(c.addr, diff)
		}
	}
}
