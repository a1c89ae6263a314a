package veth

import (
	"net"
	"os"
	"testing"

	"neutrino/internal/linux/netns"
)

func TestPairLifecycle(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: makes a network namespace")
	}
	const ns = "nu-test-veth"
	if _, err := netns.Ensure(ns); err != nil {
		t.Fatal(err)
	}
	defer netns.Delete(ns)
	mac, _ := net.ParseMAC("fa:16:3e:00:00:01")
	p := Pair{Outer: "tapnutestveth0", Inner: "ns-nutestveth0", Namespace: ns, MAC: mac, MTU: 1450}
	defer Remove(p.Outer)
	for i, want := range []bool{true, false} {
		created, err := Ensure(p)
		if err != nil || created != want {
			t.Fatalf("run %d: created %v, err %v", i, created, err)
		}
	}
	h, err := netns.Handle(ns)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	l, err := h.LinkByName(p.Inner)
	if err != nil || l.Attrs().MTU != 1450 || l.Attrs().HardwareAddr.String() != mac.String() {
		t.Fatalf("inner end %+v, err %v", l, err)
	}
	if err := Remove(p.Outer); err != nil {
		t.Fatal(err)
	}
	if err := Remove(p.Outer); err != nil {
		t.Fatal("second removal:", err)
	}
}
