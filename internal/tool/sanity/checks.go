package sanity

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"slices"
	"time"

	"neutrino/internal/linux/bpf"
	"neutrino/internal/linux/nft"
	"neutrino/internal/ovs"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// probe is what the checks share.
type probe struct {
	ctx     context.Context
	cfg     Config
	scratch error // why there is no namespace to try in

	tried  bool
	db     *ovs.DB
	state  *ovs.State
	reason error // why Open vSwitch does not answer
	links  int
}

func (p *probe) close() {
	if p.db != nil {
		p.db.Close()
	}
}

// Checks are all, in the order of the table.
func Checks() []Check {
	return []Check{
		{"network namespaces", []string{"read_netns"}, "no agent can work; run it as root", true, func(p *probe) error { return p.scratch }},
		{"veth pairs", nil, "no DHCP, no routers", true, link("veth")},
		{"bridges", nil, "no Linux bridge agent", false, link("bridge")},
		{"IPv6", []string{"ip6tables_installed"}, "no IPv6", false, exists("/proc/sys/net/ipv6")},
		{"nftables: filters", nil, "no security groups, no routers", true, script("table inet x { set s { type ipv4_addr . inet_service; flags interval; }\n" +
			"chain c { type filter hook forward priority 0; ip saddr . tcp dport @s counter accept\n\n}\n}")},
		{"nftables: address translation", nil, "no routers with NAT, no floating IPs", true, script("table ip x { map m { type ipv4_addr : ipv4_addr; }\n" +
			"chain a { type nat hook prerouting priority -100; dnat to ip daddr map @m\n}\nchain b { type nat hook postrouting priority 100; iifname \"a*\" masquerade fully-random\n\n}\n}")},
		{"nftables: counters", nil, "no metering", false, script("table inet x { counter k {}\nchain c { type filter hook forward priority 0; counter name k\n\n}\n}")},
		{"nftables: bridge family", nil, "no security groups with Linux bridges", false,
			script("table bridge x { chain c { type filter hook forward priority 0; iifname \"a\" drop\n\n}\n}")},
		{"connection tracking", []string{"conntrack_installed"}, "no stateful security groups, no NAT", true, conntrack},
		{"connection tracking in bridges", nil, "no difference: br_netfilter is used", false,
			script("table bridge x { chain c { type filter hook forward priority 0; ct state new accept\n\n}\n}")},
		{"br_netfilter", []string{"bridge_firewalling"}, "no security groups with Linux bridges", false, bridgeNetfilter},
		{"VXLAN devices", []string{"iproute2_vxlan"}, "no VXLAN networks with Linux bridges", false, link("vxlan")},
		{"VLAN devices (8021q)", nil, "VLANs of Linux bridges are made by BPF", false, link("vlan")},
		{"answers of bridges to ARP (neigh_suppress)", nil, "ARP requests are flooded to all hosts of a network", false, suppress},
		{"tc: programs (BPF)", nil, "moved addresses are not announced through VXLAN of Linux bridges, and no VLANs without 8021q", false, func(*probe) error {
			if !bpf.Supported() {
				return errors.New("the kernel takes no programs")
			}
			return nil
		}},
		{"tc: hierarchical token bucket", nil, "no bandwidth limits for what leaves", false, qdisc("htb")},
		{"tc: ingress and clsact", nil, "no bandwidth limits for what comes in", false, qdisc("clsact")},
		{"ip_nonlocal_bind of namespaces", []string{"ip_nonlocal_bind"}, "no highly available routers", false, exists("/proc/sys/net/ipv4/ip_nonlocal_bind")},
		{"tun devices", nil, "no virtual machines on this host", false, exists("/dev/net/tun")},
		{"Open vSwitch: database", []string{"ovsdb_native"}, "no Open vSwitch agent", false, (*probe).openvswitch},
		{"Open vSwitch: ovs-ofctl", nil, "no Open vSwitch agent", false, program("ovs-ofctl")},
		{"Open vSwitch: kernel datapath", nil, "only datapath_type = netdev, which is slower and moves no devices into namespaces", false, kernelDatapath},
		{"Open vSwitch: patch ports", []string{"ovs_patch"}, "no provider and no tunnel networks", false, iface("patch")},
		{"Open vSwitch: VXLAN", []string{"ovs_vxlan"}, "no vxlan networks", false, iface("vxlan")},
		{"Open vSwitch: GRE", nil, "no gre networks", false, iface("gre")},
		{"Open vSwitch: Geneve", []string{"ovs_geneve"}, "no geneve networks", false, iface("geneve")},
		{"Open vSwitch: flows for ARP and ND", []string{"arp_responder", "arp_header_match", "icmpv6_header_match"}, "arp_responder does not work", false, (*probe).openvswitch},
		{"Open vSwitch: connection tracking", []string{"ovs_conntrack"}, "no security groups", false, (*probe).openvswitch},
	}
}

// Obsolete are options of neutron-sanity-check about programs that Neutrino does not use.
var Obsolete = []string{"dnsmasq_local_service_supported", "ovs_qos_direct_port_supported", "dnsmasq_version", "gre_conntrack", "ebtables_installed",
	"keepalived_ipv6_support", "keepalived_garp_on_sighup_support", "ipset_installed", "dhcp_release6", "check_min_tx_rate_support",
	"ovn_nb_db_schema_port_group_support", "ovn_nb_db_schema_stateless_nat_support", "ovn_sb_db_schema_virtual_port_support",
	"ovn_localnet_learn_fdb_support", "ovn_sb_db_schema_chassis_private_support"}

// link tries to make a device of a kind, in the scratch namespace.
func link(kind string) func(*probe) error {
	return func(p *probe) error {
		if p.scratch != nil {
			return p.scratch
		}
		_, err := p.add(kind)
		return err
	}
}

func (p *probe) add(kind string) (netlink.Link, error) {
	attrs := netlink.NewLinkAttrs()
	p.links++
	attrs.Name = fmt.Sprintf("try%d", p.links)
	var l netlink.Link
	switch kind {
	case "veth":
		l = &netlink.Veth{LinkAttrs: attrs, PeerName: attrs.Name + "p"}
	case "bridge":
		l = &netlink.Bridge{LinkAttrs: attrs}
	case "vxlan":
		l = &netlink.Vxlan{LinkAttrs: attrs, VxlanId: 1, Port: 4789, Learning: false}
	case "vlan":
		parent, err := p.add("veth")
		if err != nil {
			return nil, err
		}
		attrs.ParentIndex = parent.Attrs().Index
		l = &netlink.Vlan{LinkAttrs: attrs, VlanId: 5}
	default:
		return nil, fmt.Errorf("no kind %q", kind)
	}
	if err := netlink.LinkAdd(l); err != nil {
		return nil, fmt.Errorf("device of kind %s: %w", kind, err)
	}
	return l, nil
}

// script has the kernel take a table of nft.
func script(text string) func(*probe) error {
	return func(p *probe) error {
		if p.scratch != nil {
			return p.scratch
		}
		return nft.Run(p.ctx, "flush ruleset\n"+text+"\n")
	}
}

func exists(path string) func(*probe) error {
	return func(*probe) error { _, err := os.Stat(path); return err }
}

func program(name string) func(*probe) error {
	return func(*probe) error { _, err := exec.LookPath(name); return err }
}

func conntrack(p *probe) error {
	if p.scratch != nil {
		return p.scratch
	}
	if _, err := netlink.ConntrackTableList(netlink.ConntrackTable, unix.AF_INET); err != nil {
		return err
	}
	return script("table inet x { chain c { type filter hook forward priority 0; ct state established accept\n\n}\n}")(p)
}

func bridgeNetfilter(p *probe) error {
	ctx, cancel := context.WithTimeout(p.ctx, 10*time.Second)
	defer cancel()
	_ = exec.CommandContext(ctx, "modprobe", "br_netfilter").Run() // what counts is whether the key is there now
	return exists("/proc/sys/net/bridge/bridge-nf-call-iptables")(p)
}

func suppress(p *probe) error {
	if p.scratch != nil {
		return p.scratch
	}
	br, err := p.add("bridge")
	if err != nil {
		return err
	}
	port, err := p.add("veth")
	if err != nil {
		return err
	}
	return errors.Join(netlink.LinkSetMaster(port, br), netlink.LinkSetBrNeighSuppress(port, true))
}

func qdisc(kind string) func(*probe) error {
	return func(p *probe) error {
		if p.scratch != nil {
			return p.scratch
		}
		l, err := p.add("veth")
		if err != nil {
			return err
		}
		attrs := netlink.QdiscAttrs{LinkIndex: l.Attrs().Index, Handle: netlink.MakeHandle(1, 0), Parent: netlink.HANDLE_ROOT}
		if kind == "clsact" {
			attrs.Handle, attrs.Parent = netlink.MakeHandle(0xffff, 0), netlink.HANDLE_CLSACT
			return netlink.QdiscAdd(&netlink.GenericQdisc{QdiscAttrs: attrs, QdiscType: kind})
		}
		return netlink.QdiscAdd(netlink.NewHtb(attrs))
	}
}

// openvswitch connects to the database once.
func (p *probe) openvswitch() error {
	if p.tried {
		return p.reason
	}
	p.tried = true
	if p.cfg.OVSDB == "" {
		p.reason = errors.New("ovsdb_connection is not set")
		return p.reason
	}
	ctx, cancel := context.WithTimeout(p.ctx, 3*time.Second)
	defer cancel()
	if p.db, p.reason = ovs.Open(ctx, p.cfg.OVSDB, func() {}, slog.New(slog.DiscardHandler)); p.reason != nil {
		return p.reason
	}
	p.state, p.reason = p.db.State(ctx)
	return p.reason
}

// iface asks whether Open vSwitch knows interfaces of a type.
func iface(kind string) func(*probe) error {
	return func(p *probe) error {
		if err := p.openvswitch(); err != nil {
			return err
		}
		if !slices.Contains(p.state.System.IfaceTypes, kind) {
			return fmt.Errorf("ovs-vswitchd knows no interfaces of type %s", kind)
		}
		return nil
	}
}

func kernelDatapath(*probe) error {
	if _, err := netlink.GenlFamilyGet("ovs_datapath"); err != nil {
		return fmt.Errorf("kernel module openvswitch: %w", err)
	}
	return nil
}
