package l3

import (
	"context"
	"log/slog"
	"net"
	"slices"
	"testing"

	"github.com/vishvananda/netlink"

	"neutrino/internal/agent/plug"
	"neutrino/internal/linux/netns"
)

// awayDriver plugs interfaces whose devices do not stay in the namespace, as an ovs-vswitchd does that makes them anew in the host.
type awayDriver struct{ removed []string }

func (*awayDriver) Name(prefix, id string) string                   { return prefix + id }
func (*awayDriver) Right(*netlink.Handle, plug.Port) bool           { return false }
func (*awayDriver) Ensure(context.Context, plug.Port) (bool, error) { return true, nil }
func (*awayDriver) Run(ctx context.Context, _ func(plug.Port))      { <-ctx.Done() }
func (d *awayDriver) Remove(_ context.Context, _ *netlink.Handle, name string) error {
	d.removed = append(d.removed, name)
	return nil
}

// An interface whose device is not in the namespace is unplugged nevertheless once nobody wants it.
func TestInterfaceThatIsAwayIsUnplugged(t *testing.T) {
	needHost(t)
	driver := &awayDriver{}
	a := New(Config{Host: "host", Plug: driver}, newServer(), slog.New(slog.DiscardHandler), nil)
	r := a.newRouter("aaaa0000-0000-4000-8000-00000000away")
	t.Cleanup(func() { _ = netns.Delete(r.namespace) })
	i := Interface{Name: "qr-away", PortID: "away", MAC: net.HardwareAddr{2, 0, 0, 0, 0, 1}}
	if err := r.configure(t.Context(), State{Interfaces: []Interface{i}}); err == nil {
		t.Error("there is no such link, and nobody says so")
	}
	if err := r.configure(t.Context(), State{}); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(driver.removed, []string{i.Name}) {
		t.Errorf("removed %v", driver.removed)
	}
	if err := r.configure(t.Context(), State{}); err != nil || len(driver.removed) != 1 {
		t.Errorf("once more: %v, removed %v", err, driver.removed)
	}
}
