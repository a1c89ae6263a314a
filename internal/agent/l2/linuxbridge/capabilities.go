package linuxbridge

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"os/exec"
	"time"

	"neutrino/internal/linux/bpf"
	"neutrino/internal/linux/nft"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Capabilities is what the kernel can do.
type Capabilities struct {
	BridgeConntrack bool // nftables' ct in the bridge family
	BridgeNetfilter bool // br_netfilter, which the firewall needs
	VLAN            bool // 8021q
	BPF             bool // programs at devices: in place of 8021q, and for announcements through tunnels
	VXLAN           bool
}

// Probe asks the kernel. It may load modules and changes nothing else.
func Probe(ctx context.Context) Capabilities {
	const scratch = "table bridge neutrino_probe {\nchain probe {\ntype filter hook forward priority 0\nct state new accept\n}\n}\n"
	return Capabilities{
		BridgeConntrack: nft.Check(ctx, scratch) == nil,
		BridgeNetfilter: bridgeNetfilter(ctx),
		VLAN:            linkKind("vlan"),
		BPF:             bpf.Supported(),
		VXLAN:           linkKind("vxlan"),
	}
}

// Log writes the table of capabilities.
func (c Capabilities) Log(log *slog.Logger) {
	log.Info("kernel capabilities", "bridge_conntrack", c.BridgeConntrack, "br_netfilter", c.BridgeNetfilter,
		"8021q", c.VLAN, "bpf", c.BPF, "vxlan", c.VXLAN)
}

func bridgeNetfilter(ctx context.Context) bool {
	const key = "/proc/sys/net/bridge/bridge-nf-call-iptables"
	if _, err := os.Stat(key); err == nil {
		return true
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	_ = exec.CommandContext(ctx, "modprobe", "br_netfilter").Run() // what counts is whether the key is there now
	_, err := os.Stat(key)
	return err == nil
}

// linkKind asks for a device without any of the attributes that its kind needs: kernels that have the kind complain
// about these, others about the kind. No device is made either way.
func linkKind(kind string) bool {
	req := nl.NewNetlinkRequest(unix.RTM_NEWLINK, unix.NLM_F_CREATE|unix.NLM_F_EXCL|unix.NLM_F_ACK)
	req.AddData(nl.NewIfInfomsg(unix.AF_UNSPEC))
	info := nl.NewRtAttr(unix.IFLA_LINKINFO, nil)
	info.AddRtAttr(nl.IFLA_INFO_KIND, nl.NonZeroTerminated(kind))
	req.AddData(info)
	_, err := req.Execute(unix.NETLINK_ROUTE, 0)
	return err != nil && !errors.Is(err, unix.EOPNOTSUPP)
}
