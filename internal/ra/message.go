// Package ra sends router advertisements: RFC 4861 section 6.2, with routes (RFC 4191) and name servers (RFC 8106).
// What is advertised is what upstream writes into radvd.conf (neutron/agent/linux/ra.py).
package ra

import (
	"cmp"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/mdlayher/ndp"
)

// Values of a subnet's ipv6_ra_mode.
const (
	SLAAC     = "slaac"
	Stateful  = "dhcpv6-stateful"
	Stateless = "dhcpv6-stateless"
)

// Interval is the shortest and the longest time between unsolicited advertisements (upstream's min_rtr_adv_interval and
// max_rtr_adv_interval). Lifetimes follow from the longest, as radvd's defaults do, which upstream relies on.
type Interval struct{ Min, Max time.Duration }

// DefaultInterval is upstream's.
var DefaultInterval = Interval{30 * time.Second, 100 * time.Second}

func (i Interval) routerLifetime() time.Duration { return min(3*i.Max, maxRouterLifetime) }
func (i Interval) routeLifetime() time.Duration  { return 3 * i.Max }
func (i Interval) dnsLifetime() time.Duration    { return 2 * i.Max }

// maxRouterLifetime is the longest that RFC 4861 section 6.2.1 allows.
const maxRouterLifetime = 9000 * time.Second

// Lifetimes of prefixes are radvd's defaults.
const (
	validLifetime     = 24 * time.Hour
	preferredLifetime = 4 * time.Hour
)

const (
	maxNameServers = 3    // upstream's MAX_RDNSS_ENTRIES
	minLinkMTU     = 1280 // RFC 8200 section 5; a smaller MTU must not be advertised
)

// metadataRoute leads instances to the IPv6 metadata address by the router.
var metadataRoute = netip.MustParsePrefix("fe80::a9fe:a9fe/128")

// Subnet is what matters of an IPv6 subnet.
type Subnet struct {
	Prefix      netip.Prefix
	Mode        string // ipv6_ra_mode; "" = the router advertises itself, and not this prefix
	NameServers []netip.Addr
}

// Prefix is an on-link prefix.
type Prefix struct {
	Prefix     netip.Prefix
	Autonomous bool // hosts make themselves addresses from it
}

// Config is what is advertised on one link. The zero value advertises nothing.
type Config struct {
	Interval    Interval
	MTU         int
	Managed     bool // hosts get addresses by DHCPv6
	Other       bool // hosts get other settings by DHCPv6
	Prefixes    []Prefix
	NameServers []netip.Addr
}

// ForSubnets makes the Config of a link with these subnets; without subnets it advertises nothing.
func ForSubnets(mtu int, every Interval, subnets []Subnet) Config {
	if len(subnets) == 0 {
		return Config{}
	}
	c := Config{Interval: every, MTU: mtu}
	for _, s := range subnets {
		switch s.Mode {
		case SLAAC:
			// Only these hosts have no DHCPv6 to learn name servers from.
			c.NameServers = append(c.NameServers, s.NameServers...)
		case Stateless:
			c.Other = true
		case Stateful:
			c.Managed = true
		default:
			continue
		}
		c.Prefixes = append(c.Prefixes, Prefix{s.Prefix.Masked(), s.Mode != Stateful})
	}
	slices.SortFunc(c.Prefixes, func(a, b Prefix) int {
		return cmp.Or(a.Prefix.Addr().Compare(b.Prefix.Addr()), a.Prefix.Bits()-b.Prefix.Bits())
	})
	c.NameServers = slices.DeleteFunc(c.NameServers, netip.Addr.Is4)
	c.NameServers = c.NameServers[:min(len(c.NameServers), maxNameServers)]
	return c
}

// Empty tells whether there is nothing to advertise.
func (c Config) Empty() bool { return c.Interval.Max == 0 }

// Equal tells whether both advertise the same.
func (c Config) Equal(o Config) bool {
	return c.Interval == o.Interval && c.MTU == o.MTU && c.Managed == o.Managed && c.Other == o.Other &&
		slices.Equal(c.Prefixes, o.Prefixes) && slices.Equal(c.NameServers, o.NameServers)
}

// Message makes the advertisement of a router with this link-layer address.
func (c Config) Message(mac net.HardwareAddr) *ndp.RouterAdvertisement {
	m := &ndp.RouterAdvertisement{
		CurrentHopLimit:      64,
		ManagedConfiguration: c.Managed,
		OtherConfiguration:   c.Other,
		RouterLifetime:       c.Interval.routerLifetime(),
		Options:              []ndp.Option{&ndp.LinkLayerAddress{Direction: ndp.Source, Addr: mac}},
	}
	if c.MTU >= minLinkMTU {
		m.Options = append(m.Options, ndp.NewMTU(uint32(c.MTU)))
	}
	for _, p := range c.Prefixes {
		m.Options = append(m.Options, &ndp.PrefixInformation{
			Prefix: p.Prefix.Addr(), PrefixLength: uint8(p.Prefix.Bits()),
			OnLink: true, AutonomousAddressConfiguration: p.Autonomous,
			ValidLifetime: validLifetime, PreferredLifetime: preferredLifetime,
		})
	}
	if len(c.NameServers) > 0 {
		m.Options = append(m.Options, &ndp.RecursiveDNSServer{Lifetime: c.Interval.dnsLifetime(), Servers: c.NameServers})
	}
	m.Options = append(m.Options, &ndp.RouteInformation{
		Prefix: metadataRoute.Addr(), PrefixLength: uint8(metadataRoute.Bits()), RouteLifetime: c.Interval.routeLifetime()})
	return m
}

// farewell takes back what Message said: hosts drop the router, its routes and name servers at once and keep their
// addresses (RFC 4861 section 6.2.5).
func (c Config) farewell(mac net.HardwareAddr) *ndp.RouterAdvertisement {
	m := c.Message(mac)
	m.RouterLifetime = 0
	for _, o := range m.Options {
		switch o := o.(type) {
		case *ndp.RouteInformation:
			o.RouteLifetime = 0
		case *ndp.RecursiveDNSServer:
			o.Lifetime = 0
		}
	}
	return m
}
