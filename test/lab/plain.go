package lab

import (
	"fmt"
	"net/netip"
	"os"
)

// Hosts to compare with: on the same underlay, with guests behind the same cables, but switched by a single bridge that
// nobody has told anything.
const plainBridge = "br-plain"

// PlainHost is a machine of the cloud's underlay without Neutrino. Its bridge is one of the kernel, or of Open vSwitch
// if the cloud's hosts have that. number ends its underlay address.
func (c *Cloud) PlainHost(name string, number int) *Host {
	c.T.Helper()
	h := c.host(name, number)
	h.Sysctl("net/ipv6/conf/default/disable_ipv6", "1")
	if c.OpenVSwitch {
		h.vsctl("add-br", plainBridge, "--", "set", "Bridge", plainBridge, "datapath_type="+c.datapath())
		return h
	}
	for _, key := range []string{"bridge-nf-call-iptables", "bridge-nf-call-ip6tables", "bridge-nf-call-arptables"} {
		if _, err := os.Stat("/proc/sys/net/bridge"); err == nil { // on by default once br_netfilter is loaded
			h.Sysctl("net/bridge/"+key, "0")
		}
	}
	h.Run(fmt.Sprintf("ip link add %s type bridge stp_state 0 forward_delay 0 mcast_snooping 0", plainBridge))
	h.Run(fmt.Sprintf("ip link set %s up", plainBridge))
	return h
}

// PlainGuest is a guest of a PlainHost, cabled like an Instance.
func (c *Cloud) PlainGuest(h *Host, name string, address netip.Prefix, mtu int) *Node {
	c.T.Helper()
	n, tap := c.Node(name), device("tap", name)
	c.cable(end{node: h.Node, name: tap, mtu: mtu}, end{node: n, name: "eth0", mtu: mtu})
	c.fillChecksums(n, "eth0")
	c.plugPlain(h, tap)
	n.Run(fmt.Sprintf("ip addr add %s dev eth0", address))
	n.Run("ip link set eth0 up")
	return n
}

func (c *Cloud) plugPlain(h *Host, device string) {
	c.T.Helper()
	h.Run(fmt.Sprintf("ip link set %s up", device))
	if c.OpenVSwitch {
		h.vsctl("add-port", plainBridge, device)
		return
	}
	h.Run(fmt.Sprintf("ip link set %s master %s", device, plainBridge))
}

// PlainTunnel connects the bridges of two PlainHosts by VXLAN.
func (c *Cloud) PlainTunnel(a, b *Host) {
	c.T.Helper()
	const vni, tunnel = 77, "vxlan-plain"
	for _, x := range []struct{ from, to *Host }{{a, b}, {b, a}} {
		if c.OpenVSwitch {
			x.from.vsctl("add-port", plainBridge, tunnel, "--", "set", "Interface", tunnel, "type=vxlan",
				"options:remote_ip="+x.to.Underlay.String(), "options:local_ip="+x.from.Underlay.String(), fmt.Sprintf("options:key=%d", vni))
			continue
		}
		x.from.Run(fmt.Sprintf("ip link add %s type vxlan id %d local %s remote %s dstport %d", tunnel, vni, x.from.Underlay, x.to.Underlay, vxlanPort))
		c.plugPlain(x.from, tunnel)
	}
}
