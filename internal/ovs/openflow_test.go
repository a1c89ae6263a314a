package ovs

import (
	"encoding/hex"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// What ovs-ofctl 3.1 sends for the same.
func TestFlushBody(t *testing.T) {
	for _, x := range []struct {
		name     string
		protocol byte
		first    []byte
		want     string
	}{
		{"ct-flush zone=5 ct_nw_src=10.0.0.1", anyProtocol, oneEnd(ctSource, netip.MustParseAddr("10.0.0.1")),
			"0000232000000020000000000000000000000020000000000000001400000000000000000000ffff0a000001000000000002000800050000"},
		{"ct-flush zone=5 ct_nw_dst=10.0.0.1", anyProtocol, oneEnd(ctTarget, netip.MustParseAddr("10.0.0.1")),
			"0000232000000020000000000000000000000020000000000001001400000000000000000000ffff0a000001000000000002000800050000"},
		{"ct-flush zone=5 ct_nw_proto=17,ct_ipv6_src=fd00::1", 17, oneEnd(ctSource, netip.MustParseAddr("fd00::1")),
			"00002320000000201100000000000000000000200000000000000014fd000000000000000000000000000001000000000002000800050000"},
		{"ct-flush zone=5", anyProtocol, nil, "000023200000002000000000000000000002000800050000"},
	} {
		if diff := cmp.Diff(x.want, hex.EncodeToString(flushBody(5, x.protocol, x.first))); diff != "" {
			t.Errorf("%s: %s", x.name, diff)
		}
	}
}
