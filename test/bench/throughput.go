package main

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"time"

	"neutrino/test/lab"
)

const (
	runs      = 7 // of iperf3, of each kind and in turn
	runLength = 2 // seconds
	guestMTU  = 1450
)

// traffic is what iperf3 sends, and what of its answer counts.
type traffic struct {
	name, unit string
	args       []string
	rate       func(a *iperfAnswer) float64
}

// iperfAnswer is what is of interest of the answer of iperf3 --json.
type iperfAnswer struct {
	End struct {
		Received struct {
			BitsPerSecond float64 `json:"bits_per_second"`
		} `json:"sum_received"`
		Sum struct {
			Packets float64 `json:"packets"`
			Lost    float64 `json:"lost_packets"`
			Seconds float64 `json:"seconds"`
		} `json:"sum"`
	} `json:"end"`
}

var (
	tcp = traffic{"TCP", gigabits, nil, func(a *iperfAnswer) float64 { return a.End.Received.BitsPerSecond / 1e9 }}
	udp = traffic{"UDP of 64 bytes", "k/s", []string{"-u", "-b", "0", "-l", "64"}, func(a *iperfAnswer) float64 {
		return (a.End.Sum.Packets - a.End.Sum.Lost) / a.End.Sum.Seconds / 1000
	}}
)

// way is from a guest to an iperf3 server.
type way struct {
	from *lab.Node
	to   netip.Addr
}

// throughputMeasurements let guests of two hypervisors talk, with the default security group, and guests of two hosts
// with a plain bridge of the same kind.
func throughputMeasurements(h *harness, l *lab.Lab, binary string) []measurement {
	c := l.MultiHost(binary, 2)
	network := c.API.Create("networks", lab.Object{"name": "bench"}).ID()
	c.API.Create("subnets", lab.Object{"network_id": network, "ip_version": 4, "cidr": "10.0.0.0/24"})
	boot := func(name string, host *lab.Host) *lab.Instance {
		i := c.Boot(name, host, lab.Object{"network_id": network})
		i.Run(fmt.Sprintf("ip link set eth0 mtu %d", guestMTU))
		return i
	}
	a, near, far := boot("a", c.Compute[0]), boot("near", c.Compute[0]), boot("far", c.Compute[1])
	p, q := c.PlainHost("plain1", 11), c.PlainHost("plain2", 12)
	c.PlainTunnel(p, q)
	plain := func(name string, host *lab.Host, number byte) (*lab.Node, netip.Addr) {
		address := netip.AddrFrom4([4]byte{10, 9, 0, number})
		return c.PlainGuest(host, name, netip.PrefixFrom(address, 24), guestMTU), address
	}
	pa, _ := plain("pa", p, 1)
	pnear, nearIP := plain("pnear", p, 2)
	pfar, farIP := plain("pfar", q, 3)
	for _, server := range []*lab.Node{near.Node, far.Node, pnear, pfar} {
		server.Start("iperf3", "iperf3", "-s")
	}
	kind := map[bool]string{false: "linuxbridge", true: "openvswitch"}[l.OpenVSwitch]
	var all []measurement
	for _, x := range []struct {
		traffic
		where      string
		ours, base way
	}{
		{tcp, "on one host", way{a.Node, near.IP()}, way{pa, nearIP}},
		{udp, "on one host", way{a.Node, near.IP()}, way{pa, nearIP}},
		{tcp, "between hosts by VXLAN", way{a.Node, far.IP()}, way{pa, farIP}},
		{udp, "between hosts by VXLAN", way{a.Node, far.IP()}, way{pa, farIP}},
	} {
		all = append(all, besides(h, kind+": "+x.name+" "+x.where, x.traffic, x.ours, x.base)...)
	}
	return all
}

// besides are three rows: how much of the plain way's rate ours has, and both rates. The first one measures, in turn.
func besides(h *harness, name string, t traffic, ours, base way) []measurement {
	var rates [2][]float64
	next := func(side int) func() float64 {
		return func() float64 {
			rate := rates[side][0]
			rates[side] = rates[side][1:]
			return rate
		}
	}
	compare := func() float64 {
		b, o := t.run(h, base), t.run(h, ours)
		rates[0], rates[1] = append(rates[0], o), append(rates[1], b)
		return 100 * o / b
	}
	reached := func() {
		for _, w := range []way{ours, base} {
			h.must(lab.Eventually(deadline, func() error { _, err := w.from.Reach(w.to, time.Second); return err }))
		}
	}
	return []measurement{
		{name + ", of a plain bridge's", percent, 75, runs, reached, compare},
		{name, t.unit, noGoal, runs, nil, next(0)},
		{name + ", plain bridge", t.unit, noGoal, runs, nil, next(1)},
	}
}

// run is one run of iperf3, in the traffic's unit.
func (t *traffic) run(h *harness, w way) float64 {
	args := append([]string{"-c", w.to.String(), "-t", fmt.Sprint(runLength), "--json"}, t.args...)
	out, err := w.from.Exec("iperf3", args...)
	h.must(err)
	var answer iperfAnswer
	h.must(json.Unmarshal([]byte(out), &answer))
	return t.rate(&answer)
}
