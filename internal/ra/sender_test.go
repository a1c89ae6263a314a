package ra

import (
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"testing"
	"time"

	"neutrino/internal/linux/netns"

	"github.com/vishvananda/netlink"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

var routerAddr = netip.MustParseAddr("fe80::1")

// link makes two namespaces with a link between them and returns their names and a handle in the second.
func link(t *testing.T) (router, host string, in *netlink.Handle) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: makes network namespaces")
	}
	router, host = fmt.Sprintf("nu-ra-r%d", os.Getpid()), fmt.Sprintf("nu-ra-h%d", os.Getpid())
	for _, ns := range []string{router, host} {
		if _, err := netns.Ensure(ns); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = netns.Delete(ns) })
	}
	r, h := handle(t, router), handle(t, host)
	err := netns.Do(host, func() error { // made inside, so that nothing appears in the namespace of the test
		attrs := netlink.NewLinkAttrs()
		attrs.Name = "eth0"
		there, err := os.Open("/run/netns/" + router)
		if err != nil {
			return err
		}
		defer there.Close()
		return netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: "qr-test", PeerNamespace: netlink.NsFd(there.Fd())})
	})
	if err != nil {
		t.Fatal(err)
	}
	up(t, r, "qr-test", "fe80::1/64")
	up(t, h, "eth0", "fe80::2/64")
	return router, host, h
}

func handle(t *testing.T, ns string) *netlink.Handle {
	t.Helper()
	h, err := netns.Handle(ns)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.Close)
	return h
}

// up sets the link up and gives it a link-local address that works at once.
func up(t *testing.T, h *netlink.Handle, name, address string) {
	t.Helper()
	l, err := h.LinkByName(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := h.LinkSetUp(l); err != nil {
		t.Fatal(err)
	}
	a, err := netlink.ParseAddr(address)
	if err != nil {
		t.Fatal(err)
	}
	a.Flags = unix.IFA_F_NODAD
	if err := h.AddrReplace(l, a); err != nil {
		t.Fatal(err)
	}
}

func TestHostFollowsAdvertisements(t *testing.T) {
	router, _, h := link(t)
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	s, err := Start(router, "qr-test", routerAddr, Config{Interval: DefaultInterval, Prefixes: []Prefix{{prefixA, true}}}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "an address from the prefix", func() bool { return hasAddress(t, h, prefixA) })
	eventually(t, "a default route", func() bool { return defaultRoutes(t, h) == 1 })

	s.Update(Config{Interval: DefaultInterval, Prefixes: []Prefix{{prefixA, true}, {prefixB, true}}})
	eventually(t, "an address from the new prefix", func() bool { return hasAddress(t, h, prefixB) })

	s.Withdraw()
	eventually(t, "no default route", func() bool { return defaultRoutes(t, h) == 0 })
	if !hasAddress(t, h, prefixA) {
		t.Error("the address went with the router")
	}
}

func TestSolicitationIsAnswered(t *testing.T) {
	router, host, h := link(t)
	s, err := Start(router, "qr-test", routerAddr, Config{Interval: DefaultInterval, Prefixes: []Prefix{{prefixA, true}}}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	eventually(t, "a default route", func() bool { return defaultRoutes(t, h) == 1 })
	// The host forgets everything and asks when its link comes up; the next unsolicited one would be 16 s away.
	l, err := h.LinkByName("eth0")
	if err != nil {
		t.Fatal(err)
	}
	if err := h.LinkSetDown(l); err != nil {
		t.Fatal(err)
	}
	if err := netns.Sysctl(host, "net/ipv6/conf/eth0/accept_dad", "0"); err != nil {
		t.Fatal(err)
	}
	if err := h.LinkSetUp(l); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a default route again", func() bool { return defaultRoutes(t, h) == 1 })
}

func hasAddress(t *testing.T, h *netlink.Handle, in netip.Prefix) bool {
	addrs, err := h.AddrList(nil, netlink.FAMILY_V6)
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range addrs {
		if ip, _ := netip.AddrFromSlice(a.IP); in.Contains(ip) {
			return true
		}
	}
	return false
}

func defaultRoutes(t *testing.T, h *netlink.Handle) (n int) {
	routes, err := h.RouteListFiltered(netlink.FAMILY_V6, &netlink.Route{Protocol: unix.RTPROT_RA}, netlink.RT_FILTER_PROTOCOL)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range routes {
		if r.Gw != nil && (r.Dst == nil || r.Dst.IP.IsUnspecified()) {
			n++
		}
	}
	return n
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("never: ", what)
		}
	}
}
