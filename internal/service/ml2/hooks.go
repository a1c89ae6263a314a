// Package ml2 is the core plug-in: networks, subnets and ports, with type drivers that choose segments and mechanism
// drivers that bind ports to hosts. Other services follow what happens through Hooks.
package ml2

import (
	"context"

	"neutrino/internal/model"
	"neutrino/internal/resource"
	"neutrino/internal/store"
)

// Hooks are what other services do when networks, subnets and ports change. They run in the order in which wire.go
// added them.
type Hooks struct {
	// Prepare functions run inside the transaction before anything of a new network, of new ports or of a changed port is checked.
	PrepareNetwork []func(c *resource.Change[model.Network]) error
	PreparePorts   []func(cs []*resource.Change[model.Port]) error
	// Before functions run inside the transaction, after the plug-in's own checks and before the object is written; an
	// error undoes everything. Old is nil on create and New on delete. They may change New.
	BeforeNetwork []func(c *resource.Change[model.Network]) error
	BeforeSubnet  []func(c *resource.Change[model.Subnet]) error
	BeforePort    []func(c *resource.Change[model.Port]) error
	// Guard functions run before a port is deleted through the API; a service that deletes its own ports calls
	// Plugin.DeletePort, which does not ask them.
	GuardPortDelete []func(c *resource.Change[model.Port]) error
	// Guards of fixed IPs run before a request that names them gets the addresses: New has those that it asks for.
	GuardFixedIPs []func(c *resource.Change[model.Port]) error
	// ChoosePool finds the pool of a request for the default pool, before anything else is checked; nil means that there
	// are no pools.
	ChoosePool func(c *resource.Change[model.Subnet]) error
	// SubnetFromPool sets or checks the CIDR of a request that names a subnet pool, and sets the gateway that the pool
	// chooses.
	SubnetFromPool func(c *resource.Change[model.Subnet]) error
	// After functions run once the transaction is committed, with the objects as they were (nil on create) and are (nil
	// on delete). They must not fail and should not wait.
	AfterNetwork []func(ctx context.Context, old, now *model.Network)
	AfterSubnet  []func(ctx context.Context, old, now *model.Subnet)
	AfterPort    []func(ctx context.Context, old, now *model.Port)
}

// before runs the functions of one kind.
func before[R any](hooks []func(c *resource.Change[R]) error, c *resource.Change[R]) error {
	for _, h := range hooks {
		if err := h(c); err != nil {
			return err
		}
	}
	return nil
}

// preparePorts runs the functions that look at all ports of a request.
func (p *Plugin) preparePorts(cs ...*resource.Change[model.Port]) error {
	for _, h := range p.Hooks.PreparePorts {
		if err := h(cs); err != nil {
			return err
		}
	}
	return nil
}

// after arranges that the functions of one kind run when tx is committed.
func after[R any](tx *store.Tx, hooks []func(ctx context.Context, old, now *R), old, now *R) {
	tx.OnCommit(func(ctx context.Context) {
		for _, h := range hooks {
			h(ctx, old, now)
		}
	})
}
