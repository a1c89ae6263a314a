package linuxbridge

import (
	"log/slog"
	"slices"
	"sync/atomic"
	"testing"

	"neutrino/internal/linux/sandbox"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
)

func TestMain(m *testing.M) { sandbox.Main(m) }

// TestCleanup: bridges without ports go, with their uplinks; addresses go back to the interface; the others stay.
func TestCleanup(t *testing.T) {
	sandbox.Need(t)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	attrs := func(name string) netlink.LinkAttrs {
		a := netlink.NewLinkAttrs()
		a.Name = name
		return a
	}
	bridge := func(name string, ports ...netlink.Link) netlink.Link {
		br := &netlink.Bridge{LinkAttrs: attrs(name)}
		must(netlink.LinkAdd(br))
		for _, p := range ports {
			must(netlink.LinkAdd(p))
			must(netlink.LinkSetMaster(p, br))
		}
		return br
	}
	vxlan := func(name string, id int) netlink.Link {
		return &netlink.Vxlan{LinkAttrs: attrs(name), VxlanId: id, Port: 8472}
	}
	veth := func(name string) netlink.Link {
		return &netlink.Veth{LinkAttrs: attrs(name), PeerName: name + "p"}
	}
	bridge("brq1")                                    // nothing
	bridge("brq2", vxlan("vxlan-2", 2))               // an uplink
	flat := bridge("brq3", veth("eth7"))              // a physical interface, with the address that it had
	bridge("brq4", vxlan("vxlan-4", 4), veth("tap4")) // a port
	bridge("brq5", veth("other"))                     // somebody else's device
	bridge("br-ex", vxlan("vxlan-6", 6))              // somebody else's bridge
	address, err := netlink.ParseAddr("192.0.2.5/24")
	must(err)
	must(netlink.AddrAdd(flat, address))
	var writes atomic.Int64
	d := New(Config{Interfaces: map[string]string{"p": "eth7"}, Unfiltered: true}, &writes, slog.New(slog.NewTextHandler(t.Output(), nil)))
	must(d.Open(t.Context(), func(string) {}))
	defer d.Close()
	removed, err := d.Cleanup()
	must(err)
	slices.Sort(removed)
	if diff := cmp.Diff([]string{"brq1", "brq2", "brq3"}, removed); diff != "" {
		t.Error(diff)
	}
	links, err := netlink.LinkList()
	must(err)
	var left []string
	for _, l := range links {
		left = append(left, l.Attrs().Name)
	}
	slices.Sort(left)
	want := []string{"br-ex", "brq4", "brq5", "eth7", "eth7p", "lo", "other", "otherp", "tap4", "tap4p", "vxlan-4", "vxlan-6"}
	left = slices.DeleteFunc(left, func(n string) bool {
		return !slices.Contains(want, n) && n != "brq1" && n != "brq2" && n != "brq3" && n != "vxlan-2"
	})
	if diff := cmp.Diff(want, left); diff != "" {
		t.Errorf("left: -want +got:\n%s", diff)
	}
	eth7, err := netlink.LinkByName("eth7")
	must(err)
	addresses, err := netlink.AddrList(eth7, netlink.FAMILY_V4)
	must(err)
	if len(addresses) != 1 || addresses[0].IPNet.String() != "192.0.2.5/24" {
		t.Errorf("eth7 has %v", addresses)
	}
}
