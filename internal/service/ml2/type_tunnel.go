package ml2

import (
	"net/netip"

	"neutrino/internal/fault"
	"neutrino/internal/model"
	"neutrino/internal/store"
)

// tunnel networks are overlays told apart by a number: VXLAN (RFC 7348), Geneve (RFC 8926), GRE with a key (RFC 2890).
type tunnel struct {
	name     string
	cfg      Config
	ids      ids
	pools    pools
	overhead int // bytes of encapsulation without the outer IP header
}

// Encapsulation of a packet: its Ethernet header and the tunnel's own, without the outer IP header (upstream
// neutron/plugins/common/constants.py).
const (
	vxlanOverhead  = 30
	greOverhead    = 22
	geneveOverhead = 30 // without options
)

func (d *tunnel) validate(_ *store.Tx, s *model.Segment) error {
	if s.PhysicalNetwork != nil && *s.PhysicalNetwork != "" {
		return fault.InvalidInput("provider:physical_network specified for %s network", d.name)
	}
	s.PhysicalNetwork = nil
	return nil
}

func (d *tunnel) reserve(tx *store.Tx, s *model.Segment, project string) error {
	if s.SegmentationID != nil {
		ok, err := d.ids.take(tx, "", *s.SegmentationID)
		if err == nil && !ok {
			return fault.Conflict("TunnelIdInUse", "Unable to create the network. The tunnel ID %d is in use.", *s.SegmentationID)
		}
		return err
	}
	ok, err := d.allocate(tx, s, project)
	if err == nil && !ok {
		return noNetworkAvailable()
	}
	return err
}

func (d *tunnel) allocate(tx *store.Tx, s *model.Segment, project string) (bool, error) {
	choices, err := d.pools.choices(tx, d.name, project)
	if err != nil {
		return false, err
	}
	for _, ranges := range choices {
		id, ok, err := d.ids.takeAny(tx, "", on(ranges, ""), d.pools.random())
		if err != nil {
			return false, err
		}
		if ok {
			s.SegmentationID = &id
			return true, nil
		}
	}
	return false, nil
}

func (d *tunnel) release(tx *store.Tx, s model.Segment) error {
	ranges, err := d.pools.all(tx, d.name)
	if err != nil {
		return err
	}
	return d.ids.release(tx, "", *s.SegmentationID, on(ranges, ""))
}

func (d *tunnel) mtu(string) int {
	mtu := d.cfg.GlobalPhysnetMTU
	if d.cfg.PathMTU > 0 && (mtu <= 0 || d.cfg.PathMTU < mtu) {
		mtu = d.cfg.PathMTU
	}
	if mtu <= 0 {
		return 0
	}
	ipHeader := 20
	if d.cfg.OverlayIPVersion == 6 {
		ipHeader = 40
	}
	return mtu - ipHeader - d.overhead
}

// CheckEndpoint tells why a host cannot have a tunnel endpoint: InvalidInput (upstream drivers/type_tunnel.py, tunnel_sync).
func (p *Plugin) CheckEndpoint(kind, host, address string) error {
	if address == "" {
		return fault.InvalidInput("Tunnel IP value needed by the ML2 plugin")
	}
	ip, err := netip.ParseAddr(address)
	if err != nil || ip.Is4() != (p.cfg.OverlayIPVersion == 4) {
		return fault.InvalidInput("Tunnel IP version does not match ML2 overlay_ip_version: %d, host: %s, tunnel_ip: %s",
			p.cfg.OverlayIPVersion, host, address)
	}
	if kind == "" {
		return fault.InvalidInput("Network type value needed by the ML2 plugin")
	}
	if _, ok := p.types[kind].(*tunnel); !ok {
		return fault.InvalidInput("Network type value %s not supported, host: %s with tunnel IP: %s", kind, host, address)
	}
	return nil
}

func (d *tunnel) synchronise(tx *store.Tx) error {
	ranges, err := d.pools.all(tx, d.name)
	if err != nil {
		return err
	}
	return d.ids.synchronise(tx, "", on(ranges, ""))
}
