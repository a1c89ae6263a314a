package l3

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"neutrino/internal/linux/netns"
)

// sysctl is a key under /proc/sys and its value.
type sysctl struct{ key, value string }

// namespaceSysctls are upstream's (neutron/agent/l3/namespaces.py), and: no reverse path filter, because answers may come
// in by another interface; the other addresses of a subnet stay when the first one is removed; link-local addresses are
// set by us and not by the kernel, which would try them for a second.
var namespaceSysctls = []sysctl{
	{"net/ipv4/ip_forward", "1"},
	{"net/ipv4/conf/all/rp_filter", "0"},
	{"net/ipv4/conf/default/rp_filter", "0"},
	{"net/ipv4/conf/all/promote_secondaries", "1"},
	{"net/ipv4/conf/all/arp_ignore", "1"},
	{"net/ipv4/conf/all/arp_announce", "2"},
	{"net/ipv6/conf/all/forwarding", "1"},
	{"net/ipv6/conf/default/addr_gen_mode", "1"},
	{"net/netfilter/nf_conntrack_tcp_be_liberal", "1"},
}

func interfaceSysctls(interfaces []Interface) (out []sysctl) {
	for _, i := range interfaces {
		acceptRA := "0"
		if i.AcceptRA {
			acceptRA = "2" // although forwarding is on
		}
		out = append(out,
			sysctl{"net/ipv4/conf/" + i.Name + "/forwarding", "1"},
			sysctl{"net/ipv4/conf/" + i.Name + "/rp_filter", "0"},
			sysctl{"net/ipv6/conf/" + i.Name + "/forwarding", "1"},
			sysctl{"net/ipv6/conf/" + i.Name + "/accept_ra", acceptRA})
	}
	return out
}

// setSysctls writes the values that differ. A key that the kernel does not have is passed over: IPv6 may be switched
// off, and connection tracking be loaded later.
func (r *router) setSysctls(wanted []sysctl) error {
	return netns.Do(r.namespace, func() error {
		for _, s := range wanted {
			path := "/proc/sys/" + s.key
			have, err := os.ReadFile(path)
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err != nil {
				return fmt.Errorf("sysctl: %w", err)
			}
			if strings.TrimSpace(string(have)) == s.value {
				continue
			}
			r.changed("%s = %s", s.key, s.value)
			if err := os.WriteFile(path, []byte(s.value), 0); err != nil {
				return fmt.Errorf("sysctl: %w", err)
			}
		}
		return nil
	})
}
