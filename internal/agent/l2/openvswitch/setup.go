package openvswitch

import (
	"context"
	"fmt"
	"slices"
	"time"

	"neutrino/internal/ovs"
)

// openFlow are the versions that bridges speak, upstream's.
var openFlow = []string{"OpenFlow10", "OpenFlow11", "OpenFlow12", "OpenFlow13", "OpenFlow14"}

// setUp makes the bridges and the patch ports between them that are missing. Bridges of physical networks are the
// operator's: one that is missing is an error.
func (d *Driver) setUp(ctx context.Context) error {
	s, err := d.settled(ctx, func(*ovs.State) bool { return true })
	if err != nil {
		return err
	}
	t := d.db.Begin(s)
	own := []string{d.cfg.IntegrationBridge}
	patches := [][4]string{}
	if len(d.TunnelTypes()) > 0 {
		own = append(own, d.cfg.TunnelBridge)
		patches = append(patches, [4]string{d.cfg.IntegrationBridge, d.cfg.PatchToTunnels, d.cfg.TunnelBridge, d.cfg.PatchFromTunnels})
	}
	for _, name := range own {
		secure := "secure"
		if s.Bridges[name] == nil {
			t.AddBridge(ovs.Bridge{Name: name, DatapathType: d.cfg.DatapathType, FailMode: &secure, Protocols: openFlow})
		} else if old := s.Bridges[name].Protocols; len(old) > 0 && !slices.Contains(old, "OpenFlow14") {
			t.SetProtocols(name, openFlow...)
		}
	}
	for _, physical := range keysSorted(d.cfg.BridgeMappings) {
		name := d.cfg.BridgeMappings[physical]
		b := s.Bridges[name]
		if b == nil {
			return fmt.Errorf("bridge %s of physical network %s does not exist", name, physical)
		}
		if len(b.Protocols) > 0 && !slices.Contains(b.Protocols, "OpenFlow14") {
			t.SetProtocols(name, append(slices.Clone(b.Protocols), "OpenFlow14")...)
		}
		patches = append(patches, [4]string{d.cfg.IntegrationBridge, patchIn(name), name, patchOut(name)})
	}
	for _, p := range patches {
		d.addPatch(t, s, p[0], p[1], p[3])
		d.addPatch(t, s, p[2], p[3], p[1])
	}
	if !t.Empty() {
		d.writes.Add(1)
		if err := t.Commit(ctx); err != nil {
			return err
		}
	}
	_, err = d.settled(ctx, func(s *ovs.State) bool {
		for _, p := range patches {
			if s.Interfaces[p[1]].Number() == 0 || s.Interfaces[p[3]].Number() == 0 {
				return false
			}
		}
		return s.Bridges[d.cfg.IntegrationBridge] != nil
	})
	return err
}

// patchIn and patchOut are the ports between the integration bridge and one of a physical network, in that order.
func patchIn(bridge string) string  { return cut("int-" + bridge) }
func patchOut(bridge string) string { return cut("phy-" + bridge) }

// cut keeps to the length that the kernel allows for names.
func cut(name string) string { return name[:min(len(name), 15)] }

func (d *Driver) addPatch(t *ovs.Transaction, s *ovs.State, bridge, name, peer string) {
	if s.BridgeOf[name] == bridge {
		return
	}
	t.AddPort(bridge, ovs.Port{Name: name}, ovs.Interface{Name: name, Type: "patch", Options: map[string]string{"peer": peer}})
}

// settled waits until the database is as asked for, and takes a picture of it.
func (d *Driver) settled(ctx context.Context, is func(*ovs.State) bool) (*ovs.State, error) {
	for {
		s, err := d.db.State(ctx)
		if err == nil && is(s) {
			d.picture.Store(newPicture(s, d.cfg.IntegrationBridge))
			return s, nil
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("ovs-vswitchd does not make the bridges: %w", ctx.Err())
		case <-time.After(10 * time.Millisecond):
		}
	}
}
