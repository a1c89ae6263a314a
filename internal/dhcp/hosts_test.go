package dhcp

import "testing"

// News of ports that exchange addresses or identifiers come in any order.
func TestHostsReplace(t *testing.T) {
	a, b := &Host{MAC: MAC{1}, ClientID: []byte("id")}, &Host{MAC: MAC{2}, ClientID: []byte("id")}
	moved := &Host{MAC: MAC{3}}
	table := NewHosts(a)
	for _, c := range []struct {
		what        string
		old, now    *Host
		mac         MAC
		byID, byMAC *Host
	}{
		{"another with the identifier", nil, b, MAC{2}, a, b},
		{"the first loses it", a, &Host{MAC: MAC{1}}, MAC{2}, b, b},
		{"a third takes an address", nil, moved, MAC{3}, b, moved},
		{"its former owner goes afterwards", &Host{MAC: MAC{3}}, nil, MAC{3}, b, moved},
		{"nobody has the identifier", b, nil, MAC{2}, nil, nil},
	} {
		table.Replace(c.old, c.now)
		if got := table.find([]byte("id"), MAC{9}); got != c.byID {
			t.Errorf("%s: by identifier %v", c.what, got)
		}
		if got := table.find(nil, c.mac); got != c.byMAC {
			t.Errorf("%s: by address %v", c.what, got)
		}
	}
}
