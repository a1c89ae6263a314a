package lab

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"neutrino/internal/linux/veth"
)

// Hosts with Open vSwitch: each has an ovsdb-server and an ovs-vswitchd of its own, with the userspace datapath, whose
// sockets and database are in the host's private /run. So ovs-vsctl and ovs-ofctl work in it as on any machine.
const (
	switchDir       = "/run/openvswitch"
	switchSchema    = "/usr/share/openvswitch/vswitch.ovsschema"
	underlayBridge  = "br-phy" // has the tunnel endpoint, as the userspace datapath wants it
	externalBridge  = "br-ex"
	switchVXLANPort = 4789
)

func (l *Lab) datapath() string {
	if l.KernelDatapath {
		return "system"
	}
	return "netdev"
}

// startSwitch starts Open vSwitch and connects it to the underlay.
func (h *Host) startSwitch() {
	h.lab.T.Helper()
	// With the userspace datapath the kernel sees what arrives at under0, too. It would answer ARP requests for the address of
	// the bridge, with under0's MAC, and who takes that one for the tunnel endpoint's sends into the void.
	h.Sysctl("net/ipv4/conf/under0/arp_ignore", "1")
	h.Run("mkdir " + switchDir)
	h.Run("ovsdb-tool create " + switchDir + "/conf.db " + switchSchema)
	h.SwitchDB = h.Start("ovsdb-server", "ovsdb-server", switchDir+"/conf.db", "--remote=punix:"+switchDir+"/db.sock",
		"--unixctl="+switchDir+"/ovsdb.ctl")
	if err := Eventually(patience, func() error {
		_, err := h.Exec("ovs-vsctl", "--timeout=1", "--no-wait", "init")
		return err
	}); err != nil {
		h.lab.T.Fatalf("%v", err)
	}
	h.Switch = h.Start("ovs-vswitchd", "ovs-vswitchd", "unix:"+switchDir+"/db.sock", "--unixctl="+switchDir+"/vswitchd.ctl")
	h.vsctl("add-br", underlayBridge, "--", "set", "Bridge", underlayBridge, "datapath_type="+h.lab.datapath(), "--", "add-port", underlayBridge, "under0")
	h.addUnderlay()
}

// addUnderlay gives the underlay's bridge its address, as the host's network configuration does.
func (h *Host) addUnderlay() {
	h.lab.T.Helper()
	h.Sysctl("net/ipv6/conf/"+underlayBridge+"/disable_ipv6", "1")
	h.Run(fmt.Sprintf("ip addr replace %s/24 dev %s", h.Underlay, underlayBridge))
	h.Run("ip link set " + underlayBridge + " up")
}

// RestartSwitch kills ovs-vswitchd, whose devices go with it, and starts it again.
func (h *Host) RestartSwitch() {
	h.lab.T.Helper()
	h.Switch.Kill()
	h.Switch.Restart()
	if err := Eventually(time.Minute, func() error { // with a thousand ports it takes a while
		_, err := h.Exec("ip", "link", "show", underlayBridge)
		return err
	}); err != nil {
		h.lab.T.Fatalf("%v", err)
	}
	h.addUnderlay()
}

// vsctl runs ovs-vsctl, which waits until ovs-vswitchd has done what it is told.
func (h *Host) vsctl(args ...string) string {
	h.lab.T.Helper()
	out, err := h.Exec("ovs-vsctl", append([]string{"--timeout=10"}, args...)...)
	if err != nil {
		h.lab.T.Fatalf("%v", err)
	}
	return out
}

func (c *Cloud) switchConfiguration(h *Host) string {
	text := fmt.Sprintf(`[ovs]
local_ip = %s
datapath_type = %s
[agent]
tunnel_types = vxlan
l2_population = true
arp_responder = true
`, h.Underlay, c.datapath())
	if c.gateways[h] {
		text += "[ovs]\nbridge_mappings = public:" + externalBridge + "\n"
	}
	return text
}

// fillChecksums has a node on a userspace datapath send whole packets.
func (c *Cloud) fillChecksums(n *Node, device string) {
	c.T.Helper()
	if !c.OpenVSwitch || c.KernelDatapath {
		return
	}
	if err := n.Do(func() error { return veth.FillChecksums(device) }); err != nil {
		c.T.Fatalf("checksums of %s in %s: %v", device, n.Name, err)
	}
}

// plugIntoSwitch does what os-vif's Open vSwitch plug-in does (vif_plug_ovs/ovsdb/ovsdb_lib.py).
func (i *Instance) plugIntoSwitch() {
	i.lab.T.Helper()
	i.Host.Run("ip link set " + i.Tap + " up")
	i.Host.vsctl("--may-exist", "add-port", "br-int", i.Tap, "--", "set", "Interface", i.Tap, "external_ids:iface-id="+i.Port.ID(),
		"external_ids:iface-status=active", "external_ids:attached-mac="+i.Port.Str("mac_address"), "external_ids:vm-uuid="+i.ID)
}

// plugAll plugs taps that are there by one transaction.
func (h *Host) plugAll(ports []Object) {
	h.lab.T.Helper()
	args := []string{"--no-wait"}
	for _, p := range ports {
		tap := device("tap", p.ID())
		args = append(args, "--", "--may-exist", "add-port", "br-int", tap, "--", "set", "Interface", tap, "external_ids:iface-id="+p.ID(),
			"external_ids:iface-status=active", "external_ids:attached-mac="+p.Str("mac_address"))
	}
	h.vsctl(args...)
}

// Flows are the flows of a bridge as ovs-ofctl shows them, without statistics and without those that were learned.
func (h *Host) Flows(bridge string) []string {
	h.lab.T.Helper()
	flows, err := h.flows(bridge)
	if err != nil {
		h.lab.T.Fatalf("%v", err)
	}
	return flows
}

func (n *Node) flows(bridge string) (flows []string, err error) {
	out, err := n.Exec("ovs-ofctl", "-O", "OpenFlow14", "--no-stats", "dump-flows", bridge)
	for line := range strings.Lines(out) {
		if line = strings.TrimSpace(line); strings.Contains(line, "table=") && !strings.Contains(line, "hard_timeout=300") || strings.Contains(line, "actions=learn") {
			flows = append(flows, line)
		}
	}
	return flows, err
}

// What the database says of ports, without their numbers, which are given anew, and without what is counted.
var (
	portColumns      = []string{"--format=csv", "--no-headings", "--columns=name,tag,other_config", "list", "Port"}
	interfaceColumns = []string{"--format=csv", "--no-headings", "--columns=name,type,options,external_ids,error", "list", "Interface"}
)

// switchState are the facts of the node's Open vSwitch, if it has one.
func (n *Node) switchState() (facts []string, err error) {
	if _, err := os.Stat(filepath.Join(fmt.Sprintf("/proc/%d/root", n.Pid()), switchDir, "db.sock")); err != nil {
		return nil, nil
	}
	for _, command := range [][]string{portColumns, interfaceColumns} {
		out, err := n.Exec("ovs-vsctl", append([]string{"--timeout=10"}, command...)...)
		if err != nil {
			return nil, err
		}
		for line := range strings.Lines(out) {
			facts = append(facts, " ovs "+command[len(command)-1]+" "+strings.TrimSpace(line))
		}
	}
	bridges, err := n.Exec("ovs-vsctl", "--timeout=10", "list-br")
	if err != nil {
		return nil, err
	}
	for _, bridge := range strings.Fields(bridges) {
		flows, err := n.flows(bridge)
		if err != nil {
			return nil, err
		}
		for _, f := range flows {
			facts = append(facts, " flow "+bridge+" "+f)
		}
	}
	return facts, nil
}
