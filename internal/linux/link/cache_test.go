package link

import (
	"log/slog"
	"testing"

	"neutrino/internal/linux/sandbox"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) { sandbox.Main(m) }

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// An event that comes late does not bring back what the caller changed since, and a device that is gone does not come back, either.
func TestLateEvents(t *testing.T) {
	sandbox.Need(t)
	h, err := netlink.NewHandle()
	must(t, err)
	defer h.Close()
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU = "late0", 1400
	must(t, h.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: "late1"}))
	told := ""
	c := NewCache(h, func(name string) { told = name }, slog.New(slog.DiscardHandler))
	must(t, c.Reload())
	before := netlink.LinkUpdate{Link: c.Get("late0")}
	before.Header.Type = unix.RTM_NEWLINK
	must(t, h.LinkSetMTU(before.Link, 1300))
	_, err = c.Refresh("late0")
	must(t, err)
	told = ""
	c.note(before)
	if mtu := c.Get("late0").Attrs().MTU; mtu != 1300 || told != "late0" {
		t.Errorf("MTU %d, told of %q", mtu, told)
	}
	must(t, h.LinkDel(before.Link))
	c.note(before)
	gone := before
	gone.Header.Type = unix.RTM_DELLINK
	c.note(gone)
	if l := c.Get("late0"); l != nil || c.Name(before.Link.Attrs().Index) != "" {
		t.Errorf("there is still %v", l)
	}
}
