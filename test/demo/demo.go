package main

import (
	"fmt"
	"maps"
	"net"
	"net/netip"
	"os"
	"strings"
	"time"

	"neutrino/test/lab"
)

// scene is what the steps of the demo hand on to each other.
type scene struct {
	*story
	cloud  *lab.Cloud
	api    *lab.API
	before []string // the host's kernel before anything was created

	public, publicSubnet        lab.Object
	network, subnet4, subnet6   lab.Object
	router, group, floating     lab.Object
	icmpRules                   []lab.Object
	web, db                     *lab.Instance
	webIP6, dbIP6, gateway, fip netip.Addr
	ssh                         net.Conn // from the internet to web
}

// demo is the story.
func demo(s *story, l *lab.Lab, binary string, keep bool) {
	d := &scene{story: s}
	s.step("start Neutrino", func() string { return d.start(l, binary) })
	s.step("external network", d.createPublic)
	s.step("tenant network", d.createTenant)
	s.step("router", d.createRouter)
	s.step("security group", d.createGroup)
	s.step("instance web", func() string { return d.boot("web", &d.web) })
	s.step("instance db", func() string { return d.boot("db", &d.db) })
	s.check("IPv6 by router advertisement", d.slaac)
	s.check("web pings db", d.pingInside)
	s.check("SNAT", d.sourceNAT)
	s.check("metadata", d.metadata)
	s.check("floating IP", d.floatingIP)
	s.check("spoofed source", d.spoof)
	s.check("rogue DHCP server", d.rogueDHCP)
	s.check("security group shuts pings off", d.shutOff)
	if keep {
		s.kept = d.keep
		return
	}
	s.step("delete everything", d.deleteAll)
	s.check("the host is as before", d.hostAsBefore)
	s.check("stop Neutrino", d.stop)
}

func (d *scene) start(l *lab.Lab, binary string) string {
	d.cloud = l.AllInOne(binary)
	d.api = d.cloud.API
	d.before = d.devices()
	return fmt.Sprintf("Neutrino runs, server and agents in one process: %s resident", d.memory())
}

func (d *scene) memory() string {
	pid := d.cloud.Network.Daemons["all-in-one"].Pid()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	d.must(err)
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			var kB int
			_, err := fmt.Sscan(value, &kB)
			d.must(err)
			return fmt.Sprintf("%d MB", kB/1024)
		}
	}
	return "unknown"
}

func (d *scene) createPublic() string {
	d.public = d.api.Create("networks", lab.Object{"name": "public", "router:external": true,
		"provider:network_type": "flat", "provider:physical_network": "public"})
	d.publicSubnet = d.api.Create("subnets", lab.Object{"network_id": d.public.ID(), "ip_version": 4,
		"cidr": lab.PublicCIDR, "gateway_ip": lab.InternetIP.String(), "enable_dhcp": false})
	return fmt.Sprintf("external network public, flat on ext0: %s, the internet is %s", lab.PublicCIDR, lab.InternetIP)
}

func (d *scene) createTenant() string {
	d.network = d.api.Create("networks", lab.Object{"name": "shop"})
	d.subnet4 = d.api.Create("subnets", lab.Object{"network_id": d.network.ID(), "ip_version": 4,
		"cidr": "10.37.0.0/24", "dns_nameservers": []string{"9.9.9.9"}})
	d.subnet6 = d.api.Create("subnets", lab.Object{"network_id": d.network.ID(), "ip_version": 6,
		"cidr": "fd37::/64", "ipv6_ra_mode": "slaac", "ipv6_address_mode": "slaac"})
	network := d.api.Show("networks", d.network.ID())
	return fmt.Sprintf("network shop: %v %v, mtu %v, 10.37.0.0/24 and fd37::/64", network["provider:network_type"],
		network["provider:segmentation_id"], network["mtu"])
}

func (d *scene) createRouter() string {
	d.router = d.api.Create("routers", lab.Object{"name": "edge",
		"external_gateway_info": lab.Object{"network_id": d.public.ID()}})
	for _, subnet := range []lab.Object{d.subnet4, d.subnet6} {
		d.api.Action("routers", d.router.ID(), "add_router_interface", lab.Object{"subnet_id": subnet.ID()})
	}
	router := d.api.Show("routers", d.router.ID())
	for _, fixed := range router.Object("external_gateway_info").Objects("external_fixed_ips") {
		d.gateway, _ = netip.ParseAddr(fixed.Str("ip_address"))
	}
	_, err := d.cloud.Internet.Reach(d.gateway, 10*time.Second)
	d.must(err)
	return fmt.Sprintf("router edge joins shop and public; its gateway address %s answers the internet", d.gateway)
}

func (d *scene) createGroup() string {
	d.group = d.api.Create("security-groups", lab.Object{"name": "shop"})
	d.allow("IPv4", "tcp", lab.Object{"port_range_min": 22, "port_range_max": 22})
	d.allowPings()
	return "security group shop lets in ssh and pings"
}

// allow makes a rule for traffic into the instances.
func (d *scene) allow(ethertype, protocol string, more lab.Object) lab.Object {
	rule := lab.Object{"security_group_id": d.group.ID(), "direction": "ingress", "ethertype": ethertype, "protocol": protocol}
	maps.Copy(rule, more)
	return d.api.Create("security-group-rules", rule)
}

func (d *scene) allowPings() {
	d.icmpRules = []lab.Object{d.allow("IPv4", "icmp", nil), d.allow("IPv6", "ipv6-icmp", nil)}
}

func (d *scene) boot(name string, instance **lab.Instance) string {
	port := d.api.Create("ports", lab.Object{"network_id": d.network.ID(), "name": name,
		"security_groups": []string{d.group.ID()}})
	i := d.cloud.Plug(name, d.cloud.Compute[0], port)
	plugged := time.Now()
	i.PowerOn()
	active := time.Now()
	lease, err := i.DHCP()
	d.must(err)
	if lease.Address.Addr() != i.IP() {
		d.Fatalf("the lease is %s, the port has %s", lease.Address, i.IP())
	}
	*instance = i
	i.Echo(22)
	return fmt.Sprintf("instance %s plugged, ACTIVE after %.2f s; DHCP gave %s (mtu %d, dns %s)", name,
		active.Sub(plugged).Seconds(), lease.Address, lease.MTU, strings.Join(lease.DNS, " "))
}

func (d *scene) slaac() string {
	var err error
	d.webIP6, err = d.web.SLAAC(10 * time.Second)
	d.must(err)
	d.dbIP6, err = d.db.SLAAC(10 * time.Second)
	d.must(err)
	return fmt.Sprintf("router advertisements gave web %s and db %s", d.webIP6, d.dbIP6)
}

func (d *scene) pingInside() string {
	rtt4, err := d.web.Reach(d.db.IP(), 5*time.Second)
	d.must(err)
	if !d.dbIP6.IsValid() {
		d.Fatalf("db has no IPv6 address")
	}
	rtt6, err := d.web.Reach(d.dbIP6, 5*time.Second)
	d.must(err)
	return fmt.Sprintf("web pings db: IPv4 %s, IPv6 %s", round(rtt4), round(rtt6))
}

func (d *scene) sourceNAT() string {
	capture := d.cloud.Internet.Capture("eth0", "icmp[icmptype] == icmp-echo")
	_, err := d.web.Reach(lab.InternetIP, 5*time.Second)
	d.must(err)
	_, err = capture.WaitFor(fmt.Sprintf("%s > %s:", d.gateway, lab.InternetIP), 2*time.Second)
	d.must(err)
	for _, frame := range capture.Stop() {
		if strings.Contains(frame, d.web.IP().String()+" >") {
			d.Fatalf("the private address is seen outside: %s", frame)
		}
	}
	return fmt.Sprintf("web pings the internet, which sees the router's %s", d.gateway)
}

func (d *scene) metadata() string {
	id, err := d.web.Get("http://169.254.169.254/latest/meta-data/instance-id")
	d.must(err)
	if id != d.web.ID || d.cloud.Nova.Refused() > 0 {
		d.Fatalf("metadata says %q of instance %s; %d requests had a wrong signature", id, d.web.ID, d.cloud.Nova.Refused())
	}
	return fmt.Sprintf("169.254.169.254 tells web its id %s…; Nova found the signature right", id[:8])
}

func (d *scene) floatingIP() string {
	d.floating = d.api.Create("floatingips", lab.Object{"floating_network_id": d.public.ID(), "port_id": d.web.Port.ID()})
	d.fip = netip.MustParseAddr(d.floating.Str("floating_ip_address"))
	rtt, err := d.cloud.Internet.Reach(d.fip, 5*time.Second)
	d.must(err)
	d.ssh, err = d.cloud.Internet.Connect(d.fip, 22)
	d.must(err)
	return fmt.Sprintf("floating IP %s: the internet pings web (%s) and connects to port 22", d.fip, round(rtt))
}

func (d *scene) spoof() string {
	const stolen = "10.37.0.250"
	capture := d.db.Capture("eth0", "icmp or arp")
	d.web.Run("ip addr add " + stolen + "/24 dev eth0")
	defer d.web.Run("ip addr del " + stolen + "/24 dev eth0")
	stream, err := d.web.PingStreamFrom(netip.MustParseAddr(stolen), d.db.IP(), 20*time.Millisecond)
	d.must(err)
	time.Sleep(200 * time.Millisecond)
	pings := stream.Stop()
	_, err = d.web.Reach(d.db.IP(), 2*time.Second) // the capture does see what gets through
	d.must(err)
	_, err = capture.WaitFor(d.web.IP().String()+" >", 5*time.Second)
	d.must(err)
	for _, frame := range capture.Stop() {
		if strings.Contains(frame, stolen) {
			d.Fatalf("a frame with a false source got through: %s", frame)
		}
	}
	return fmt.Sprintf("web with the stolen address %s: none of %d packets got to db", stolen, pings.Sent)
}

func (d *scene) rogueDHCP() string {
	sent := d.web.Capture("eth0", "udp dst port 68")
	arrived := d.db.Capture("eth0", "udp dst port 68")
	from := netip.AddrPortFrom(d.web.IP(), 67)
	d.must(d.web.SendUDP("eth0", from, netip.MustParseAddrPort("255.255.255.255:68"), make([]byte, 300)))
	_, err := sent.WaitFor("255.255.255.255.68", 2*time.Second)
	d.must(err)
	if frames := arrived.Stop(); len(frames) > 0 {
		d.Fatalf("db hears a false DHCP server: %s", frames[0])
	}
	return "web plays DHCP server: db hears nothing"
}

func (d *scene) shutOff() string {
	if d.ssh == nil {
		d.Fatalf("there is no connection to keep")
	}
	for _, rule := range d.icmpRules {
		d.api.Delete("security-group-rules", rule.ID())
	}
	began := time.Now()
	d.must(lab.Eventually(5*time.Second, func() error { return d.cloud.Internet.Silent(d.fip, 60*time.Millisecond) }))
	took := time.Since(began)
	d.must(d.cloud.Internet.Silent(d.fip, 300*time.Millisecond))
	d.must(lab.Exchange(d.ssh))
	_, err := d.cloud.Internet.Connect(d.fip, 22)
	d.must(err)
	return fmt.Sprintf("ping rules deleted: pings die within %s, the open ssh connection and new ones live", round(took))
}

func (d *scene) deleteAll() string {
	d.web.Destroy()
	d.db.Destroy()
	if d.floating != nil {
		d.api.Delete("floatingips", d.floating.ID())
	}
	for _, subnet := range []lab.Object{d.subnet4, d.subnet6} {
		d.api.Action("routers", d.router.ID(), "remove_router_interface", lab.Object{"subnet_id": subnet.ID()})
	}
	d.api.Delete("routers", d.router.ID())
	d.api.Delete("networks", d.network.ID())
	d.api.Delete("networks", d.public.ID())
	d.api.Delete("security-groups", d.group.ID())
	if ports := d.api.List("ports", "fields=id"); len(ports) > 0 {
		d.Fatalf("%d ports are left", len(ports))
	}
	return "everything deleted through the API"
}

// devices are the host's links and namespaces.
func (d *scene) devices() (facts []string) {
	for _, fact := range d.cloud.Network.KernelState() {
		if strings.HasPrefix(fact, " link") || strings.HasSuffix(fact, " exists") {
			facts = append(facts, fact)
		}
	}
	return facts
}

func (d *scene) hostAsBefore() string {
	var difference []string
	_ = lab.Eventually(10*time.Second, func() error {
		difference = lab.Difference(d.before, d.devices())
		return errorOf(difference)
	})
	d.must(errorOf(difference))
	return "the host's devices and namespaces are those from before"
}

func errorOf(difference []string) error {
	if len(difference) == 0 {
		return nil
	}
	return fmt.Errorf("still different:\n%s", strings.Join(difference, "\n"))
}

func (d *scene) stop() string {
	memory := d.memory()
	d.cloud.Network.Daemons["all-in-one"].Stop()
	return "Neutrino stopped; it had " + memory + " resident"
}

func round(t time.Duration) time.Duration { return t.Round(10 * time.Microsecond) }
