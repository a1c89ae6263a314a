package openvswitch

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"neutrino/internal/ovs"
)

// openFlow are the versions that bridges speak, upstream's.
var openFlow = []string{"OpenFlow10", "OpenFlow11", "OpenFlow12", "OpenFlow13", "OpenFlow14"}

// patch is a pair of ports that connects two bridges.
type patch struct{ bridge, port, toBridge, peer string }

// patches are those that the host needs. The first one leads to the tunnel bridge, if there is one.
func (d *Driver) patches() []patch {
	var out []patch
	if len(d.TunnelTypes()) > 0 {
		out = append(out, patch{d.cfg.IntegrationBridge, d.cfg.PatchToTunnels, d.cfg.TunnelBridge, d.cfg.PatchFromTunnels})
	}
	for _, physical := range keysSorted(d.cfg.BridgeMappings) {
		name := d.cfg.BridgeMappings[physical]
		out = append(out, patch{d.cfg.IntegrationBridge, patchIn(name), name, patchOut(name)})
	}
	return out
}

// setUp makes the bridges and the patch ports between them that are missing. Bridges of physical networks are the
// operator's: one that is missing is an error, and all else is made.
func (d *Driver) setUp(ctx context.Context) error {
	s, err := d.settled(ctx, func(*ovs.State) bool { return true })
	if err != nil {
		return err
	}
	t := d.db.Begin(s)
	d.addBridges(t, s)
	var failed error
	var made []patch
	for _, p := range d.patches() {
		if physical := s.Bridges[p.toBridge]; p.toBridge != d.cfg.TunnelBridge {
			if physical == nil {
				failed = errors.Join(failed, fmt.Errorf("bridge %s of a physical network does not exist", p.toBridge))
				continue
			}
			if have := physical.Protocols; len(have) > 0 && !slices.Contains(have, "OpenFlow14") {
				t.SetProtocols(p.toBridge, append(slices.Clone(have), "OpenFlow14")...)
			}
		}
		d.addPatch(t, s, p.bridge, p.port, p.peer)
		d.addPatch(t, s, p.toBridge, p.peer, p.port)
		made = append(made, p)
	}
	if !t.Empty() {
		d.writes.Add(1)
		if err := t.Commit(ctx); err != nil {
			return err
		}
	}
	_, err = d.settled(ctx, func(s *ovs.State) bool {
		for _, p := range made {
			if s.Interfaces[p.port].Number() == 0 || s.Interfaces[p.peer].Number() == 0 {
				return false
			}
		}
		return s.Bridges[d.cfg.IntegrationBridge] != nil
	})
	return errors.Join(failed, err)
}

// addBridges makes our own bridges.
func (d *Driver) addBridges(t *ovs.Transaction, s *ovs.State) {
	own := []string{d.cfg.IntegrationBridge}
	if len(d.TunnelTypes()) > 0 {
		own = append(own, d.cfg.TunnelBridge)
	}
	for _, name := range own {
		secure := "secure"
		if s.Bridges[name] == nil {
			t.AddBridge(ovs.Bridge{Name: name, DatapathType: d.cfg.DatapathType, FailMode: &secure, Protocols: openFlow})
		} else if old := s.Bridges[name].Protocols; len(old) > 0 && !slices.Contains(old, "OpenFlow14") {
			t.SetProtocols(name, openFlow...)
		}
	}
}

// mend makes bridges and patch ports again that somebody has removed. It goes as far as it can: networks that need what
// is missing do not work, and others do.
func (d *Driver) mend(ctx context.Context) {
	s := d.picture.Load().State
	var missing []string
	for _, p := range d.patches() {
		if s.BridgeOf[p.port] != p.bridge {
			missing = append(missing, p.port)
		}
		if s.BridgeOf[p.peer] != p.toBridge {
			missing = append(missing, p.peer)
		}
	}
	if s.Bridges[d.cfg.IntegrationBridge] == nil {
		missing = append(missing, d.cfg.IntegrationBridge)
	}
	if len(missing) == 0 {
		return
	}
	d.log.Warn("bridges or patch ports are missing, they are made again", "missing", missing)
	ctx, cancel := context.WithTimeout(ctx, mendTimeout)
	defer cancel()
	if err := d.setUp(ctx); err != nil {
		d.log.Error("cannot make bridges and patch ports", "error", err)
	}
	d.flushed.Store(true) // a bridge that was made anew has no flows
}

// mendTimeout is how long ovs-vswitchd may take.
const mendTimeout = 5 * time.Second

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
