package lab

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Lease is what a DHCP server gave.
type Lease struct {
	Address netip.Prefix
	Router  netip.Addr
	Server  netip.Addr
	DNS     []string
	MTU     int
	Time    time.Duration
	Options map[string]string // everything, under the names of the client
}

// The clients call a script with the lease in the environment. These configure the interface as an ordinary guest
// does, print the environment, and keep off resolv.conf, which is the real machine's.
const udhcpcScript = `#!/bin/sh
[ "$1" = bound ] || exit 0
set -e
ip addr replace "$ip/$mask" dev "$interface"
[ -z "$mtu" ] || ip link set "$interface" mtu "$mtu"
if [ -n "$staticroutes" ]; then # RFC 3442: then the router option does not count
	set -- $staticroutes
	while [ $# -ge 2 ]; do
		if [ "$2" = 0.0.0.0 ]; then ip route replace "$1" dev "$interface"
		else ip route replace "$1" via "$2" dev "$interface"; fi
		shift 2
	done
elif [ -n "$router" ]; then
	ip route replace default via ${router%% *} dev "$interface"
fi
env
`

const dhclientScript = `#!/bin/sh
case "$reason" in
BOUND6) ip -6 addr replace "$new_ip6_address/$new_ip6_prefixlen" dev "$interface"; env ;;
esac
`

func (l *Lab) script(name, text string) string {
	l.T.Helper()
	path := filepath.Join(l.Dir, name)
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, err := os.Stat(path); err == nil { // perhaps another client runs it, and then it cannot be written
		return path
	}
	if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
		l.T.Fatalf("%v", err)
	}
	return path
}

// DHCP runs a DHCP client on eth0, which configures the interface, and returns the lease. It tries for about 20 s.
func (n *Node) DHCP() (Lease, error) {
	script := n.lab.script("udhcpc", udhcpcScript)
	out, err := n.Exec("udhcpc", "-f", "-q", "-n", "-t", "20", "-T", fmt.Sprint(int(patient(time.Second).Seconds())), "-i", "eth0", "-s", script,
		"-O", "mtu", "-O", "staticroutes", "-O", "search")
	if err != nil {
		return Lease{}, err
	}
	return parseLease(environment(out))
}

func environment(text string) map[string]string {
	vars := map[string]string{}
	for line := range strings.Lines(text) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok {
			vars[name] = value
		}
	}
	return vars
}

func parseLease(vars map[string]string) (Lease, error) {
	lease := Lease{Options: vars, DNS: strings.Fields(vars["dns"])}
	var err error
	if lease.Address, err = netip.ParsePrefix(vars["ip"] + "/" + vars["mask"]); err != nil {
		return lease, fmt.Errorf("no address in the lease: %w", err)
	}
	router, _, _ := strings.Cut(vars["router"], " ")
	lease.Router, _ = netip.ParseAddr(router)
	lease.Server, _ = netip.ParseAddr(vars["serverid"])
	lease.MTU, _ = strconv.Atoi(vars["mtu"])
	seconds, _ := strconv.Atoi(vars["lease"])
	lease.Time = time.Duration(seconds) * time.Second
	return lease, nil
}

// DHCP6 asks for an address by stateful DHCPv6 on eth0, configures it, and returns it with everything the server said.
func (n *Node) DHCP6() (netip.Addr, map[string]string, error) {
	script := n.lab.script("dhclient", dhclientScript)
	state := filepath.Join(n.lab.Dir, n.Name+"-dhclient")
	out, err := n.Exec("timeout", "50", "dhclient", "-6", "-1", "-sf", script,
		"-lf", state+".leases", "-pf", state+".pid", "eth0")
	if err != nil {
		return netip.Addr{}, nil, err
	}
	vars := environment(out)
	address, err := netip.ParseAddr(vars["new_ip6_address"])
	if err != nil {
		return netip.Addr{}, nil, fmt.Errorf("no address in the lease: %w", err)
	}
	return address, vars, nil
}

// SLAAC waits until eth0 has a global IPv6 address that is ready for use.
func (n *Node) SLAAC(within time.Duration) (address netip.Addr, err error) {
	err = Eventually(within, func() error {
		address, err = n.globalAddress6()
		return err
	})
	return address, err
}

func (n *Node) globalAddress6() (netip.Addr, error) {
	out, err := n.Exec("ip", "-6", "-j", "addr", "show", "dev", "eth0", "scope", "global")
	if err != nil {
		return netip.Addr{}, err
	}
	var links []struct {
		Addresses []struct {
			Local     netip.Addr `json:"local"`
			Tentative bool       `json:"tentative"`
		} `json:"addr_info"`
	}
	if err := json.Unmarshal([]byte(out), &links); err != nil {
		return netip.Addr{}, fmt.Errorf("addresses of %s: %w", n.Name, err)
	}
	for _, link := range links {
		for _, a := range link.Addresses {
			if a.Local.IsValid() && !a.Tentative {
				return a.Local, nil
			}
		}
	}
	return netip.Addr{}, fmt.Errorf("%s has no global IPv6 address", n.Name)
}
