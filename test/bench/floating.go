package main

import (
	"fmt"
	"time"

	"neutrino/test/lab"
)

const manyFloating = 1000

// floatingMeasurements are about a router with many floating IPs.
func floatingMeasurements(h *harness, c *lab.Cloud) []measurement {
	node := c.Network
	var outside, router lab.Object
	var ports []lab.Object // one more than there are floating IPs
	setUp := func() {
		outside = c.API.Create("networks", lab.Object{"name": "outside", "router:external": true,
			"provider:network_type": "flat", "provider:physical_network": "public"})
		c.API.Create("subnets", lab.Object{"network_id": outside.ID(), "ip_version": 4, "cidr": "198.18.0.0/16", "enable_dhcp": false})
		inside := c.API.Create("networks", lab.Object{"name": "inside"})
		subnet := c.API.Create("subnets", lab.Object{"network_id": inside.ID(), "ip_version": 4, "cidr": "10.0.0.0/16", "enable_dhcp": false})
		router = c.API.Create("routers", lab.Object{"external_gateway_info": lab.Object{"network_id": outside.ID()}})
		c.API.Action("routers", router.ID(), "add_router_interface", lab.Object{"subnet_id": subnet.ID()})
		list := make([]lab.Object, manyFloating+1)
		for i := range list {
			list[i] = lab.Object{"network_id": inside.ID()}
		}
		ports = c.API.CreateBulk("ports", list)
		settle()
	}
	floating := func(port lab.Object) lab.Object {
		return c.API.Create("floatingips", lab.Object{"floating_network_id": outside.ID(), "port_id": port.ID()})
	}
	active := func() int { return len(c.API.List("floatingips", "status=ACTIVE&fields=id&router_id="+router.ID())) }
	until := func(count int) {
		for end := time.Now().Add(deadline); active() != count; time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				h.Fatalf("%d of %d floating IPs are ACTIVE", active(), count)
			}
		}
	}
	with := fmt.Sprintf(" with %d floating IPs", manyFloating)
	return []measurement{
		{fmt.Sprintf("l3-agent: %d floating IPs of one router: made by one client, until all are ACTIVE", manyFloating), "s", noGoal, 1, setUp, func() float64 {
			return timed(func() {
				for _, port := range ports[:manyFloating] {
					floating(port)
				}
				until(manyFloating)
			})() / 1000
		}},
		{"l3-agent: one more at a router" + with + ": until ACTIVE", "ms", 10, 20, settle, func() float64 {
			one := floating(ports[manyFloating])
			took := timed(func() {
				for c.API.Show("floatingips", one.ID()).Str("status") != "ACTIVE" {
					time.Sleep(time.Millisecond)
				}
			})()
			c.API.Delete("floatingips", one.ID())
			time.Sleep(200 * time.Millisecond)
			return took
		}},
		{"l3-agent: full synchronisation of a new router" + with + ": from the start of the agent until all are translated", "s", 1, 5, nil, func() float64 {
			namespace := "qrouter-" + router.ID()
			node.Daemons["l3-agent"].Kill()
			node.Run("ip netns del " + namespace)
			return timed(func() {
				node.Daemons["l3-agent"].Restart()
				h.must(lab.Eventually(deadline, func() error {
					_, err := node.Exec("ip", "netns", "exec", namespace, "nft", "get", "element", "ip", "neutrino", "floating", "{ 198.18.3.3 }")
					return err
				}))
			})() / 1000
		}},
		{"l3-agent: restart" + with + ": kernel writes", "", 0, 1, settle, func() float64 { return restartWrites(h, node, "l3-agent") }},
		{"l3-agent: memory" + with, "MB", noGoal, 1, settle, func() float64 { return resident(h, node.Daemons["l3-agent"]) }},
	}
}
