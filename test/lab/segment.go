package lab

import "fmt"

// Segment is an Ethernet segment that connects nodes: a bridge in the lab's switch.
type Segment struct {
	name string
	mtu  int
	lab  *Lab
	used int
}

// Segment makes an empty segment; its name is at most 10 characters.
func (l *Lab) Segment(name string, mtu int) *Segment {
	l.T.Helper()
	if l.sw == nil {
		l.sw = l.Node("switch")
		l.sw.Sysctl("net/ipv6/conf/default/disable_ipv6", "1")
	}
	l.sw.Run(fmt.Sprintf("ip link add %s mtu %d type bridge stp_state 0 forward_delay 0 mcast_snooping 0", name, mtu))
	l.sw.Run(fmt.Sprintf("ip link set %s up", name))
	return &Segment{name: name, mtu: mtu, lab: l}
}

// Attach connects the node by a new interface, which is up afterwards and has no address.
func (s *Segment) Attach(n *Node, device string) {
	s.lab.T.Helper()
	s.used++
	port := fmt.Sprintf("%s-%d", s.name, s.used)
	s.lab.cable(end{node: s.lab.sw, name: port, mtu: s.mtu}, end{node: n, name: device, mtu: s.mtu})
	s.lab.sw.Run(fmt.Sprintf("ip link set %s master %s up", port, s.name))
	n.Run(fmt.Sprintf("ip link set %s txqueuelen 1000 up", device)) // as a real one; the first queueing discipline would set it else
}
