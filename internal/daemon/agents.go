package daemon

import (
	"context"
	"fmt"
	"io"
	"net/netip"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"neutrino/internal/agent/dhcp"
	"neutrino/internal/agent/l2"
	"neutrino/internal/agent/l2/linuxbridge"
	"neutrino/internal/agent/l2/openvswitch"
	"neutrino/internal/agent/l3"
	"neutrino/internal/agent/metadata"
	"neutrino/internal/agent/metering"
	"neutrino/internal/bus"
	"neutrino/internal/config"
	md "neutrino/internal/metadata"
	"neutrino/internal/notify"
	"neutrino/internal/ra"
)

// Which options of the configuration files make up the configuration of each agent.

// AddL2 adds the L2 agent.
func (d *Daemon) AddL2(t bus.Transport) error {
	f := d.File
	cfg := l2.Config{Host: d.Host, PhysicalInterfaceMappings: config.PhysicalInterfaceMappings.Get(f), BridgeMappings: config.BridgeMappings.Get(f),
		UDPPort: config.UDPDestPort.Get(f), DisableL2Population: !config.L2Population.Get(f), ReportInterval: config.ReportInterval.Get(f),
		DisableFirewall: !config.EnableSecurityGroup.Get(f) || config.FirewallDriver.Get(f) == "noop"}
	if ip := config.LocalIP.Get(f); ip != "" && config.EnableVXLAN.Get(f) {
		addr, err := netip.ParseAddr(ip)
		if err != nil {
			return fmt.Errorf("[vxlan] local_ip: %w", err)
		}
		cfg.LocalIP = addr
		if cfg.Tunnels, err = tunnels(f, addr); err != nil {
			return err
		}
	}
	a := l2.New(cfg, t, d.Logger("agent.l2"))
	d.Check(a.Healthy)
	d.CountWrites("l2", a.Writes)
	d.Go("L2 agent", a.Run)
	return nil
}

// tunnels says how the tunnel packets of Linux bridges look.
func tunnels(f *config.File, local netip.Addr) (linuxbridge.Tunnels, error) {
	t := linuxbridge.Tunnels{TTL: config.VXLANTTL.Get(f), TOS: config.VXLANTOS.Get(f),
		SourcePorts: [2]int{config.UDPSourcePortMin.Get(f), config.UDPSourcePortMax.Get(f)}}
	multicast := func(option, text string) (netip.Prefix, error) {
		if !strings.Contains(text, "/") {
			text += "/" + strconv.Itoa(local.BitLen())
		}
		p, err := netip.ParsePrefix(text)
		if err == nil && (!p.Addr().IsMulticast() || p.Addr().Is4() != local.Is4()) {
			err = fmt.Errorf("%s is no multicast group of the IP version of local_ip", text)
		}
		if err != nil {
			return p, fmt.Errorf("[vxlan] %s: %w", option, err)
		}
		return p, nil
	}
	if config.L2Population.Get(f) {
		return t, nil
	}
	var err error
	if group := config.VXLANGroup.Get(f); group != "" {
		if t.Group, err = multicast("vxlan_group", group); err != nil {
			return t, err
		}
	}
	for _, text := range config.MulticastRanges.Get(f) {
		r, err := multicastRange(text, multicast)
		if err != nil {
			return t, err
		}
		t.MulticastRanges = append(t.MulticastRanges, r)
	}
	return t, nil
}

// multicastRange reads group:first:last. A group of IPv6 has colons of its own.
func multicastRange(text string, multicast func(option, text string) (netip.Prefix, error)) (r linuxbridge.MulticastRange, err error) {
	const option = "multicast_ranges"
	parts := strings.Split(text, ":")
	if len(parts) < 3 {
		return r, fmt.Errorf("[vxlan] %s: %q is not group:first:last", option, text)
	}
	numbers := len(parts) - 2
	group, err := multicast(option, strings.Join(parts[:numbers], ":"))
	if err != nil {
		return r, err
	}
	r.Group = group.Addr()
	var errs [2]error
	r.First, errs[0] = strconv.Atoi(parts[numbers])
	r.Last, errs[1] = strconv.Atoi(parts[numbers+1])
	if errs[0] != nil || errs[1] != nil || r.First > r.Last {
		return r, fmt.Errorf("[vxlan] %s: %q has no range of VNIs", option, text)
	}
	return r, nil
}

// AddOpenVSwitch adds the L2 agent with Open vSwitch.
func (d *Daemon) AddOpenVSwitch(t bus.Transport) error {
	f := d.File
	endpoint := config.OVSDBConnection.Get(f)
	directory := "/var/run/openvswitch"
	if path, ok := strings.CutPrefix(endpoint, "unix:"); ok {
		directory = filepath.Dir(path)
	}
	cfg := l2.Config{Host: d.Host, BridgeMappings: config.OVSBridgeMappings.Get(f), DisableL2Population: !config.OVSL2Population.Get(f),
		ReportInterval: config.ReportInterval.Get(f), DisableFirewall: !config.EnableSecurityGroup.Get(f) || config.FirewallDriver.Get(f) == "noop",
		OpenVSwitch: &openvswitch.Config{Endpoint: endpoint, RunDir: directory, IntegrationBridge: config.OVSIntegrationBridge.Get(f),
			TunnelBridge: config.OVSTunnelBridge.Get(f), PatchToTunnels: config.OVSIntPatchPort.Get(f), PatchFromTunnels: config.OVSTunPatchPort.Get(f),
			DatapathType: config.OVSDatapathType.Get(f), TunnelTypes: config.TunnelTypes.Get(f), VXLANPort: config.VXLANUDPPort.Get(f),
			SkipFragment: !config.DontFragment.Get(f), TunnelChecksum: config.TunnelChecksum.Get(f), ARPResponder: config.OVSARPResponder.Get(f),
			VHostSocketDir: config.OVSVHostSocketDir.Get(f)}}
	if ip := config.OVSLocalIP.Get(f); ip != "" {
		addr, err := netip.ParseAddr(ip)
		if err != nil {
			return fmt.Errorf("[ovs] local_ip: %w", err)
		}
		cfg.LocalIP = addr
	}
	for _, kind := range config.TunnelTypes.Get(f) {
		if kind != "vxlan" && kind != "gre" && kind != "geneve" {
			return fmt.Errorf("[agent] tunnel_types: unknown type %q", kind)
		}
	}
	a := l2.New(cfg, t, d.Logger("agent.l2"))
	d.Check(a.Healthy)
	d.CountWrites("l2", a.Writes)
	d.Go("L2 agent", a.Run)
	return nil
}

// AddDHCP adds the DHCP agent; backend answers metadata requests on isolated networks.
func (d *Daemon) AddDHCP(t bus.Transport, backend md.Backend) error {
	f := d.File
	cfg := dhcp.Defaults()
	cfg.Host, cfg.AvailabilityZone, cfg.Domain = d.Host, config.AvailabilityZone.Get(f), config.DNSDomain.Get(f)
	cfg.LeaseDuration = time.Duration(config.DHCPLeaseDuration.Get(f)) * time.Second
	cfg.RenewalTime = time.Duration(config.DHCPRenewalTime.Get(f)) * time.Second
	cfg.RebindingTime = time.Duration(config.DHCPRebindingTime.Get(f)) * time.Second
	cfg.BroadcastReply, cfg.IsolatedMetadata = config.DHCPBroadcastReply.Get(f), config.EnableIsolatedMetadata.Get(f)
	cfg.ForceMetadata, cfg.MetadataNetwork = config.ForceMetadata.Get(f), config.EnableMetadataNetwork.Get(f)
	cfg.ReportInterval, cfg.Metadata = config.ReportInterval.Get(f), backend
	for _, s := range config.DNSServers.Get(f) {
		addr, err := netip.ParseAddr(s)
		if err != nil {
			return fmt.Errorf("dnsmasq_dns_servers: %w", err)
		}
		cfg.DNSServers = append(cfg.DNSServers, addr)
	}
	a := dhcp.New(cfg, t, d.Logger("agent.dhcp"))
	d.Check(a.Healthy)
	d.CountWrites("dhcp", a.Writes)
	d.Go("DHCP agent", a.Run)
	return nil
}

// AddL3 adds the L3 agent; backend answers metadata requests in routers.
func (d *Daemon) AddL3(t bus.Transport, backend md.Backend) error {
	f := d.File
	cfg := l3.Config{Host: d.Host, AvailabilityZone: config.AvailabilityZone.Get(f), ReportInterval: config.ReportInterval.Get(f),
		MetadataPort:   config.MetadataPort.Get(f),
		CleanUpOnStop:  config.CleanupOnShutdown.Get(f),
		NoInternalOnly: !config.HandleInternalOnlyRouters.Get(f),
		Advertisements: ra.Interval{Min: config.MinRtrAdvInterval.Get(f), Max: config.MaxRtrAdvInterval.Get(f)}}
	if s := config.IPv6Gateway.Get(f); s != "" {
		addr, err := netip.ParseAddr(s)
		if err != nil {
			return fmt.Errorf("ipv6_gateway: %w", err)
		}
		cfg.IPv6Gateway = addr
	}
	var listener l3.MetadataListener
	if config.EnableMetadataProxy.Get(f) {
		listener = routerMetadata{md.NewProxy(backend, d.Logger("metadata"))}
	}
	a := l3.New(cfg, t, d.Logger("agent.l3"), listener)
	d.Check(a.Healthy)
	d.CountWrites("l3", a.Writes)
	d.Go("L3 agent", a.Run)
	return nil
}

// AddMetadata adds the metadata agent. Its backend serves agents in the same process; socket also opens the one for
// agents in others.
func (d *Daemon) AddMetadata(t bus.Transport, socket bool) (md.Backend, error) {
	f := d.File
	cfg := metadata.Config{Host: d.Host, ReportInterval: config.ReportInterval.Get(f), Nova: md.NovaConfig{
		Host: config.NovaMetadataHost.Get(f), Port: config.NovaMetadataPort.Get(f), Protocol: config.NovaMetadataProtocol.Get(f),
		Secret: config.MetadataSharedSecret.Get(f), Insecure: config.NovaMetadataInsecure.Get(f), CAFile: config.NovaMetadataCACert.Get(f),
		CertFile: config.NovaClientCert.Get(f), KeyFile: config.NovaClientKey.Get(f)}}
	if socket {
		cfg.Socket, cfg.SocketMode = config.MetadataProxySocket.Get(f), config.MetadataProxySocketMode.Get(f)
		cfg.ProxyUser, cfg.ProxyGroup = config.MetadataProxyUser.Get(f), config.MetadataProxyGroup.Get(f)
	}
	a, err := metadata.New(cfg, t, d.Logger("agent.metadata"))
	if err != nil {
		return nil, err
	}
	d.Check(a.Healthy)
	d.Go("metadata agent", a.Run)
	return a.Backend(), nil
}

// AddMetering adds the metering agent.
func (d *Daemon) AddMetering(t bus.Transport) error {
	f := d.File
	driver := config.MeteringDriver.Get(f)
	notifications := notify.Config{Drivers: config.NotificationDrivers.Get(f), Topics: config.NotificationTopics.Get(f)}
	if err := notify.CheckDrivers(notifications.Drivers); err != nil {
		return err
	}
	cfg := metering.Config{Host: d.Host, Driver: driver, MeasureInterval: config.MeteringInterval.Get(f), ReportInterval: config.MeteringReportInterval.Get(f),
		Heartbeat: config.ReportInterval.Get(f), Granular: config.GranularTrafficData.Get(f), Notifications: notifications}
	switch driver {
	case "iptables", "neutron.services.metering.drivers.iptables.iptables_driver.IptablesMeteringDriver":
	case "noop", "neutron.services.metering.drivers.noop.noop_driver.NoopMeteringDriver":
		cfg.Off = true
	default:
		return fmt.Errorf("[DEFAULT] driver: %q is not iptables or noop", driver)
	}
	a := metering.New(cfg, t, d.Logger("agent.metering"))
	d.Check(a.Healthy)
	d.CountWrites("metering", a.Writes)
	d.Go("metering agent", a.Run)
	return nil
}

// MetadataSocket is the way to a metadata agent in another process of this host.
func (d *Daemon) MetadataSocket() md.Backend {
	return md.NewSocket(config.MetadataProxySocket.Get(d.File), d.Logger("metadata"))
}

// routerMetadata opens the metadata proxy in router namespaces.
type routerMetadata struct{ proxy *md.Proxy }

func (r routerMetadata) Listen(ctx context.Context, namespace, address, routerID string) (io.Closer, error) {
	return r.proxy.Listen(ctx, namespace, address, md.Source{RouterID: routerID})
}
