package firewall

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestFormer(t *testing.T) {
	with := func(device string, addresses ...string) *Port {
		p := &Port{Device: device, Bridge: "b", Mode: Filtered}
		for _, a := range addresses {
			p.Pairs = append(p.Pairs, Pair{Prefix: netip.MustParsePrefix(a)})
		}
		return p
	}
	mode := func(m Mode) *Port { return &Port{Device: "one", Bridge: "b", Mode: m} }
	stateless := with("one", "10.0.0.1/32")
	stateless.Stateless = true
	one, two := with("one", "10.0.0.1/32"), with("two", "10.0.0.1/32")
	for _, x := range []struct {
		name  string
		ports []*Port // one after the other; nil ends the one before
		want  string
	}{
		{"another port gets it", []*Port{one, nil, two}, "10.0.0.1"},
		{"the port comes back", []*Port{one, nil, one}, ""},
		{"it is closed, and gone", []*Port{one, mode(Closed), nil, two}, "10.0.0.1"},
		{"it comes back, then another", []*Port{one, nil, one, nil, two, nil, two}, "10.0.0.1"},
		{"it loses the address", []*Port{one, with("one", "10.0.0.2/32")}, "10.0.0.1"},
		{"it is open from now on", []*Port{one, mode(Open)}, ""},
		{"it becomes stateless", []*Port{one, stateless}, ""},
		{"it is stateful again", []*Port{stateless, one}, "10.0.0.1"},
		{"a prefix", []*Port{with("one", "10.0.0.0/24"), nil, with("two", "10.0.0.0/24")}, ""},
	} {
		f, got := Former{}, ""
		var old *Port
		for _, p := range x.ports {
			for _, at := range f.Change(old, p) {
				got += at.Address.String()
			}
			old = p
		}
		if diff := cmp.Diff(x.want, got); diff != "" {
			t.Errorf("%s: %s", x.name, diff)
		}
	}
	f := Former{}
	for i := range mostFormer + 5 {
		f.Change(with(fmt.Sprint(i), fmt.Sprintf("fd00::%x/128", i)), nil)
	}
	if len(f) != mostFormer {
		t.Errorf("%d are remembered", len(f))
	}
	if f.Leave("b"); len(f) > 0 {
		t.Errorf("%d of a network that is gone", len(f))
	}
}
