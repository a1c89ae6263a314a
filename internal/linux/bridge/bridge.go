// Package bridge makes Linux bridges and fills their forwarding and neighbour tables.
package bridge

import (
	"fmt"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Add makes a bridge without spanning tree, forwarding delay and multicast snooping: it is one hop between an instance
// and the network, where these only cost time. It is down.
func Add(name string, mtu int) error {
	req := nl.NewNetlinkRequest(unix.RTM_NEWLINK, unix.NLM_F_CREATE|unix.NLM_F_EXCL|unix.NLM_F_ACK)
	req.AddData(nl.NewIfInfomsg(unix.AF_UNSPEC))
	req.AddData(nl.NewRtAttr(unix.IFLA_IFNAME, nl.ZeroTerminated(name)))
	if mtu > 0 {
		req.AddData(nl.NewRtAttr(unix.IFLA_MTU, nl.Uint32Attr(uint32(mtu))))
	}
	info := nl.NewRtAttr(unix.IFLA_LINKINFO, nil)
	info.AddRtAttr(nl.IFLA_INFO_KIND, nl.NonZeroTerminated("bridge"))
	data := info.AddRtAttr(nl.IFLA_INFO_DATA, nil)
	data.AddRtAttr(nl.IFLA_BR_STP_STATE, nl.Uint32Attr(0))
	data.AddRtAttr(nl.IFLA_BR_FORWARD_DELAY, nl.Uint32Attr(0))
	data.AddRtAttr(nl.IFLA_BR_MCAST_SNOOPING, nl.Uint8Attr(0))
	req.AddData(info)
	if _, err := req.Execute(unix.NETLINK_ROUTE, 0); err != nil {
		return fmt.Errorf("add bridge %s: %w", name, err)
	}
	return nil
}

// StopSnooping has the bridge flood multicast frames, as those that Add makes.
func StopSnooping(index int) error {
	return change(index, "bridge", map[int][]byte{nl.IFLA_BR_MCAST_SNOOPING: {0}})
}

// ChangeTunnel changes only the given attributes (IFLA_VXLAN_…) of a vxlan device: the kernel refuses some that cannot be
// changed even if they stay the same.
func ChangeTunnel(index int, attributes map[int][]byte) error {
	return change(index, "vxlan", attributes)
}

func change(index int, kind string, attributes map[int][]byte) error {
	req := nl.NewNetlinkRequest(unix.RTM_NEWLINK, unix.NLM_F_ACK)
	msg := nl.NewIfInfomsg(unix.AF_UNSPEC)
	msg.Index = int32(index)
	req.AddData(msg)
	info := nl.NewRtAttr(unix.IFLA_LINKINFO, nil)
	info.AddRtAttr(nl.IFLA_INFO_KIND, nl.NonZeroTerminated(kind))
	data := info.AddRtAttr(nl.IFLA_INFO_DATA, nil)
	for attribute, value := range attributes {
		data.AddRtAttr(attribute, value)
	}
	req.AddData(info)
	_, err := req.Execute(unix.NETLINK_ROUTE, 0)
	return err
}

// Suppressing returns the indexes of the bridge ports that answer ARP and ND for known neighbours.
func Suppressing() (map[int]bool, error) {
	req := nl.NewNetlinkRequest(unix.RTM_GETLINK, unix.NLM_F_DUMP)
	req.AddData(nl.NewIfInfomsg(unix.AF_BRIDGE))
	messages, err := req.Execute(unix.NETLINK_ROUTE, unix.RTM_NEWLINK)
	if err != nil {
		return nil, fmt.Errorf("list bridge ports: %w", err)
	}
	on := map[int]bool{}
	for _, m := range messages {
		info := nl.DeserializeIfInfomsg(m)
		attrs, err := nl.ParseRouteAttr(m[info.Len():])
		if err != nil {
			return nil, fmt.Errorf("list bridge ports: %w", err)
		}
		for _, a := range attrs {
			if a.Attr.Type != unix.IFLA_PROTINFO|unix.NLA_F_NESTED {
				continue
			}
			flags, err := nl.ParseRouteAttr(a.Value)
			if err != nil {
				return nil, fmt.Errorf("list bridge ports: %w", err)
			}
			for _, f := range flags {
				if f.Attr.Type == nl.IFLA_BRPORT_NEIGH_SUPPRESS && f.Value[0] != 0 {
					on[int(info.Index)] = true
				}
			}
		}
	}
	return on, nil
}

// Suppress has the bridge answer ARP and ND for neighbours behind the port instead of flooding.
func Suppress(port netlink.Link) error {
	if err := netlink.LinkSetBrNeighSuppress(port, true); err != nil {
		return fmt.Errorf("neighbour suppression of %s: %w", port.Attrs().Name, err)
	}
	return nil
}
