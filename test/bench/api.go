package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"
)

const parallel = 8 // clients at the same time

// effort says how much to measure.
type effort struct {
	rounds int   // of requests for one object; others take fewer
	ports  []int // sizes of networks to list
}

var whole = effort{rounds: 200, ports: []int{1000, 5000}}

// of is a part of the rounds, at least one.
func (e effort) of(n int) int { return max(1, min(n, e.rounds/4)) }

// apiMeasurements are those that a client can make. The filler makes the ports to list. memory tells the server's
// resident memory in MB; nil: unknown.
func apiMeasurements(c, filler *client, memory func() float64, e effort) []measurement {
	c.unlimited()
	m := []measurement{}
	remember := func(name string, goal float64) {
		if memory != nil {
			m = append(m, measurement{name, "MB", goal, 1, settle, memory})
		}
	}
	remember("memory idle", 40)
	m = append(m, kinds(c, e)...)
	m = append(m, routerInterface(c, e)...)

	p := &pool{c: c, filler: filler}
	m = append(m, measurement{fmt.Sprintf("%d clients create ports", parallel), perSecond, 1000, e.of(5), p.network,
		func() float64 { return p.race(e.of(40)) }},
		measurement{"bulk of 50 ports", "ms", 30, e.of(10), p.network, timed(func() { p.bulk(50) })},
		measurement{"bulk of 100 ports", "ms", 60, e.of(4), nil, timed(func() { p.bulk(100) })})
	for _, n := range e.ports {
		if n == 5000 && filler == c {
			m = append(m, measurement{"5000 ports in bulks of 50", "s", 3, 1, p.network, func() float64 {
				began := time.Now()
				p.fill(5000)
				return time.Since(began).Seconds()
			}})
		}
		m = append(m, lists(p, n, e)...)
		remember(fmt.Sprintf("memory with %d ports, after lists of them", n), noGoal)
		if n == 5000 {
			m[len(m)-1].goal = 60
		}
	}
	return m
}

// settle gives the server the time to return memory that the last measurement needed.
func settle() { time.Sleep(3 * time.Second) }

// unlimited lifts the quotas of the client's project.
func (c *client) unlimited() {
	quota := object{}
	for _, name := range []string{"network", "subnet", "port", "router", "security_group", "security_group_rule"} {
		quota[name] = -1
	}
	c.call(http.MethodPut, "/quotas/"+c.project, object{"quota": quota})
}

// kind is a resource whose life is measured.
type kind struct {
	name, path string
	goals      [4]float64 // create, show, update, delete, in ms
	setUp      func()
	body       func(i int) object // of the i-th one
	fixed      bool               // has no update
}

// kinds measures create, show, update and delete.
func kinds(c *client, e effort) (m []measurement) {
	var network, group string
	newNetwork := func() {
		network = id(c.create("/networks", "network", object{"name": "of the benchmark"}))
	}
	withSubnet := func() {
		newNetwork()
		c.create("/subnets", "subnet", object{"network_id": network, "ip_version": 4, "cidr": "10.0.0.0/16", "enable_dhcp": false})
	}
	newGroup := func() { group = id(c.create("/security-groups", "security_group", object{"name": "of the benchmark"})) }
	for _, k := range []kind{
		{"network", "/networks", [4]float64{2, 0.4, 2, 2}, nil,
			func(i int) object { return object{"name": fmt.Sprint(i)} }, false},
		{"subnet", "/subnets", [4]float64{3, 0.4, 3, 3}, newNetwork,
			func(i int) object {
				return object{"network_id": network, "ip_version": 4, "cidr": fmt.Sprintf("10.%d.%d.0/24", i/256, i%256),
					"enable_dhcp": false}
			}, false},
		{"port", "/ports", [4]float64{3, 0.4, 3, 3}, withSubnet,
			func(i int) object { return object{"network_id": network, "name": fmt.Sprint(i)} }, false},
		{"security_group_rule", "/security-group-rules", [4]float64{2, 0.4, 2, 2}, newGroup,
			func(i int) object {
				return object{"security_group_id": group, "direction": "ingress", "ethertype": "IPv4", "protocol": "tcp",
					"port_range_min": i + 1, "port_range_max": i + 1}
			}, true},
	} {
		m = append(m, life(c, k, e.rounds)...)
	}
	return m
}

func life(c *client, k kind, one int) []measurement {
	var ids []string
	shown, updated := 0, 0
	next := func(i *int) string {
		*i++
		return k.path + "/" + ids[*i%len(ids)]
	}
	m := []measurement{
		{"create " + k.name, "ms", k.goals[0], one, k.setUp, timed(func() {
			ids = append(ids, id(c.create(k.path, k.name, k.body(len(ids)))))
		})},
		{"show " + k.name, "ms", k.goals[1], one, nil, timed(func() { c.get(next(&shown)) })},
		{"update " + k.name, "ms", k.goals[2], one, nil, timed(func() {
			c.call(http.MethodPut, next(&updated), object{k.name: object{"description": fmt.Sprint(updated)}})
		})},
		{"delete " + k.name, "ms", k.goals[3], one, nil, timed(func() {
			c.call(http.MethodDelete, k.path+"/"+ids[0], nil)
			ids = ids[1:]
		})},
	}
	if k.fixed {
		return slices.Delete(m, 2, 3)
	}
	return m
}

func routerInterface(c *client, e effort) []measurement {
	var router string
	var subnets []string
	rounds := e.of(50)
	connect := func(action, subnet string) {
		c.call(http.MethodPut, "/routers/"+router+"/"+action, object{"subnet_id": subnet})
	}
	added, removed := 0, 0
	return []measurement{
		{"create router", "ms", 6, rounds, nil, timed(func() { router = id(c.create("/routers", "router", object{})) })},
		{"add router interface", "ms", 6, rounds, func() {
			for i := range rounds + rounds/10 {
				network := id(c.create("/networks", "network", object{}))
				subnets = append(subnets, id(c.create("/subnets", "subnet", object{"network_id": network, "ip_version": 4,
					"cidr": fmt.Sprintf("10.77.%d.0/24", i), "enable_dhcp": false})))
			}
		}, timed(func() { connect("add_router_interface", subnets[added]); added++ })},
		{"remove router interface", "ms", 6, rounds, nil,
			timed(func() { connect("remove_router_interface", subnets[removed]); removed++ })},
	}
}

// pool is a network with many ports.
type pool struct {
	c      *client
	filler *client // makes the ports of which there must only be enough
	id     string  // of the network
	count  int     // of ports
}

// network starts anew.
func (p *pool) network() {
	p.id = id(p.c.create("/networks", "network", object{"name": "pool"}))
	p.c.create("/subnets", "subnet", object{"network_id": p.id, "ip_version": 4, "cidr": "10.64.0.0/16", "enable_dhcp": false})
	p.count = 0
}

func (p *pool) bulk(n int) { p.bulkBy(p.c, n) }

func (p *pool) bulkBy(c *client, n int) {
	ports := make([]object, n)
	for i := range ports {
		ports[i] = object{"network_id": p.id, "name": fmt.Sprint("port", p.count+i)}
	}
	c.call(http.MethodPost, "/ports", object{"ports": ports})
	p.count += n
}

// fill creates ports until there are n.
func (p *pool) fill(n int) {
	for p.count < n {
		p.bulkBy(p.filler, min(50, n-p.count))
	}
}

// race has several clients create ports, and sees that no address was given twice.
func (p *pool) race(each int) float64 {
	var mu sync.Mutex
	addresses := map[string]bool{}
	speed := rate(each, func() {
		port := p.c.create("/ports", "port", object{"network_id": p.id})
		mu.Lock()
		defer mu.Unlock()
		addresses[fmt.Sprint(port["fixed_ips"])] = true
	})
	if len(addresses) != each*parallel {
		p.c.h.Fatalf("%d ports have %d addresses", each*parallel, len(addresses))
	}
	return speed
}

// rate is how many of the requests per second several clients get done, each making them one after the other.
func rate(each int, request func()) float64 {
	var all sync.WaitGroup
	failures := make(chan any, parallel)
	began := time.Now()
	for range parallel {
		all.Go(func() {
			defer func() {
				if r := recover(); r != nil { // the harness' way out of its own goroutine only
					failures <- r
				}
			}()
			for range each {
				request()
			}
		})
	}
	all.Wait()
	select {
	case r := <-failures:
		panic(r)
	default:
	}
	return float64(each*parallel) / time.Since(began).Seconds()
}

// listGoals are for all attributes, for ids only (both in ms) and for several clients (per second).
var listGoals = map[int][3]float64{1000: {10, noGoal, noGoal}, 5000: {40, 6, 40}}

// lists measures lists of n ports.
func lists(p *pool, n int, e effort) []measurement {
	rounds, goal := e.of(15), listGoals[n]
	c, m := p.c, p.c.member()
	path := func(more string) string { return "/ports?network_id=" + p.id + more }
	name := func(what string) string { return fmt.Sprintf("list %d ports: %s", n, what) }
	return []measurement{
		{name("all attributes, admin"), "ms", goal[0], rounds, func() { p.fill(n) }, timed(func() { c.get(path("")) })},
		{name("all attributes, member"), "ms", noGoal, rounds, nil, timed(func() { m.get(path("")) })},
		{name("member / admin"), "", 1.2, rounds, nil, func() float64 {
			return timed(func() { m.get(path("")) })() / timed(func() { c.get(path("")) })()
		}},
		{name("fields=id, admin"), "ms", goal[1], rounds, nil, timed(func() { c.get(path("&fields=id")) })},
		{name("fields=id, member"), "ms", noGoal, rounds, nil, timed(func() { m.get(path("&fields=id")) })},
		{name("all in pages of 500, admin"), "ms", noGoal, e.of(5), nil, timed(func() { p.pages(n, 500) })},
		{fmt.Sprintf("%d clients list %d ports", parallel, n), perSecond, goal[2], e.of(3), nil, func() float64 {
			return rate(e.of(3), func() { c.get(path("")) })
		}},
	}
}

// pages reads all ports page by page.
func (p *pool) pages(n, size int) {
	marker, seen := "", 0
	for {
		path := fmt.Sprintf("/ports?network_id=%s&limit=%d", p.id, size)
		if marker != "" {
			path += "&marker=" + marker
		}
		var page struct{ Ports []struct{ ID string } } // a client that reads more measures itself
		p.c.h.must(json.Unmarshal(p.c.get(path), &page))
		seen += len(page.Ports)
		if len(page.Ports) < size {
			break
		}
		marker = page.Ports[len(page.Ports)-1].ID
	}
	if seen != n {
		p.c.h.Fatalf("%d of %d ports in pages", seen, n)
	}
}
