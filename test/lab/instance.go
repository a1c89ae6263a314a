package lab

import (
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/uuid"
)

// Instance is a guest, plugged as Nova and os-vif's plug-ins do it. Its interface is eth0.
type Instance struct {
	*Node
	ID   string // Nova's
	Host *Host
	Port Object
	Tap  string // eth0's other end, on the host
	Boot Lease  // of the first DHCP, where there was one

	cloud *Cloud
}

// upstream's names of devices: 14 characters at most.
func device(prefix, id string) string {
	name := prefix + id
	return name[:min(len(name), 14)]
}

// Boot is everything from nothing to an instance with an IPv4 address by DHCP. The attributes are those of the port
// to create; "network_id" is the one that it needs.
func (c *Cloud) Boot(name string, host *Host, attributes Object) *Instance {
	c.T.Helper()
	i := c.Plug(name, host, c.API.Create("ports", attributes))
	i.PowerOn()
	lease, err := i.DHCP()
	if err != nil {
		c.T.Fatalf("%v", err)
	}
	i.Boot = lease
	return i
}

// Plug does what Nova does before it starts a guest: bind the port to the host, and plug a device into the bridge of
// the network, which os-vif makes if the agent has not (nova/virt/libvirt/vif.py, vif_plug_linux_bridge).
func (c *Cloud) Plug(name string, host *Host, port Object) *Instance {
	c.T.Helper()
	i := &Instance{cloud: c, ID: uuid.NewString(), Host: host, Tap: device("tap", port.ID())}
	i.Port = c.API.Update("ports", port.ID(), Object{
		"binding:host_id": host.Name, "device_id": i.ID, "device_owner": "compute:nova"})
	i.plug(name)
	return i
}

// PlugBound plugs the machine that a guest migrates to, on a host that its port has a binding for. It has the guest's addresses.
func (c *Cloud) PlugBound(name string, host *Host, from *Instance) *Instance {
	c.T.Helper()
	i := &Instance{cloud: c, ID: from.ID, Host: host, Port: from.Port, Tap: from.Tap}
	i.plug(name)
	return i
}

// Migrate moves a guest alive, with its sockets, as Nova and libvirt do: a binding and a device at the destination, the binding
// activated, the end of both at the source.
func (i *Instance) Migrate(to *Host) {
	c, from, port := i.cloud, i.Host, i.Port.ID()
	c.T.Helper()
	c.API.must(c.API.Call(http.MethodPost, "/ports/"+port+"/bindings", Object{"binding": Object{"host": to.Name}}))
	const arriving = "eth1"
	mtu := c.mtu(i.Port.Str("network_id"))
	c.cable(end{node: to.Node, name: i.Tap, mtu: mtu}, end{node: i.Node, name: arriving, mac: i.MAC(), mtu: 1500})
	i.Host = to
	i.join(arriving, mtu)
	c.API.must(c.API.Call(http.MethodPut, "/ports/"+port+"/bindings/"+to.Name+"/activate", nil))
	i.leave(from)
	for _, line := range []string{"link set " + arriving + " name eth0", "link set eth0 up", fmt.Sprintf("addr add %s/24 dev eth0", i.IP())} {
		i.Run("ip " + line)
	}
	i.impatient("eth0")
	if err := i.SendFrame("eth0", ARPAnnouncement(i.MAC(), i.IP())); err != nil { // as QEMU does
		c.T.Fatalf("%v", err)
	}
	c.API.Delete("ports/"+port+"/bindings", from.Name)
}

func (i *Instance) plug(name string) {
	c, host := i.cloud, i.Host
	c.T.Helper()
	i.Node = c.Node(name)
	// Waiting for duplicates and spreading the load of many guests takes a second each that nobody gains from here.
	for _, key := range []string{"accept_dad", "router_solicitation_delay"} {
		i.Sysctl("net/ipv6/conf/default/"+key, "0")
	}
	mtu := c.mtu(i.Port.Str("network_id"))
	c.cable(end{node: host.Node, name: i.Tap, mtu: mtu}, end{node: i.Node, name: "eth0", mac: i.MAC(), mtu: 1500})
	i.impatient("eth0")
	i.join("eth0", mtu)
}

// join plugs the tap, whose other end is the guest's device, into the bridge or switch of its host.
func (i *Instance) join(inside string, mtu int) {
	c := i.cloud
	c.T.Helper()
	if c.OpenVSwitch {
		c.fillChecksums(i.Node, inside)
		i.plugIntoSwitch()
		return
	}
	bridge := device("brq", i.Port.Str("network_id"))
	if err := Eventually(patience, func() error { return i.plugIntoBridge(bridge, mtu) }); err != nil { // the agent may remove an empty one
		c.T.Fatalf("%v", err)
	}
}

func (i *Instance) plugIntoBridge(bridge string, mtu int) error {
	if _, err := i.Host.Exec("ip", "link", "add", bridge, "type", "bridge", "stp_state", "0", "forward_delay", "0", "mcast_snooping", "0"); err == nil {
		_, _ = i.Host.Exec("sysctl", "-qw", "net.ipv6.conf."+bridge+".disable_ipv6=1")
	}
	for _, change := range []string{fmt.Sprintf("%s mtu %d up", bridge, mtu), fmt.Sprintf("%s master %s up", i.Tap, bridge)} {
		if _, err := i.Host.Exec("ip", strings.Fields("link set "+change)...); err != nil {
			return err
		}
	}
	return nil
}

func (c *Cloud) mtu(network string) int {
	c.T.Helper()
	mtu, _ := c.API.Show("networks", network)["mtu"].(float64)
	return int(mtu)
}

// PowerOn waits until the port is ACTIVE, as Nova waits for the event, and switches the guest's interface on.
func (i *Instance) PowerOn() {
	i.lab.T.Helper()
	if err := i.WaitActive(patience); err != nil {
		i.lab.T.Fatalf("%s: %v", i.Name, err)
	}
	i.Run("ip link set eth0 up")
}

// WaitActive waits until the API says that the port is wired.
func (i *Instance) WaitActive(within time.Duration) error {
	return i.cloud.API.WaitFor("ports", i.Port.ID(), "status", "ACTIVE", within)
}

// IP is the first IPv4 address that Neutron gave the port.
func (i *Instance) IP() netip.Addr {
	i.lab.T.Helper()
	for _, fixed := range i.Port.Objects("fixed_ips") {
		if a, err := netip.ParseAddr(fixed.Str("ip_address")); err == nil && a.Is4() {
			return a
		}
	}
	i.lab.T.Fatalf("the port of %s has no IPv4 address: %v", i.Name, i.Port["fixed_ips"])
	return netip.Addr{}
}

// Destroy is the end of a guest as Nova makes it: unplug, then delete the port.
func (i *Instance) Destroy() {
	i.lab.T.Helper()
	i.leave(i.Host)
	i.Remove()
	i.cloud.API.Delete("ports", i.Port.ID())
}

// leave removes the tap from a host.
func (i *Instance) leave(h *Host) {
	i.lab.T.Helper()
	if i.lab.OpenVSwitch {
		h.vsctl("--if-exists", "del-port", "br-int", i.Tap)
	}
	h.Run("ip link del " + i.Tap)
}

// PlugSilent plugs many ports on a host whose guests say nothing: taps without anybody behind them.
func (c *Cloud) PlugSilent(host *Host, ports []Object) {
	c.T.Helper()
	var batch strings.Builder
	for _, p := range ports {
		fmt.Fprintf(&batch, "tuntap add %[1]s mode tap\nlink set %[1]s up\n", device("tap", p.ID()))
	}
	file := filepath.Join(c.Dir, "taps")
	if err := os.WriteFile(file, []byte(batch.String()), 0o600); err != nil {
		c.T.Fatalf("%v", err)
	}
	host.Sysctl("net/ipv6/conf/default/disable_ipv6", "1")
	host.Run("ip -batch " + file)
	if c.OpenVSwitch {
		host.plugAll(ports)
	}
}
