package ml2

import (
	"fmt"
	"maps"
	"net/http"

	"neutrino/internal/fault"
	"neutrino/internal/identity"
	"neutrino/internal/model"
	"neutrino/internal/resource"
	"neutrino/internal/store"
)

// The states of a binding. A port has at most one that is active.
const (
	bindingActive   = "ACTIVE"
	bindingInactive = "INACTIVE"
)

// PortBindings lists the bindings of a port of which the query, nil for all, is true. Only ports of machines and of shared
// file systems move between hosts; for others it is BadRequest.
func (p *Plugin) PortBindings(tx *store.Tx, caller *identity.Caller, portID string, q *resource.Query) ([]*model.PortBinding, error) {
	port, err := p.movablePort(tx, caller, portID)
	if err != nil {
		return nil, err
	}
	list, err := p.bindingsOf(tx, port, q)
	for _, b := range list {
		present(port, b)
	}
	return list, err
}

// PortBinding reads the binding of a port to a host. It is PortBindingNotFound if there is none.
func (p *Plugin) PortBinding(tx *store.Tx, caller *identity.Caller, portID, host string) (*model.PortBinding, error) {
	port, err := p.movablePort(tx, caller, portID)
	if err != nil {
		return nil, err
	}
	b, err := p.bindingTo(tx, port, host)
	if err != nil {
		return nil, err
	}
	return present(port, b), nil
}

// CreatePortBinding prepares a port for another host. Agents there may wire it, but its traffic stays where it is until
// the binding is activated. The first binding of a port is active at once.
func (p *Plugin) CreatePortBinding(tx *store.Tx, caller *identity.Caller, portID string, want *model.PortBinding) (*model.PortBinding, error) {
	port, err := p.movablePort(tx, caller, portID)
	if err != nil {
		return nil, err
	}
	have, err := p.bindingsOf(tx, port, nil)
	if err != nil {
		return nil, err
	}
	want.Status = bindingActive
	for _, b := range have {
		if b.Host == want.Host {
			return nil, fault.Conflict("PortBindingAlreadyExists", "Binding for port %s on host %s already exists.", port.ID, want.Host)
		}
		if b.Status == bindingActive {
			want.Status = bindingInactive
		}
	}
	return p.putBinding(tx, caller, port, want)
}

// UpdatePortBinding changes the binding of a port to a host and binds it anew. What has is false for stays; only the
// profile does not, as upstream.
func (p *Plugin) UpdatePortBinding(tx *store.Tx, caller *identity.Caller, portID, host string, want *model.PortBinding, has func(string) bool) (*model.PortBinding, error) {
	port, err := p.movablePort(tx, caller, portID)
	if err != nil {
		return nil, err
	}
	have, err := p.bindingTo(tx, port, host)
	if err != nil {
		return nil, err
	}
	want.Status = have.Status
	if !has("vnic_type") {
		want.VNICType = have.VNICType
	}
	if want.Host == "" {
		want.Host = host
	}
	if want.Status == bindingInactive {
		if _, err := deleteBinding(tx, port.ID, host); err != nil {
			return nil, err
		}
	}
	return p.putBinding(tx, caller, port, want)
}

// putBinding binds a port as wanted and stores the result.
func (p *Plugin) putBinding(tx *store.Tx, caller *identity.Caller, port *model.Port, want *model.PortBinding) (*model.PortBinding, error) {
	place := func(to *model.Port) { to.HostID, to.VNICType, to.Profile = want.Host, want.VNICType, want.Profile }
	bound := clonePort(port)
	var err error
	if want.Status == bindingActive {
		bound, err = p.UpdatePort(tx, caller, port.ID, []string{"binding:host_id", "binding:vnic_type", "binding:profile"}, place)
	} else {
		place(bound)
		var b *binder
		if b, err = p.newBinder(tx, []*model.Port{bound}); err == nil {
			b.bind(bound)
			if err = b.insert(tx, []*model.Port{bound}, want.Status); store.IsDuplicate(err) {
				err = store.Retry(err)
			}
		}
		if err == nil {
			err = p.catalog.Ports.Touch(tx, bound)
		}
	}
	if err != nil {
		return nil, err
	}
	if bound.VIFType == vifBindingFailed {
		return nil, fault.New(http.StatusInternalServerError, "PortBindingError", "Binding for port %s on host %s could not be created or updated.", port.ID, want.Host)
	}
	want.VIFType, want.VIFDetails = bound.VIFType, bound.VIFDetails
	return present(port, want), nil
}

// ActivatePortBinding moves a port to a host for which it has been prepared. The binding to the host before stays, as one
// that is inactive and not bound, until it is deleted.
func (p *Plugin) ActivatePortBinding(tx *store.Tx, caller *identity.Caller, portID, host string) (*model.PortBinding, error) {
	old, err := p.movablePort(tx, caller, portID)
	if err != nil {
		return nil, err
	}
	b, err := p.bindingTo(tx, old, host)
	if err != nil {
		return nil, err
	}
	if b.Status == bindingActive {
		return nil, fault.Conflict("PortBindingAlreadyActive", "Binding for port %s on host %s is already active.", portID, host)
	}
	now := clonePort(old)
	now.HostID, now.VNICType, now.Profile, now.VIFType, now.VIFDetails = b.Host, b.VNICType, b.Profile, b.VIFType, b.VIFDetails
	now.Status = "DOWN"
	p.adoptMAC(now)
	levels, err := swapBindings(tx, portID, old.HostID, host)
	if err != nil {
		return nil, err
	}
	c := &resource.Change[model.Port]{Resource: p.catalog.Ports, Tx: tx, Caller: caller, Old: old, New: now,
		Named: p.catalog.Ports.Bits("binding:host_id")}
	if err := before(p.Hooks.BeforePort, c); err != nil {
		return nil, err
	}
	if _, err := p.catalog.Ports.Save(tx, old, now); err != nil {
		return nil, err
	}
	if err := p.catalog.Ports.CountUp(tx, min(levels, 1), now); err != nil { // upstream writes the bindings, then removes the levels
		return nil, err
	}
	agents, err := p.newBinder(tx, []*model.Port{now})
	if err != nil {
		return nil, err
	}
	if err := p.renewBlocks(tx, agents, old, now); err != nil {
		return nil, err
	}
	after(tx, p.Hooks.AfterPort, old, now)
	b.Status = bindingActive
	return present(old, b), nil
}

// swapBindings makes the binding to one host active instead of that to another. It returns how many levels the other had.
func swapBindings(tx *store.Tx, portID, from, to string) (levels int, err error) {
	if levels, err = deleteLevels(tx, portID, from); err != nil {
		return 0, err
	}
	for _, x := range []struct {
		sql  string
		args []any
	}{
		{"UPDATE ml2_port_bindings SET status = ?, vif_type = ?, vif_details = '' WHERE port_id = ? AND status = ?",
			[]any{bindingInactive, vifUnbound, portID, bindingActive}},
		{"UPDATE ml2_port_bindings SET status = ? WHERE port_id = ? AND host = ?", []any{bindingActive, portID, to}},
	} {
		if _, err := tx.Exec(x.sql, x.args...); err != nil {
			return 0, fmt.Errorf("move port %s from host %s to %s: %w", portID, from, to, err)
		}
	}
	return levels, nil
}

// DeletePortBinding removes the binding of a port to a host.
func (p *Plugin) DeletePortBinding(tx *store.Tx, caller *identity.Caller, portID, host string) error {
	port, err := p.movablePort(tx, caller, portID)
	if err != nil {
		return err
	}
	if _, err := p.bindingTo(tx, port, host); err != nil {
		return err
	}
	levels, err := deleteBinding(tx, portID, host)
	if err != nil {
		return err
	}
	return p.catalog.Ports.CountUp(tx, 1+min(levels, 1), port) // upstream removes the binding, then its levels
}

// deleteBinding deletes a binding and returns how many levels it had.
func deleteBinding(tx *store.Tx, portID, host string) (levels int, err error) {
	if levels, err = deleteLevels(tx, portID, host); err != nil {
		return 0, err
	}
	if _, err := tx.Exec("DELETE FROM ml2_port_bindings WHERE port_id = ? AND host = ?", portID, host); err != nil {
		return 0, fmt.Errorf("delete binding of port %s to host %s: %w", portID, host, err)
	}
	return levels, nil
}

func deleteLevels(tx *store.Tx, portID, host string) (int, error) {
	n, err := tx.Exec("DELETE FROM ml2_port_binding_levels WHERE port_id = ? AND host = ?", portID, host)
	if err != nil {
		return 0, fmt.Errorf("delete binding levels of port %s to host %s: %w", portID, host, err)
	}
	return int(n), nil
}

// movableOwners are the beginnings of the owners of ports that move between hosts.
func movableOwners() []string { return []string{"compute:", "manila:"} }

// movablePort reads a port that may have several bindings.
func (p *Plugin) movablePort(tx *store.Tx, caller *identity.Caller, id string) (*model.Port, error) {
	port, err := p.catalog.Ports.Get(tx, caller, id, p.catalog.Ports.All)
	if err != nil {
		return nil, err
	}
	if !hasAnyPrefix(port.DeviceOwner, movableOwners()...) {
		return nil, badRequest("port", "Invalid port %s. Operation only valid on compute and shared filesystem ports", id)
	}
	return port, nil
}

func (p *Plugin) bindingsOf(tx *store.Tx, port *model.Port, q *resource.Query) ([]*model.PortBinding, error) {
	all := resource.Query{}
	if q != nil {
		all = *q
	}
	r := p.catalog.PortBindings
	all.Set, all.Where = r.Shown, append(all.Where[:len(all.Where):len(all.Where)], resource.In("t.port_id", []string{port.ID}))
	return r.Select(tx, &all)
}

func (p *Plugin) bindingTo(tx *store.Tx, port *model.Port, host string) (*model.PortBinding, error) {
	list, err := p.bindingsOf(tx, port, &resource.Query{Where: []resource.Cond{p.catalog.PortBindings.ByID(host)}})
	if err != nil {
		return nil, err
	}
	if len(list) == 0 {
		return nil, fault.NotFound("PortBindingNotFound", "Binding for port %s for host %s could not be found.", port.ID, host)
	}
	return list[0], nil
}

// present makes a binding look as clients expect: whether the port is trusted is a part of the profile of what is bound,
// and the names of the drivers are shown with the port only.
func present(port *model.Port, b *model.PortBinding) *model.PortBinding {
	if port.Trusted != nil && b.VIFType != vifUnbound {
		b.Profile = (&model.Port{Profile: b.Profile, PortExtras: model.PortExtras{Trusted: port.Trusted}}).BindingProfile()
	}
	b.VIFDetails = maps.Clone(b.VIFDetails)
	delete(b.VIFDetails, "bound_drivers")
	return b
}
