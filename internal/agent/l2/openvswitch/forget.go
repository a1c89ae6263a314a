package openvswitch

import (
	"context"
	"maps"
	"net/netip"
	"slices"

	"neutrino/internal/linux/conntrack"
)

// oblivion is which connections the datapath is to forget, by zone: those of some addresses, or all of them.
type oblivion map[uint16]map[netip.Addr]bool

// everything stands for all connections of a zone.
var everything = netip.Addr{}

func (o oblivion) add(zone int, a netip.Addr) {
	if o[uint16(zone)] == nil {
		o[uint16(zone)] = map[netip.Addr]bool{}
	}
	o[uint16(zone)][a] = true
}

// forget passes on which connections are nobody's any more, once the flows that made them are gone.
func (d *Driver) forget() {
	if d.filter == nil {
		return
	}
	for _, at := range d.filter.left {
		if n := d.networks[at.Bridge]; n != nil {
			d.oblivion.add(n.vlan, at.Address)
		}
	}
	d.filter.left = nil
	if len(d.oblivion) == 0 {
		return
	}
	select {
	case d.forgetting <- d.oblivion:
		d.oblivion = oblivion{}
	default: // with the next ones
	}
}

// forgetAll carries out what forget asks for, beside passes: it takes time proportional to the connections of the host.
func (d *Driver) forgetAll(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case o := <-d.forgetting:
			if err := d.carryOut(ctx, o); err != nil && ctx.Err() == nil {
				d.log.Warn("connections of former ports are not forgotten", "error", err)
			}
		}
	}
}

func (d *Driver) carryOut(ctx context.Context, o oblivion) error {
	d.log.Debug("connections are forgotten", "zones", len(o))
	if d.cfg.DatapathType == "netdev" {
		for zone, addresses := range o {
			if addresses[everything] {
				addresses = nil
			}
			if err := d.sw.Forget(ctx, d.cfg.IntegrationBridge, zone, slices.Collect(maps.Keys(addresses))); err != nil {
				return err
			}
		}
		return nil
	}
	flows, err := conntrack.List(func(f *conntrack.Flow) bool {
		in := o[f.Zone]
		return in[everything] || in[f.Source] || in[f.Dest]
	})
	if err != nil {
		return err
	}
	for i := range flows {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err := conntrack.Delete(&flows[i]); err != nil {
			return err
		}
	}
	return nil
}
