package model

import (
	"fmt"
	"strings"

	"neutrino/internal/resource"
)

const referencePreface = `# API reference

The attributes of every resource, from the tables that the server itself works with. A collection is at
` + "`/v2.0/PATH`" + `, one object at ` + "`/v2.0/PATH/ID`" + `.

* **use**: P may be in POST, P! must be; U may be in PUT; F is a filter of lists; S is a sort_key; H is never shown;
  R has a policy rule of its own.
* **default**: what an object gets whose POST leaves the attribute out. Where nothing is written, the server chooses, or
  the attribute is computed.
* **extension**: the alias of the extension that brings it; where that is not loaded the attribute does not exist. Loaded
  extensions are in ` + "`/v2.0/extensions`" + `, but for those that nothing carries out on hosts yet.

Every list takes ` + "`fields`, `sort_key`, `sort_dir`, `limit`, `marker` and `page_reverse`" + `. A filter may be repeated;
the values are alternatives. PUT and DELETE obey ` + "`If-Match: revision_number=N`" + `.

## Other requests

| request | what it does |
|--|--|
| ` + "`GET /`, `GET /v2.0/`" + ` | versions, resources |
| ` + "`GET /v2.0/extensions`, `…/extensions/ALIAS`" + ` | extensions that are loaded |
| ` + "`PUT /v2.0/routers/ID/add_router_interface`, `remove_router_interface`" + ` | ` + "`subnet_id`, `port_id`" + ` or both |
| ` + "`PUT /v2.0/routers/ID/add_extraroutes`, `remove_extraroutes`" + ` | ` + "`{\"router\": {\"routes\": […]}}`" + ` |
| ` + "`GET, PUT, POST, DELETE /v2.0/PATH/ID/tags`, `GET, PUT, DELETE …/tags/TAG`" + ` | tags of any resource that has them |
| ` + "`PUT /v2.0/subnetpools/ID/add_prefixes`, `remove_prefixes`" + ` | ` + "`{\"prefixes\": […]}`" + ` |
| ` + "`PUT /v2.0/subnetpools/ID/onboard_network_subnets`" + ` | ` + "`{\"network_id\": ID}`" + `: the network's subnets come into the pool |
| ` + "`GET, DELETE /v2.0/auto-allocated-topology/PROJECT`" + ` | a network with a router, made when it is asked for; ` + "`fields=dry-run`" + ` only checks |
| ` + "`GET, PUT, DELETE /v2.0/qos/alias-KIND-rules/ID`" + ` | a QoS rule without naming its policy |
| ` + "`GET /v2.0/qos/rule-types`, `…/rule-types/KIND`" + ` | kinds of QoS rules that the drivers support |
| ` + "`GET /v2.0/quotas`, `GET, PUT, DELETE …/quotas/PROJECT`, `GET …/default`, `GET …/details`" + ` | quotas |
| ` + "`GET /v2.0/availability_zones`" + ` | zones of the agents |
| ` + "`GET, POST /v2.0/agents/ID/dhcp-networks`, `DELETE …/dhcp-networks/NETWORK`, `GET /v2.0/networks/ID/dhcp-agents`" + ` | which DHCP agent serves what |
| ` + "`GET, POST /v2.0/agents/ID/l3-routers`, `DELETE …/l3-routers/ROUTER`, `GET /v2.0/routers/ID/l3-agents`" + ` | which L3 agent serves what |
| ` + "`GET /healthcheck`, `GET /metrics`" + ` | for operators |
`

// Reference describes all resources in Markdown.
func (c *Catalog) Reference() string {
	var b strings.Builder
	b.WriteString(referencePreface)
	describe(&b, c.Networks)
	describe(&b, c.Subnets)
	describe(&b, c.Ports)
	describe(&b, c.SecurityGroups)
	describe(&b, c.SecurityGroupRules)
	describe(&b, c.Routers)
	describe(&b, c.FloatingIPs)
	describe(&b, c.Agents)
	describe(&b, c.Subnetpools)
	describe(&b, c.AddressScopes)
	describe(&b, c.IPAvailabilities)
	describe(&b, c.RBACPolicies)
	describe(&b, c.Segments)
	describe(&b, c.AddressGroups)
	describe(&b, c.DefaultSecurityGroupRules)
	describe(&b, c.DefaultStatefulnesses)
	describe(&b, c.NetworkSegmentRanges)
	describe(&b, c.MeteringLabels)
	describe(&b, c.MeteringLabelRules)
	describe(&b, c.Flavors)
	describe(&b, c.ServiceProfiles)
	describe(&b, c.QosPolicies)
	for _, k := range QosRuleKinds() {
		describe(&b, c.QosRules[k.Type])
	}
	return b.String()
}

func describe[R any](b *strings.Builder, r *resource.Resource[R]) {
	fmt.Fprintf(b, "\n## %s: /v2.0/%s\n\n| attribute | type | use | default | extension |\n|--|--|--|--|--|\n", r.Name, r.Path)
	for _, row := range r.Describe() {
		def := row.Default
		if def != "" {
			def = "`" + def + "`"
		}
		fmt.Fprintf(b, "| `%s` | %s | %s | %s | %s |\n", row.Name, strings.ReplaceAll(row.Type, "|", `\|`), use(row.Flags), def, row.Ext)
	}
}

// use abbreviates flags as the preface explains.
func use(f resource.Flags) string {
	var letters []string
	for _, x := range []struct {
		flag   resource.Flags
		letter string
	}{{post, "P"}, {put, "U"}, {filter, "F"}, {sort, "S"}, {hidden, "H"}, {policy, "R"}} {
		if f&x.flag == 0 {
			continue
		}
		letter := x.letter
		if x.flag == post && f&must != 0 {
			letter = "P!"
		}
		letters = append(letters, letter)
	}
	return strings.Join(letters, " ")
}
