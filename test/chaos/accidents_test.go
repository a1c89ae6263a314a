package chaos

import (
	"fmt"
	"slices"
	"syscall"
	"time"

	"neutrino/test/lab"
)

// outage is an accident that goes on while other operations are made.
type outage struct {
	name   string
	host   *lab.Host
	daemon string // "": the connection to the bus
	until  int    // step
	end    func()
}

// endOutages ends those whose time has come, or all, and waits until what was started works.
func (w *world) endOutages(all bool) {
	w.t.Helper()
	w.outages = slices.DeleteFunc(w.outages, func(o *outage) bool {
		if !all && w.steps < o.until {
			return false
		}
		o.end()
		w.note("end of: %s", o.name)
		return true
	})
}

// mend ends all outages and waits until every daemon is well.
func (w *world) mend() {
	w.t.Helper()
	w.endOutages(true)
	for _, h := range w.Hosts() {
		for name := range h.Daemons {
			if err := h.WaitHealthy(name, 30*time.Second); err != nil {
				w.fail("a daemon that is not well", []string{err.Error()})
			}
		}
	}
}

// daemonIn picks a running daemon other than the server.
func (w *world) daemonIn() (*lab.Host, string) {
	hosts := w.Hosts()
	h := hosts[w.random.IntN(len(hosts))]
	var names []string
	for name := range h.Daemons {
		if name != "server" && !slices.ContainsFunc(w.outages, func(o *outage) bool { return o.host == h && o.daemon == name }) {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return nil, ""
	}
	slices.Sort(names)
	name := names[w.random.IntN(len(names))]
	w.blind = w.blind || h == w.Network && name == w.L2Agent()
	w.deaf = w.deaf || name == "l3-agent"
	return h, name
}

func (w *world) begins(o outage) {
	o.until = w.steps + 1 + w.random.IntN(4)
	w.outages = append(w.outages, &o)
}

func killDaemon(w *world, _ *snapshot) string {
	h, name := w.daemonIn()
	if h == nil {
		return ""
	}
	h.Daemons[name].Kill()
	what := name + " on " + h.Name
	w.begins(outage{name: what + " dead", host: h, daemon: name, end: h.Daemons[name].Restart})
	return what
}

func freezeDaemon(w *world, _ *snapshot) string {
	h, name := w.daemonIn()
	if h == nil || name == lab.OtherServer { // calls would wait for it
		return ""
	}
	process := h.Daemons[name]
	_ = syscall.Kill(process.Pid(), syscall.SIGSTOP)
	what := name + " on " + h.Name
	w.begins(outage{name: what + " frozen", host: h, daemon: name, end: func() { _ = syscall.Kill(process.Pid(), syscall.SIGCONT) }})
	return what
}

func restartDaemon(w *world, _ *snapshot) string {
	h, name := w.daemonIn()
	if h == nil {
		return ""
	}
	if err := h.WaitUp(name, 30*time.Second); err != nil { // it may have been started a moment ago
		w.fail("a daemon that does not start", []string{err.Error()})
	}
	h.Daemons[name].Stop()
	h.Daemons[name].Restart()
	return name + " on " + h.Name
}

// killServer kills or freezes the server for a moment in which nothing can be asked of it.
func killServer(w *world, _ *snapshot) string {
	server := w.Network.Daemons["server"]
	if other := w.Network.Daemons[lab.OtherServer]; other != nil && other.Ended() == nil && w.chance(2) {
		server = other
	}
	pause := time.Duration(w.random.IntN(2000)) * time.Millisecond
	if w.chance(3) {
		_ = syscall.Kill(server.Pid(), syscall.SIGSTOP)
		time.Sleep(pause)
		_ = syscall.Kill(server.Pid(), syscall.SIGCONT)
		return fmt.Sprintf("frozen for %s", pause)
	}
	server.Kill()
	time.Sleep(pause)
	server.Restart()
	return fmt.Sprintf("dead for %s", pause)
}

// cutBus has the kernel of a host reset connections to the bus.
func cutBus(w *world, _ *snapshot) string {
	h := w.Hosts()[w.random.IntN(len(w.Hosts()))]
	if slices.ContainsFunc(w.outages, func(o *outage) bool { return o.host == h && o.daemon == "" }) {
		return ""
	}
	w.deaf = w.deaf || h == w.Network
	const table = "chaos"
	h.Run("nft add table ip " + table)
	h.Run("nft add chain ip " + table + " output { type filter hook output priority 0 ; }")
	for _, port := range lab.BusPorts {
		h.Run(fmt.Sprintf("nft add rule ip %s output tcp dport %d reject with tcp reset", table, port))
	}
	w.begins(outage{name: "bus cut on " + h.Name, host: h, end: func() { h.Run("nft delete table ip " + table) }})
	return h.Name
}

// restartSwitch kills ovs-vswitchd, and what it forwards with it, and starts it again.
func restartSwitch(w *world, _ *snapshot) string {
	if !w.OpenVSwitch {
		return ""
	}
	h := w.Hosts()[w.random.IntN(len(w.Hosts()))]
	w.upsetAll = true
	process := []*lab.Process{h.Switch, h.SwitchDB}[w.random.IntN(2)]
	switch w.random.IntN(3) {
	case 0:
		pause := time.Duration(w.random.IntN(4000)) * time.Millisecond
		_ = syscall.Kill(process.Pid(), syscall.SIGSTOP)
		time.Sleep(pause)
		_ = syscall.Kill(process.Pid(), syscall.SIGCONT)
		return fmt.Sprintf("%s frozen on %s for %s", process.Name, h.Name, pause)
	case 1:
		h.SwitchDB.Kill()
		h.SwitchDB.Restart()
		return "database on " + h.Name
	}
	h.RestartSwitch()
	return h.Name
}
