package ml2

import (
	"neutrino/internal/fault"
	"neutrino/internal/identity"
	"neutrino/internal/model"
	"neutrino/internal/resource"
	"neutrino/internal/store"
)

// admit hides networks of other projects from who wants a subnet or port on them (upstream api/v2/base.py,
// _validate_network_project_ownership). of gives the network and the project of each of the n new objects.
func (p *Plugin) admit(tx *store.Tx, caller *identity.Caller, n int, of func(i int) (network, project string)) error {
	if caller.MaySetProject() {
		return nil
	}
	ids := make([]string, n)
	for i := range n {
		ids[i], _ = of(i)
	}
	networks := p.catalog.Networks
	list, err := networks.Select(tx, &resource.Query{Set: networks.Bits("id", "project_id", "shared"), Caller: caller,
		Where: []resource.Cond{networks.ByID(ids...)}})
	if err != nil {
		return err
	}
	visible := make(map[string]*model.Network, len(list))
	for _, net := range list {
		visible[net.ID] = net
	}
	for i := range n {
		network, project := of(i)
		net := visible[network]
		if net == nil {
			return networks.NotFound(network)
		}
		if !net.Shared && net.ProjectID != project {
			return fault.NotFound("HTTPNotFound", "The resource could not be found.")
		}
	}
	return nil
}
