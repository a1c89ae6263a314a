package linuxbridge

import (
	"strings"

	"github.com/vishvananda/netlink"
)

// Cleanup removes the bridges that have no ports, ours and those of upstream's agent, and returns their names. It must
// not run while Nova plugs: a bridge that Nova has just made looks the same (upstream's neutron-linuxbridge-cleanup).
func (d *Driver) Cleanup() (removed []string, err error) {
	bridges := d.links.Select(func(l netlink.Link) bool { return l.Type() == "bridge" && ours(l.Attrs().Name) })
	for _, br := range bridges {
		name, ports := br.Attrs().Name, d.ports(br)
		var uplink netlink.Link
		switch {
		case len(ports) == 0:
		case len(ports) == 1 && d.ownUplink(ports[0]):
			uplink = ports[0]
		default:
			for _, p := range ports {
				if port := p.Attrs().Name; !strings.HasPrefix(port, "tap") && !d.ownUplink(p) {
					d.log.Warn("bridge stays: it has a device of somebody else", "bridge", name, "device", port)
				}
			}
			continue
		}
		if err := d.dismantle(br, uplink); err != nil {
			return removed, err
		}
		removed = append(removed, name)
	}
	return removed, nil
}
