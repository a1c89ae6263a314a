package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"neutrino/internal/ovs"
	"neutrino/test/lab"

	"golang.org/x/sys/unix"
)

const plugged = 1000 // ports on the hypervisor

// hypervisor is a host in a cloud whose ports are plugged without guests, apart from two that ping each other.
type hypervisor struct {
	*lab.Cloud
	h           *harness
	host        *lab.Host
	agent       string
	networks    []string // in turn: a bridge of the kernel has 1023 ports at most
	ports       int      // that were made
	left, right *lab.Instance
	sent, lost  float64 // pings of all restarts
}

func agentMeasurements(h *harness, c *lab.Cloud) []measurement {
	v := &hypervisor{Cloud: c, h: h, host: c.Compute[0], agent: c.L2Agent()}
	toActive := func(first, second func(lab.Object)) func() float64 {
		return func() float64 {
			port := v.API.Create("ports", v.inNetwork(lab.Object{}))
			first(port)
			time.Sleep(100 * time.Millisecond) // the agent has seen it
			second(port)
			return timed(func() { v.active(port) })()
		}
	}
	var rows []measurement
	if c.OpenVSwitch {
		rows = append(rows, measurement{fmt.Sprintf("%d flows: until they are in an empty bridge", manyFlows), "s", 0.3, 5, v.emptyBridge, v.addFlows})
	}
	rows = append(rows, []measurement{
		{"bind a plugged port: until ACTIVE", "ms", noGoal, 20, v.newNetworks, toActive(v.plug, v.bind)},
		{"plug a bound port: until ACTIVE", "ms", noGoal, 20, nil, toActive(v.bind, v.plug)},
		{fmt.Sprintf("start with %d new ports: until all ACTIVE", plugged), "s", noGoal, 1, nil, v.many},
		{fmt.Sprintf("plug a bound port on a host with %d: until ACTIVE", plugged), "ms", noGoal, 20, settle, toActive(v.bind, v.plug)},
		{fmt.Sprintf("a port is made whose group %d ports of the host allow: until they do", plugged), "ms", 5, 20, settle, v.join},
		{fmt.Sprintf("restart with %d ports: until all verified and reported", plugged), "s", 3, 5, v.boot, v.restart},
		{"these restarts: share of pings lost between two ports of the host", "%", noGoal, 1, nil, func() float64 { return 100 * v.lost / v.sent }},
		{"without a restart: share of pings lost", "%", noGoal, 1, nil, v.undisturbed},
		{fmt.Sprintf("restart with %d ports: kernel writes", plugged), "", 0, 1, nil, v.restartWrites},
		{fmt.Sprintf("memory with %d ports", plugged), "MB", noGoal, 1, settle, func() float64 {
			return resident(h, v.host.Daemons[v.agent])
		}},
		{"processes of its own", "", 0, 1, nil, func() float64 { return children(h, v.host.Daemons[v.agent]) }},
	}...)
	if c.OpenVSwitch {
		rows = append(rows, measurement{fmt.Sprintf("restart of ovs-vswitchd with %d ports: until its flows are back", plugged), "s", noGoal, 1, nil, v.restartSwitch})
	}
	for i := range rows {
		rows[i].name = v.agent + ": " + rows[i].name
	}
	return rows
}

func (v *hypervisor) newNetworks() {
	for i := range 4 {
		n := v.API.Create("networks", lab.Object{"name": "bench"}).ID()
		v.API.Create("subnets", lab.Object{"network_id": n, "ip_version": 4, "cidr": fmt.Sprintf("10.%d.0.0/16", i)})
		v.networks = append(v.networks, n)
	}
}

// inNetwork puts a port to be made into the next network.
func (v *hypervisor) inNetwork(port lab.Object) lab.Object {
	v.ports++
	port["network_id"] = v.networks[v.ports%len(v.networks)]
	return port
}

func (v *hypervisor) boot() {
	v.left = v.Boot("left", v.host, lab.Object{"network_id": v.networks[0]})
	v.right = v.Boot("right", v.host, lab.Object{"network_id": v.networks[0]})
	_, err := v.left.Reach(v.right.IP(), 10*time.Second)
	v.h.must(err)
}

func (v *hypervisor) bind(port lab.Object) { v.API.Update("ports", port.ID(), v.binding()) }

func (v *hypervisor) binding() lab.Object {
	return lab.Object{"binding:host_id": v.host.Name, "device_owner": "compute:nova"}
}

func (v *hypervisor) plug(port lab.Object) { v.PlugSilent(v.host, []lab.Object{port}) }

func (v *hypervisor) active(port lab.Object) {
	path := "/ports/" + port.ID() + "?fields=status"
	for end := time.Now().Add(deadline); ; time.Sleep(time.Millisecond) {
		answer, err := v.API.Call(http.MethodGet, path, nil)
		v.h.must(err)
		if answer.Object("port").Str("status") == "ACTIVE" {
			return
		}
		if time.Now().After(end) {
			v.h.Fatalf("port %s does not become ACTIVE", port.ID())
		}
	}
}

// many stops the agent, plugs many ports, and starts it.
func (v *hypervisor) many() float64 {
	v.host.Daemons[v.agent].Kill()
	ports := make([]lab.Object, plugged)
	for i := range ports {
		ports[i] = v.inNetwork(v.binding())
	}
	ports = v.API.CreateBulk("ports", ports)
	v.PlugSilent(v.host, ports)
	return timed(func() {
		v.host.Daemons[v.agent].Restart()
		for _, port := range ports {
			v.active(port)
		}
	})() / 1000
}

// join makes a port on no host, in the group of all the others, and waits until the agent has changed the filter.
func (v *hypervisor) join() float64 {
	time.Sleep(200 * time.Millisecond)
	wait := v.filterWritten()
	return timed(func() {
		v.API.Create("ports", v.inNetwork(lab.Object{}))
		wait()
	})()
}

// filterWritten begins to listen; wait returns when the agent has changed the filter since. The kernel tells of nftables. Of
// Open vSwitch the agent's counter does, which costs some ten milliseconds.
func (v *hypervisor) filterWritten() (wait func()) {
	if v.OpenVSwitch {
		writes := func() float64 { return v.host.Metric(v.agent, "neutrino_agent_kernel_writes_total") }
		before := writes()
		return func() {
			for end := time.Now().Add(deadline); writes() == before; time.Sleep(3 * time.Millisecond) {
				if time.Now().After(end) {
					v.h.Fatalf("the agent does not hear of a new member")
				}
			}
		}
	}
	var fd int
	v.h.must(v.host.Do(func() (err error) {
		if fd, err = unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_NETFILTER); err != nil {
			return err
		}
		return unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: 1 << (unix.NFNLGRP_NFTABLES - 1)})
	}))
	v.h.must(unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: int64(deadline / time.Second)}))
	return func() {
		defer unix.Close(fd)
		_, _, err := unix.Recvfrom(fd, make([]byte, 1<<16), 0)
		v.h.must(err)
	}
}

// restart kills the agent and starts it again. Ports stay ACTIVE meanwhile; so one that is bound after the kill tells when
// the agent is done: it reports all ports by one call.
func (v *hypervisor) restart() float64 {
	port := v.API.Create("ports", v.inNetwork(lab.Object{}))
	v.plug(port)
	settle() // Open vSwitch takes its time to take a port
	stream, err := v.left.PingStream(v.right.IP(), 5*time.Millisecond)
	v.h.must(err)
	v.host.Daemons[v.agent].Kill()
	v.bind(port)
	took := timed(func() {
		v.host.Daemons[v.agent].Restart()
		v.active(port)
	})() / 1000
	pings := stream.Stop()
	v.sent, v.lost = v.sent+float64(pings.Sent), v.lost+float64(pings.Lost())
	return took
}

// undisturbed is the share of pings that are lost while nothing happens.
func (v *hypervisor) undisturbed() float64 {
	settle()
	stream, err := v.left.PingStream(v.right.IP(), 5*time.Millisecond)
	v.h.must(err)
	time.Sleep(10 * time.Second)
	pings := stream.Stop()
	return 100 * float64(pings.Lost()) / float64(pings.Sent)
}

// restartWrites counts what the agent changes in a kernel that is right already.
func (v *hypervisor) restartWrites() float64 { return restartWrites(v.h, v.host, v.agent) }

func restartWrites(h *harness, host *lab.Host, daemon string) float64 {
	host.Daemons[daemon].Kill()
	host.Daemons[daemon].Restart()
	h.must(host.WaitHealthy(daemon, deadline))
	settle()
	return host.Metric(daemon, "neutrino_agent_kernel_writes_total")
}

const (
	manyFlows   = 10000
	emptyBridge = "empty"
)

// emptyBridge makes a bridge of which the agent does not know.
func (v *hypervisor) emptyBridge() {
	v.host.Run("ovs-vsctl add-br " + emptyBridge + " -- set Bridge " + emptyBridge + " datapath_type=netdev protocols=OpenFlow14")
}

// addFlows sends flows as the agent does, and takes them away again.
func (v *hypervisor) addFlows() float64 {
	list := make([]ovs.Flow, manyFlows)
	for i := range list {
		list[i] = ovs.Flow{Table: 81, Priority: 90, Match: fmt.Sprintf("ct_state=-trk,ip,reg5=%d", i), Actions: "ct(table=82,zone=NXM_NX_REG6[0..15])"}
	}
	bridge, flows := ovs.Switch{RunDir: fmt.Sprintf("/proc/%d/root/run/openvswitch", v.host.Pid())}, ovs.NewFlows()
	flows.Saw(map[uint64]bool{})
	send := func(wanted ...ovs.Flow) {
		flows.Want("bench", wanted...)
		v.h.must(bridge.ApplyAll(context.Background(), emptyBridge, flows.Bundles(true)))
		flows.Done(true)
	}
	took := timed(func() { send(list...) })() / 1000
	send()
	return took
}

// restartSwitch kills ovs-vswitchd, whose flows are lost then.
func (v *hypervisor) restartSwitch() float64 {
	flows := func() (n int, err error) {
		out, err := v.host.Exec("ovs-ofctl", "-O", "OpenFlow14", "dump-aggregate", "br-int")
		if _, count, found := strings.Cut(out, "flow_count="); err == nil && found {
			n, err = strconv.Atoi(strings.TrimSpace(count))
		}
		return n, err
	}
	before, err := flows()
	v.h.must(err)
	return timed(func() {
		v.host.RestartSwitch()
		v.h.must(lab.Eventually(deadline, func() error {
			if now, err := flows(); err != nil || now < before {
				return fmt.Errorf("%d of %d flows (%v)", now, before, err)
			}
			return nil
		}))
	})() / 1000
}

const (
	manyNetworks = 1000
	manyRouters  = 200
)

// serviceMeasurements are about the agents of a network node with many networks and routers.
func serviceMeasurements(h *harness, c *lab.Cloud) []measurement {
	node := c.Network
	memory := func(daemon string) func() float64 {
		return func() float64 { return resident(h, node.Daemons[daemon]) }
	}
	// again restarts a daemon until it has as many sockets as before, so that it serves as much.
	again := func(daemon string) func() float64 {
		return func() float64 {
			before := sockets(h, node.Daemons[daemon])
			for range 20 { // some come and go
				time.Sleep(50 * time.Millisecond)
				before = min(before, sockets(h, node.Daemons[daemon]))
			}
			node.Daemons[daemon].Kill()
			return timed(func() {
				node.Daemons[daemon].Restart()
				serves(h, node.Daemons[daemon], before)
			})() / 1000
		}
	}
	writes := func(daemon string) func() float64 { return func() float64 { return restartWrites(h, node, daemon) } }
	kids := func(daemon string) func() float64 { return func() float64 { return children(h, node.Daemons[daemon]) } }
	var subnets []lab.Object
	networks := fmt.Sprintf(" with %d networks", manyNetworks)
	routers := fmt.Sprintf(" with %d routers", manyRouters)
	return []measurement{
		{"dhcp-agent: " + fmt.Sprint(manyNetworks) + " new networks: until all are served", "s", noGoal, 1, nil, func() float64 {
			list := make([]lab.Object, manyNetworks)
			for i := range list {
				list[i] = lab.Object{"name": fmt.Sprint("n", i)}
			}
			networks := c.API.CreateBulk("networks", list)
			for i, n := range networks {
				list[i] = lab.Object{"network_id": n.ID(), "ip_version": 4, "cidr": fmt.Sprintf("10.%d.%d.0/24", i/250, i%250)}
			}
			idle := sockets(h, node.Daemons["dhcp-agent"])
			return timed(func() {
				subnets = c.API.CreateBulk("subnets", list)
				serves(h, node.Daemons["dhcp-agent"], idle+manyNetworks)
				calm(h, node.Daemons["dhcp-agent"])
			})() / 1000
		}},
		{"dhcp-agent: restart" + networks + ": until all are served", "s", 1, 5, nil, again("dhcp-agent")},
		{"dhcp-agent: restart" + networks + ": kernel writes", "", 0, 1, nil, writes("dhcp-agent")},
		{"dhcp-agent: memory" + networks, "MB", 30, 1, settle, memory("dhcp-agent")},
		{"dhcp-agent: processes of its own", "", 0, 1, nil, kids("dhcp-agent")},
		{"l3-agent: " + fmt.Sprint(manyRouters) + " new routers with a network each: until all are served", "s", noGoal, 1, nil, func() float64 {
			idle := sockets(h, node.Daemons["l3-agent"])
			return timed(func() {
				for i := range manyRouters {
					r := c.API.Create("routers", lab.Object{"name": fmt.Sprint("r", i)})
					c.API.Action("routers", r.ID(), "add_router_interface", lab.Object{"subnet_id": subnets[i].ID()})
				}
				serves(h, node.Daemons["l3-agent"], idle+manyRouters)
				calm(h, node.Daemons["l3-agent"])
			})() / 1000
		}},
		{"l3-agent: restart" + routers + ": until all are served", "s", noGoal, 5, nil, again("l3-agent")},
		{"l3-agent: restart" + routers + ": kernel writes", "", 0, 1, nil, writes("l3-agent")},
		{"l3-agent: memory" + routers, "MB", noGoal, 1, settle, memory("l3-agent")},
		{"l3-agent: processes of its own", "", 0, 1, nil, kids("l3-agent")},
		{"metadata-agent: memory", "MB", noGoal, 1, nil, memory("metadata-agent")},
	}
}

// sockets is how many sockets a process has.
func sockets(h *harness, p *lab.Process) (n int) {
	dir := fmt.Sprintf("/proc/%d/fd", p.Pid())
	entries, err := os.ReadDir(dir)
	h.must(err)
	for _, e := range entries {
		if to, err := os.Readlink(filepath.Join(dir, e.Name())); err == nil && strings.HasPrefix(to, "socket:") {
			n++
		}
	}
	return n
}

// serves waits until a process has so many sockets.
func serves(h *harness, p *lab.Process, wanted int) {
	h.must(lab.Eventually(3*time.Minute, func() error {
		if now := sockets(h, p); now < wanted {
			return fmt.Errorf("%s has %d of %d sockets", p.Name, now, wanted)
		}
		return nil
	}))
}

// calm waits until a process opens no more sockets.
func calm(h *harness, p *lab.Process) {
	for last := -1; ; time.Sleep(time.Second) {
		now := sockets(h, p)
		if now == last {
			return
		}
		last = now
	}
}

// children is how many processes a process has started that stay.
func children(h *harness, p *lab.Process) float64 {
	least := 1 << 30
	for range 20 {
		lists, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", p.Pid()))
		h.must(err)
		n := 0
		for _, list := range lists {
			text, _ := os.ReadFile(list)
			n += len(strings.Fields(string(text)))
		}
		least = min(least, n)
		time.Sleep(50 * time.Millisecond)
	}
	return float64(least)
}
