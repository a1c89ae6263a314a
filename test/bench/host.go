package main

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"neutrino/test/lab"
)

// startMeasurements start all-in-one until its API answers, on a new and on an old database.
func startMeasurements(h *harness, l *lab.Lab, binary string) []measurement {
	node := l.Node("start")
	count := 0
	answered := func() { h.must(lab.Eventually(10*time.Second, func() error { return answers(node) })) }
	var last *lab.Process
	fresh := func() float64 {
		if last != nil {
			last.Stop()
		}
		count++
		state := filepath.Join(l.Dir, fmt.Sprint("start-", count))
		return timed(func() {
			last = node.Start(fmt.Sprint("start-", count), binary, "all-in-one", "--state", state)
			answered()
		})()
	}
	again := func() float64 {
		last.Stop()
		return timed(func() { last.Restart(); answered() })()
	}
	return []measurement{
		{"start of all-in-one to first answer, new database", "ms", noGoal, 5, nil, fresh},
		{"start of all-in-one to first answer", "ms", 100, 9, nil, again},
	}
}

func answers(n *lab.Node) error {
	_, err := n.Get("http://" + lab.APIAddress + "/")
	return err
}

// resident is the resident memory of a process in MB.
func resident(h *harness, p *lab.Process) float64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.Pid()))
	h.must(err)
	_, after, _ := strings.Cut(string(text), "VmRSS:")
	var kB float64
	_, err = fmt.Sscan(after, &kB)
	h.must(err)
	return kB / 1024
}

const (
	plugged  = 200 // ports on the hypervisor
	agent    = "linuxbridge-agent"
	deadline = 30 * time.Second
)

// hypervisor is a host in a cloud whose ports are plugged without guests.
type hypervisor struct {
	*lab.Cloud
	h       *harness
	host    *lab.Host
	network string
}

func agentMeasurements(h *harness, c *lab.Cloud) []measurement {
	v := &hypervisor{Cloud: c, h: h, host: c.Compute[0]}
	toActive := func(first, second func(lab.Object)) func() float64 {
		return func() float64 {
			port := v.API.Create("ports", lab.Object{"network_id": v.network})
			first(port)
			time.Sleep(100 * time.Millisecond) // the agent has seen it
			second(port)
			return timed(func() { v.active(port) })()
		}
	}
	return []measurement{
		{"bind a plugged port: until ACTIVE", "ms", noGoal, 20, v.newNetwork, toActive(v.plug, v.bind)},
		{"plug a bound port: until ACTIVE", "ms", noGoal, 20, nil, toActive(v.bind, v.plug)},
		{fmt.Sprintf("agent finds %d new ports: until all ACTIVE", plugged), "s", noGoal, 1, nil, v.many},
		{"plug a bound port on a host with 200: until ACTIVE", "ms", noGoal, 20, nil, toActive(v.bind, v.plug)},
		{fmt.Sprintf("agent restart with %d ports: until all verified and reported", plugged), "s", 3, 5, nil, v.restart},
		{fmt.Sprintf("agent restart with %d ports: kernel writes", plugged), "", 0, 1, nil, v.restartWrites},
		{fmt.Sprintf("memory of the agent with %d ports", plugged), "MB", noGoal, 1, settle, func() float64 {
			return resident(h, v.host.Daemons[agent])
		}},
	}
}

func (v *hypervisor) newNetwork() {
	v.network = v.API.Create("networks", lab.Object{"name": "bench"}).ID()
	v.API.Create("subnets", lab.Object{"network_id": v.network, "ip_version": 4, "cidr": "10.0.0.0/16"})
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
	v.host.Daemons[agent].Kill()
	ports := make([]lab.Object, plugged)
	for i := range ports {
		ports[i] = v.binding()
		ports[i]["network_id"] = v.network
	}
	ports = v.API.CreateBulk("ports", ports)
	v.PlugSilent(v.host, ports)
	return timed(func() {
		v.host.Daemons[agent].Restart()
		for _, port := range ports {
			v.active(port)
		}
	})() / 1000
}

// restart kills the agent and starts it again. Ports stay ACTIVE meanwhile; so one that was plugged after the kill tells
// when the agent is done: it reports all ports by one call.
func (v *hypervisor) restart() float64 {
	v.host.Daemons[agent].Kill()
	port := v.API.Create("ports", lab.Object{"network_id": v.network})
	v.bind(port)
	v.plug(port)
	return timed(func() {
		v.host.Daemons[agent].Restart()
		v.active(port)
	})() / 1000
}

// restartWrites counts what the agent changes in a kernel that is right already.
func (v *hypervisor) restartWrites() float64 {
	v.host.Daemons[agent].Kill()
	v.host.Daemons[agent].Restart()
	v.h.must(v.host.WaitHealthy(agent, deadline))
	settle()
	return v.host.Metric(agent, "neutrino_agent_kernel_writes_total")
}
