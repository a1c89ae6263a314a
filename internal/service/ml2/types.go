package ml2

import (
	"slices"

	"neutrino/internal/fault"
	"neutrino/internal/model"
	"neutrino/internal/store"
)

// typeDriver manages the segments of one network type. Segments that it gets have this type.
type typeDriver interface {
	// validate checks what an administrator asks for.
	validate(tx *store.Tx, s *model.Segment) error
	// reserve takes the segment asked for and fills what is left open, for a network of the project.
	reserve(tx *store.Tx, s *model.Segment, project string) error
	// allocate takes any free segment for a network of the project; false means that there is none.
	allocate(tx *store.Tx, s *model.Segment, project string) (bool, error)
	// release gives the segment back.
	release(tx *store.Tx, s model.Segment) error
	// mtu is how large packets may be there; 0 means that the type does not limit it.
	mtu(physicalNetwork string) int
	// synchronise makes the table of free segments agree with the pools.
	synchronise(tx *store.Tx) error
}

func typeDrivers(cfg Config) map[string]typeDriver {
	var from pools = configuredRanges(cfg)
	if cfg.StoredRanges {
		from = stored{}
	}
	overlay := func(name, table, column string, overhead int) typeDriver {
		return &tunnel{name: name, cfg: cfg, ids: ids{table: table, column: column}, pools: from, overhead: overhead}
	}
	known := map[string]typeDriver{
		"local":  local{},
		"flat":   &flat{cfg: cfg},
		"vlan":   &vlan{cfg: cfg, ids: ids{table: "ml2_vlan_allocations", column: "vlan_id", physnet: "physical_network"}, pools: from},
		"vxlan":  overlay("vxlan", "ml2_vxlan_allocations", "vxlan_vni", vxlanOverhead),
		"gre":    overlay("gre", "ml2_gre_allocations", "gre_id", greOverhead),
		"geneve": overlay("geneve", "ml2_geneve_allocations", "geneve_vni", cfg.GeneveHeaderSize),
	}
	drivers := map[string]typeDriver{}
	for _, name := range cfg.TypeDrivers {
		if known[name] != nil {
			drivers[name] = known[name]
		}
	}
	return drivers
}

// prohibit refuses attributes that a type does not have.
func prohibit(s *model.Segment, provider string, physicalNetwork, segmentationID bool) error {
	switch {
	case physicalNetwork && s.PhysicalNetwork != nil && *s.PhysicalNetwork != "":
		return fault.InvalidInput("physical_network prohibited for %s provider network", provider)
	case segmentationID && s.SegmentationID != nil && *s.SegmentationID != 0:
		return fault.InvalidInput("segmentation_id prohibited for %s provider network", provider)
	}
	return nil
}

// physnetMTU is the MTU of a physical network.
func (c *Config) physnetMTU(name string) int {
	mtu := c.GlobalPhysnetMTU
	if own, ok := c.PhysicalNetworkMTUs[name]; ok && (mtu <= 0 || own < mtu) {
		mtu = own
	}
	return mtu
}

// local networks exist on one host only.
type local struct{}

func (local) validate(_ *store.Tx, s *model.Segment) error { return prohibit(s, "local", true, true) }

func (local) reserve(*store.Tx, *model.Segment, string) error          { return nil }
func (local) allocate(*store.Tx, *model.Segment, string) (bool, error) { return true, nil }
func (local) release(*store.Tx, model.Segment) error                   { return nil }
func (local) mtu(string) int                                           { return 0 }
func (local) synchronise(*store.Tx) error                              { return nil }

// flat networks use a physical network without tags, so each physical network carries one at most.
type flat struct{ cfg Config }

func (d *flat) validate(_ *store.Tx, s *model.Segment) error {
	allowed := d.cfg.FlatNetworks
	switch {
	case s.PhysicalNetwork == nil || *s.PhysicalNetwork == "":
		return fault.InvalidInput("physical_network required for flat provider network")
	case len(allowed) == 0:
		return fault.InvalidInput("Flat provider networks are disabled")
	case !slices.Contains(allowed, "*") && !slices.Contains(allowed, *s.PhysicalNetwork):
		return fault.InvalidInput("physical_network '%s' unknown for flat provider network", *s.PhysicalNetwork)
	}
	return prohibit(s, "flat", false, true)
}

func (d *flat) reserve(tx *store.Tx, s *model.Segment, _ string) error {
	n, err := tx.Exec(tx.Dialect().InsertIgnore("ml2_flat_allocations", "physical_network"), *s.PhysicalNetwork)
	if err == nil && n == 0 {
		return fault.Conflict("FlatNetworkInUse", "Unable to create the flat network. Physical network %s is in use.", *s.PhysicalNetwork)
	}
	return err
}

func (d *flat) allocate(*store.Tx, *model.Segment, string) (bool, error) { return false, nil }

func (d *flat) release(tx *store.Tx, s model.Segment) error {
	_, err := tx.Exec("DELETE FROM ml2_flat_allocations WHERE physical_network = ?", *s.PhysicalNetwork)
	return err
}

func (d *flat) mtu(physicalNetwork string) int { return d.cfg.physnetMTU(physicalNetwork) }
func (d *flat) synchronise(*store.Tx) error    { return nil }
