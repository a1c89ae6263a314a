package daemon

import (
	"context"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
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
	"neutrino/internal/agent/plug"
	"neutrino/internal/agent/records"
	"neutrino/internal/bus"
	"neutrino/internal/config"
	responder "neutrino/internal/dhcp"
	"neutrino/internal/dns"
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
		DisableFirewall: !config.EnableSecurityGroup.Get(f) || config.FirewallDriver.Get(f) == "noop", PermittedEthertypes: d.permittedEthertypes()}
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

// permittedEthertypes are those that ports may use beside IP and ARP. As upstream, what is not in hexadecimal is left out with a warning.
func (d *Daemon) permittedEthertypes() (all []uint16) {
	for _, text := range config.PermittedEthertypes.Get(d.File) {
		digits, hexadecimal := strings.CutPrefix(strings.ToLower(text), "0x")
		kind, err := strconv.ParseUint(digits, 16, 16)
		if err != nil || !hexadecimal {
			d.Log.Warn("[securitygroup] permitted_ethertypes: not a hexadecimal number of 16 bits", "value", text)
			continue
		}
		all = append(all, uint16(kind))
	}
	slices.Sort(all)
	return slices.Compact(all)
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
		PermittedEthertypes: d.permittedEthertypes(), OpenVSwitch: &openvswitch.Config{Endpoint: endpoint, RunDir: directory, IntegrationBridge: config.OVSIntegrationBridge.Get(f),
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

// interfaceDriver is the option. If no file sets it, it is upstream's default, openvswitch, unless the files name the linuxbridge
// mechanism driver before that of openvswitch, or Open vSwitch is not installed.
func (d *Daemon) interfaceDriver() string {
	if !config.InterfaceDriver.Given(d.File) {
		_, err := exec.LookPath("ovs-vswitchd")
		if FirstMechanism(d.File, "linuxbridge", "openvswitch") || err != nil && !FirstMechanism(d.File, "openvswitch", "linuxbridge") {
			return "linuxbridge"
		}
	}
	return config.InterfaceDriver.Get(d.File)
}

// FirstMechanism tells whether a mechanism driver is configured, and before another one if that is, too.
func FirstMechanism(f *config.File, name, other string) bool {
	drivers := config.MechanismDrivers.Get(f)
	i := slices.Index(drivers, name)
	return i >= 0 && !slices.Contains(drivers[:i], other)
}

// plugDriver is how the agents of services plug their interfaces.
func (d *Daemon) plugDriver() plug.Driver {
	f := d.File
	switch d.interfaceDriver() {
	case "openvswitch", "neutron.agent.linux.interface.OVSInterfaceDriver":
		if !config.OVSUseVeth.Get(f) {
			return plug.NewOpenVSwitch(config.OVSDBConnection.Get(f), config.OVSIntegrationBridge.Get(f), d.Logger("agent.plug"))
		}
	}
	return plug.Pairs{}
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
	cfg.ReportInterval, cfg.Metadata, cfg.MetadataProxy = config.ReportInterval.Get(f), backend, d.metadataProxy()
	cfg.Plug, cfg.Records = d.plugDriver(), records.Dir(config.DHCPConfs.Get(f))
	extra, err := d.dnsmasqFile()
	if err != nil {
		return err
	}
	cfg.Options4, cfg.Options6 = extra.Options4, extra.Options6
	cfg.Resolvers, cfg.Text = d.resolvers(extra.Servers), dns.ParseText(config.DNSTextRecord.Get(f))
	a := dhcp.New(cfg, t, d.Logger("agent.dhcp"))
	d.Check(a.Healthy)
	d.CountWrites("dhcp", a.Writes)
	d.Go("DHCP agent", a.Run)
	return nil
}

// dnsmasqFile reads the file that upstream's agent gives dnsmasq.
func (d *Daemon) dnsmasqFile() (out responder.DnsmasqFile, err error) {
	path := strings.TrimSpace(config.DnsmasqConfigFile.Get(d.File))
	if path == "" {
		return out, nil
	}
	f, err := os.Open(path)
	if err != nil {
		return out, fmt.Errorf("dnsmasq_config_file: %w", err)
	}
	defer f.Close()
	if out, err = responder.NewParser().ReadDnsmasqFile(f); err != nil {
		return out, fmt.Errorf("dnsmasq_config_file: %w", err)
	}
	for _, line := range out.Unused {
		d.Log.Warn("dnsmasq_config_file: a line has no effect, since DHCP is served by the agent itself", "line", line)
	}
	return out, nil
}

// resolvers are those that DHCP ports forward questions to: the configured ones, or else if asked for those of this host.
// dnsmasq also takes "/domain/address", which is left out with a warning.
func (d *Daemon) resolvers(more []string) []netip.AddrPort {
	var out []netip.AddrPort
	for _, s := range slices.Concat(config.DNSServers.Get(d.File), more) {
		if to, err := dns.ParseResolver(s); err != nil {
			d.Log.Warn("a DNS server is not used", "server", s, "error", err)
		} else {
			out = append(out, to)
		}
	}
	if len(out) > 0 || !config.DNSLocalResolv.Get(d.File) {
		return out
	}
	out, err := dns.HostResolvers("/etc/resolv.conf")
	if err != nil {
		d.Log.Warn("dnsmasq_local_resolv: names are not forwarded", "error", err)
	}
	return out
}

// metadataProxy bounds what instances may do to the metadata proxies.
func (d *Daemon) metadataProxy() md.ProxyConfig {
	f := d.File
	cfg := md.ProxyConfig{Client: config.MetadataClientTimeout.Get(f), Server: config.MetadataServerTimeout.Get(f),
		HTTPRequest: config.MetadataRequestTimeout.Get(f), KeepAlive: config.MetadataKeepAlive.Get(f)}
	versions := config.MetadataLimitVersions.Get(f)
	switch {
	case !config.MetadataLimit.Get(f):
	case len(versions) != 1 || versions[0] != "4" && versions[0] != "6":
		d.Log.Warn("metadata requests are not limited: [metadata_rate_limiting] ip_versions must be 4 or 6", "ip_versions", versions)
	default:
		cfg.Limit = md.RateLimit{BaseWindow: config.MetadataBaseWindow.Get(f), Base: config.MetadataBaseLimit.Get(f),
			BurstWindow: config.MetadataBurstWindow.Get(f), Burst: config.MetadataBurstLimit.Get(f), IPv6: versions[0] == "6"}
	}
	return cfg
}

// AddL3 adds the L3 agent; backend answers metadata requests in routers.
func (d *Daemon) AddL3(t bus.Transport, backend md.Backend) error {
	f := d.File
	cfg := l3.Config{Host: d.Host, AvailabilityZone: config.AvailabilityZone.Get(f), ReportInterval: config.ReportInterval.Get(f),
		MetadataPort:    config.MetadataPort.Get(f),
		InterfaceDriver: d.interfaceDriver(), Plug: d.plugDriver(), Records: records.Dir(config.RAConfs.Get(f)),
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
		listener = routerMetadata{md.NewProxy(backend, d.metadataProxy(), d.Logger("metadata"))}
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
