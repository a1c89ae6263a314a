package main

import (
	"context"
	"fmt"
	"slices"
)

// seedIdentity makes the service user of Neutron and the catalog's entry for the network service.
func seedIdentity(ctx context.Context) error {
	c, err := logIn(ctx)
	if err != nil {
		return err
	}
	project, err := c.create(ctx, keystoneURL+"/projects", "project", object{"name": "service", "domain_id": "default"})
	if err != nil {
		return err
	}
	user, err := c.create(ctx, keystoneURL+"/users", "user",
		object{"name": "neutron", "password": password, "domain_id": "default", "default_project_id": project})
	if err != nil {
		return err
	}
	roles, err := c.list(ctx, keystoneURL+"/roles", "roles")
	if err != nil {
		return err
	}
	for _, name := range []string{"admin", "service"} {
		i := slices.IndexFunc(roles, func(r named) bool { return r.Name == name })
		if i < 0 {
			return fmt.Errorf("no role %s was made by Keystone's bootstrap", name)
		}
		url := fmt.Sprintf("%s/projects/%s/users/%s/roles/%s", keystoneURL, project, user, roles[i].ID)
		if _, err := c.do(ctx, "PUT", url, nil, nil); err != nil {
			return err
		}
	}
	service, err := c.create(ctx, keystoneURL+"/services", "service", object{"name": "neutron", "type": "network"})
	if err != nil {
		return err
	}
	for _, face := range []string{"public", "internal", "admin"} {
		if _, err := c.create(ctx, keystoneURL+"/endpoints", "endpoint",
			object{"service_id": service, "region_id": region, "interface": face, "url": neutronURL}); err != nil {
			return err
		}
	}
	return nil
}

// cloud is what the tests are told about the network service.
type cloud struct {
	publicNetwork string // id
	extensions    []string
}

// seedNetwork makes what the tests expect of a cloud: an external network and default subnet pools.
func seedNetwork(ctx context.Context) (cloud, error) {
	c, err := logIn(ctx)
	if err != nil {
		return cloud{}, err
	}
	const api = neutronURL + "/v2.0"
	extensions, err := c.list(ctx, api+"/extensions", "extensions")
	if err != nil {
		return cloud{}, err
	}
	found := cloud{}
	for _, e := range extensions {
		found.extensions = append(found.extensions, e.Alias)
	}
	slices.Sort(found.extensions)
	has := func(alias string) bool { return slices.Contains(found.extensions, alias) }

	network := object{"name": "public", "router:external": true, "provider:network_type": "flat", "provider:physical_network": "public"}
	if has("auto-allocated-topology") {
		network["is_default"] = true
	}
	if found.publicNetwork, err = c.create(ctx, api+"/networks", "network", network); err != nil {
		return found, err
	}
	for _, s := range []object{
		{"name": "public-subnet", "ip_version": 4, "cidr": "172.24.0.0/20", "gateway_ip": "172.24.0.1"},
		{"name": "public-subnet-v6", "ip_version": 6, "cidr": "2001:db8:ffff::/64", "gateway_ip": "2001:db8:ffff::1"},
	} {
		s["network_id"], s["enable_dhcp"] = found.publicNetwork, false
		if _, err := c.create(ctx, api+"/subnets", "subnet", s); err != nil {
			return found, err
		}
	}
	if !has("subnet_allocation") {
		return found, nil
	}
	for _, p := range []object{
		{"name": "shared-default-subnetpool-v4", "prefixes": []string{"10.0.0.0/22"}, "default_prefixlen": 26},
		{"name": "shared-default-subnetpool-v6", "prefixes": []string{"fd8b:1234:5678::/56"}, "default_prefixlen": 64},
	} {
		p["shared"] = true
		if has("default-subnetpools") {
			p["is_default"] = true
		}
		if _, err := c.create(ctx, api+"/subnetpools", "subnetpool", p); err != nil {
			return found, err
		}
	}
	return found, nil
}

// waitForAgents waits until all agents have reported.
func waitForAgents(ctx context.Context) error {
	c, err := logIn(ctx)
	if err != nil {
		return err
	}
	return wait(ctx, "the agents", func() error {
		found, err := c.list(ctx, neutronURL+"/v2.0/agents", "agents")
		if err == nil && len(found) < len(agents) {
			err = fmt.Errorf("%d of %d agents are there", len(found), len(agents))
		}
		return err
	})
}
