package ml2

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"slices"

	"neutrino/internal/model"
	"neutrino/internal/resource"
	"neutrino/internal/store"
)

// Plugin is the core plug-in.
type Plugin struct {
	// Hooks are filled before the first request and not changed after.
	Hooks Hooks

	cfg        Config
	db         *store.DB
	catalog    *model.Catalog
	log        *slog.Logger
	types      map[string]typeDriver
	mechanisms []Mechanism
	baseMAC    net.HardwareAddr
	invalid    error // what is wrong with the configuration
}

// New makes the plug-in. Start tells whether the configuration is valid.
func New(cfg Config, db *store.DB, catalog *model.Catalog, log *slog.Logger) *Plugin {
	cfg = cfg.withDefaults()
	p := &Plugin{cfg: cfg, db: db, catalog: catalog, log: log, types: typeDrivers(cfg)}
	p.invalid = p.configure()
	catalog.Ports.SetCheck("dns_name", p.checkDNSName)
	catalog.Ports.SetCheck("allowed_address_pairs", p.countPairs)
	return p
}

// Start brings the tables of free segments into agreement with the configuration, if that is valid. Several servers may
// do that at the same time.
func (p *Plugin) Start(ctx context.Context) error {
	if p.invalid != nil {
		return p.invalid
	}
	if p.cfg.StoredRanges {
		if err := p.db.Write(ctx, p.storeDefaultRanges); err != nil {
			return fmt.Errorf("store the default segment ranges: %w", err)
		}
	}
	for _, name := range slices.Sorted(keysOf(p.types)) {
		if err := p.db.Write(ctx, p.types[name].synchronise); err != nil {
			return fmt.Errorf("synchronise %s segments: %w", name, err)
		}
	}
	return nil
}

// configure finds the drivers that the configuration names.
func (p *Plugin) configure() error {
	for _, name := range append(slices.Clone(p.cfg.TenantNetworkTypes), p.cfg.ExternalNetworkType) {
		if p.types[name] == nil && name != "" {
			return fmt.Errorf("no type driver for network type %q", name)
		}
	}
	for _, name := range p.cfg.TypeDrivers {
		if p.types[name] == nil {
			return fmt.Errorf("unknown type driver %q", name)
		}
	}
	if err := checkProhibited(p.cfg.OVSProhibitedVNICTypes); err != nil {
		return err
	}
	known := append(builtinMechanisms(p.cfg), p.cfg.Mechanisms...)
	for _, name := range p.cfg.MechanismDrivers {
		i := slices.IndexFunc(known, func(m Mechanism) bool { return m.Name() == name })
		if i < 0 {
			return fmt.Errorf("unknown mechanism driver %q", name)
		}
		p.mechanisms = append(p.mechanisms, known[i])
	}
	if err := configuredRanges(p.cfg).validate(); err != nil {
		return err
	}
	var err error
	if p.baseMAC, err = net.ParseMAC(p.cfg.BaseMAC); err != nil || len(p.baseMAC) != 6 {
		return fmt.Errorf("base_mac %q is not a MAC address", p.cfg.BaseMAC)
	}
	return nil
}

// Networks is what networks do beyond storing their attributes.
func (p *Plugin) Networks() resource.Logic[model.Network] {
	return resource.Logic[model.Network]{Create: p.createNetwork, Update: p.updateNetwork, Delete: p.deleteNetwork, Load: p.loadNetworks,
		Answer: showDefault}
}

// Subnets is what subnets do beyond storing their attributes.
func (p *Plugin) Subnets() resource.Logic[model.Subnet] {
	return resource.Logic[model.Subnet]{Create: p.createSubnet, Update: p.updateSubnet, Delete: p.deleteSubnet,
		Answer: p.answerSubnet}
}

// Ports is what ports do beyond storing their attributes.
func (p *Plugin) Ports() resource.Logic[model.Port] {
	return resource.Logic[model.Port]{
		Create:     func(c *resource.Change[model.Port]) error { return p.createPorts([]*resource.Change[model.Port]{c}) },
		CreateMany: p.createPorts,
		Refused: func(c *resource.Change[model.Port]) error { // upstream looks for the network while it asks policy
			_, err := p.visibleNetworks([]*resource.Change[model.Port]{c})
			return err
		},
		Update: func(c *resource.Change[model.Port]) error {
			if err := p.seesNetwork(c); err != nil {
				return err
			}
			if err := p.updatePort(c); err != nil {
				return err
			}
			return keepsRouterIPs(c)
		},
		Answer: p.answerPort,
		Delete: func(c *resource.Change[model.Port]) error {
			if err := before(p.Hooks.GuardPortDelete, c); err != nil {
				return err
			}
			if err := p.seesNetwork(c); err != nil {
				return err
			}
			return p.deletePort(c)
		},
		Load: p.loadPorts,
	}
}

// seesNetwork refuses a change of a port by somebody who does not see its network: upstream looks it up as the caller.
func (p *Plugin) seesNetwork(c *resource.Change[model.Port]) error {
	if c.Caller.SeesAll() {
		return nil
	}
	_, err := p.catalog.Networks.Get(c.Tx, c.Caller, c.Old.NetworkID, p.catalog.Networks.Bit("id"))
	return err
}

func keysOf[K comparable, V any](m map[K]V) func(yield func(K) bool) {
	return func(yield func(K) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}
