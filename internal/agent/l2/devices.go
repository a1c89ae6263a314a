package l2

import (
	"net/netip"
	"strings"
	"time"

	"neutrino/internal/agent/l2/firewall"
	"neutrino/internal/agent/l2/wiring"
	"neutrino/internal/rpc"

	"github.com/cenkalti/backoff/v5"
)

// device is a port's device on this host, and what is still to be done for it.
type device struct {
	name    string
	index   int
	details *rpc.DeviceDetails // nil: the server does not know it, or not here
	groups  []string           // security groups

	fetch  bool // ask the server for the details
	filter bool // ask the server for the security groups
	wire   bool // put into the bridge, or check that it is
	report bool // tell the server when all that is done

	retry     *backoff.ExponentialBackOff
	notBefore time.Time
}

// network is a network with devices here.
type network struct {
	wiring.Network
	devices map[string]bool
	check   bool  // the bridge or the uplink may not be as they should be
	failure error // of this pass
}

func newDevice(name string, index int) *device {
	retry := backoff.NewExponentialBackOff()
	retry.InitialInterval = 200 * time.Millisecond
	retry.MaxInterval = 30 * time.Second
	return &device{name: name, index: index, fetch: true, retry: retry}
}

// ready tells whether the device is not waiting after a failure.
func (d *device) ready(now time.Time) bool { return !now.Before(d.notBefore) }

func (d *device) failed(now time.Time) { d.notBefore = now.Add(d.retry.NextBackOff()) }

func (d *device) succeeded() {
	d.retry.Reset()
	d.notBefore = time.Time{}
}

func (d *device) idle() bool { return !d.fetch && !d.filter && !d.wire && !d.report }

// filtered tells whether security groups apply: neither to ports of services nor where the owner switched them off.
func filtered(d *rpc.DeviceDetails) bool {
	return d.PortSecurity && !strings.HasPrefix(d.DeviceOwner, "network:")
}

func networkOf(d *rpc.DeviceDetails) wiring.Network {
	n := wiring.Network{ID: d.NetworkID, Type: d.NetworkType, MTU: d.MTU}
	if d.SegmentationID != nil {
		n.Segment = *d.SegmentationID
	}
	if d.PhysicalNetwork != nil {
		n.Physical = *d.PhysicalNetwork
	}
	return n
}

// filteredPort translates what the server says of a port's filter. Addresses that cannot be read are left out: the port
// may then not use them.
func filteredPort(device, bridge string, f rpc.FilteredDevice, stateless map[string]bool) firewall.Port {
	p := firewall.Port{Device: device, Bridge: bridge, Mode: firewall.Filtered, MAC: strings.ToLower(f.MACAddress),
		AnyAddress: len(f.FixedIPs) == 0, Groups: f.SecurityGroups}
	for _, ip := range f.FixedIPs {
		if prefix, ok := addressOrPrefix(ip); ok {
			p.Pairs = append(p.Pairs, firewall.Pair{MAC: p.MAC, Prefix: prefix})
		}
	}
	for _, pair := range f.AddressPairs {
		mac := strings.ToLower(pair.MACAddress)
		if mac == "" {
			mac = p.MAC
		}
		if prefix, ok := addressOrPrefix(pair.IPAddress); ok {
			p.Pairs = append(p.Pairs, firewall.Pair{MAC: mac, Prefix: prefix})
		}
	}
	for _, g := range f.SecurityGroups {
		p.Stateless = p.Stateless || stateless[g]
	}
	return p
}

func addressOrPrefix(text string) (netip.Prefix, bool) {
	if a, err := netip.ParseAddr(text); err == nil {
		return netip.PrefixFrom(a, a.BitLen()), true
	}
	p, err := netip.ParsePrefix(text)
	return p.Masked(), err == nil
}
