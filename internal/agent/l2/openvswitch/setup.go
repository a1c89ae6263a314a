package openvswitch

import (
	"context"
	"crypto/sha1"
	"encoding/hex"
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
	former := d.formerPatches(s)
	for _, p := range former {
		t.RemovePort(p.port)
		t.RemovePort(p.peer)
	}
	if !t.Empty() {
		d.writes.Add(1)
		if err := t.Commit(ctx); err != nil {
			return err
		}
	}
	for _, p := range former {
		d.log.Warn("a bridge is no physical network's any more, it is disconnected", "bridge", p.toBridge)
		failed = errors.Join(failed, d.sw.Leave(ctx, p.toBridge))
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

// formerPatches lead to bridges that the configuration of an earlier run named. Left in place, they would carry networks there, too.
func (d *Driver) formerPatches(s *ovs.State) (former []patch) {
	for _, name := range keysSorted(s.Bridges) {
		p := patch{d.cfg.IntegrationBridge, patchIn(name), name, patchOut(name)}
		if s.BridgeOf[p.port] == p.bridge && s.BridgeOf[p.peer] == name && s.Interfaces[p.peer].Type == "patch" && !slices.Contains(d.patches(), p) {
			former = append(former, p)
		}
	}
	return former
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

// mend makes bridges and patch ports again that somebody has removed. It goes as far as it can: networks whose bridge
// is missing do not work, and others do.
func (d *Driver) mend(ctx context.Context) {
	s := d.picture.Load().State
	var missing, absent []string
	for _, p := range d.patches() {
		if d.absent(s, p.toBridge) {
			absent = append(absent, p.toBridge)
			continue
		}
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
	if len(absent) > 0 && !slices.Equal(absent, d.lacking) {
		d.log.Error("bridges of physical networks do not exist", "missing", absent)
	}
	d.lacking = absent
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

// absent tells whether a bridge does not exist that is not ours to make.
func (d *Driver) absent(s *ovs.State, bridge string) bool {
	return s.Bridges[bridge] == nil && bridge != d.cfg.IntegrationBridge && bridge != d.cfg.TunnelBridge
}

// mendTimeout is how long ovs-vswitchd may take.
const mendTimeout = 5 * time.Second

// patchIn and patchOut are the ports between the integration bridge and one of a physical network, in that order.
func patchIn(bridge string) string  { return patchName("int-", bridge) }
func patchOut(bridge string) string { return patchName("phy-", bridge) }

// patchName is upstream's: of a bridge with a long name the beginning and a hash, because names may differ in the end only
// (neutron_lib/plugins/utils.py, get_interface_name).
func patchName(prefix, bridge string) string {
	name := prefix + bridge
	if len(name) <= longestName {
		return name
	}
	sum := sha1.Sum([]byte(bridge))
	return name[:longestName-hashLength] + hex.EncodeToString(sum[:])[:hashLength]
}

// longestName is how long a device's name may be, and hashLength how much of it a hash is.
const longestName, hashLength = 15, 6

// cut keeps to the length that the kernel allows for names.
func cut(name string) string { return name[:min(len(name), longestName)] }

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
