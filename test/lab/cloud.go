package lab

import (
	"cmp"
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Cloud is a Neutrino that runs, with an outside network that belongs to nobody of it.
type Cloud struct {
	*Lab
	API      *API
	Nova     *Nova
	Compute  []*Host // hypervisors
	Network  *Host   // server, DHCP, routers, metadata; in a cloud of one host that is Compute[0]
	Internet *Node   // has InternetIP and InternetIP6 on the segment that ext0 of the network node is connected to

	underlay, provider *Segment
	extra              string // configuration

	gateways map[*Host]bool // connected to the outside
}

// Host is a machine with daemons of Neutrino on it.
type Host struct {
	*Node
	Underlay netip.Addr          // tunnel endpoint
	Daemons  map[string]*Process // by the name of neutrino's command, in the order of start in names
	names    []string

	Switch, SwitchDB *Process // ovs-vswitchd and ovsdb-server, on hosts with Open vSwitch
}

// Addresses of the lab. 203.0.113.0/24 and 2001:db8::/32 are for documentation (RFC 5737, RFC 3849).
const (
	PublicCIDR   = "203.0.113.0/24"
	PublicCIDR6  = "2001:db8:113::/64"
	APIAddress   = "127.0.0.1:9696" // in the network node
	novaAddress  = "127.0.0.1:8775"
	healthListen = "127.0.0.1:%d"
	vxlanPort    = 8472 // the default of the agent
	underlayMTU  = 1600
	sharedSecret = "the secret of nova and neutron"
	busToken     = "the token of the lab"
)

var (
	InternetIP  = netip.MustParseAddr("203.0.113.1")
	InternetIP6 = netip.MustParseAddr("2001:db8:113::1")
)

// healthPorts are where daemons answer /healthcheck and /metrics.
var healthPorts = map[string]int{
	"all-in-one": 9601, "server": 9602, "linuxbridge-agent": 9603, "metadata-agent": 9604, "dhcp-agent": 9605, "l3-agent": 9606,
	"openvswitch-agent": 9607, "metering-agent": 9608, OtherServer: 9609,
}

// OtherServer is the daemon that runs beside "server" where there is a Database.
const (
	OtherServer     = other + "server"
	other           = "other-"
	otherAPIAddress = "127.0.0.1:9697"
)

// BusPorts are those of the servers' buses, the other server's last. Their clusters listen 2000 above.
var BusPorts = []int{4222, 4322}

// l2Daemon stands for the L2 agent of whatever kind.
const l2Daemon = "l2"

// networkDaemons of the network node, in the order of start.
var networkDaemons = []string{"server", l2Daemon, "metadata-agent", "dhcp-agent", "l3-agent"}

// AllInOne starts a cloud of one host and one process. extra is added to its configuration file.
func (l *Lab) AllInOne(binary string, extra ...string) *Cloud {
	l.T.Helper()
	c := l.cloud()
	c.extra = strings.Join(extra, "\n")
	h := c.host("host", 1)
	c.Compute, c.Network = []*Host{h}, h
	c.outside(h)
	c.start(h, binary, "all-in-one", "--state", c.state(h), "--listen", APIAddress)
	c.ready(h)
	return c
}

// MultiHost starts hypervisors and a network node with the server, each daemon in a process of its own, connected by
// NATS and VXLAN. extra is added to all configuration files.
func (l *Lab) MultiHost(binary string, hypervisors int, extra ...string) *Cloud {
	l.T.Helper()
	c := l.cloud()
	c.extra = strings.Join(extra, "\n")
	c.Network = c.host("network", 1)
	c.outside(c.Network)
	for i := range hypervisors {
		h := c.host(fmt.Sprintf("compute%d", i+1), i+2)
		if c.ProviderEverywhere {
			c.connectOutside(h)
		}
		c.Compute = append(c.Compute, h)
	}
	c.startNetworkDaemons(binary)
	for _, h := range c.Compute {
		c.start(h, binary, c.L2Agent())
	}
	for _, h := range c.Hosts() {
		c.ready(h)
	}
	return c
}

func (c *Cloud) startNetworkDaemons(binary string) {
	c.T.Helper()
	for _, name := range networkDaemons {
		if name == l2Daemon {
			name = c.L2Agent()
		}
		c.start(c.Network, binary, name)
		if name == "server" && c.Database != "" {
			c.start(c.Network, binary, OtherServer)
			c.API.bases = append(c.API.bases, "http://"+otherAPIAddress)
		}
	}
}

// StartDaemon starts one more daemon on a host.
func (c *Cloud) StartDaemon(h *Host, binary, command string) {
	c.T.Helper()
	c.start(h, binary, command)
	c.ready(h)
}

// TwoGateways starts a network node and one hypervisor that is connected to the outside and has an L3 agent too.
func (l *Lab) TwoGateways(binary, extra string) *Cloud {
	l.T.Helper()
	c := l.cloud()
	c.extra = extra
	c.Network = c.host("network", 1)
	c.outside(c.Network)
	c.startNetworkDaemons(binary)
	h := c.host("compute1", 2)
	c.Compute = []*Host{h}
	c.connectOutside(h)
	for _, name := range []string{c.L2Agent(), "l3-agent"} {
		c.start(h, binary, name)
	}
	for _, h := range c.Hosts() {
		c.ready(h)
	}
	return c
}

// L2Agent is the name of the hosts' L2 agent.
func (l *Lab) L2Agent() string {
	if l.OpenVSwitch {
		return "openvswitch-agent"
	}
	return "linuxbridge-agent"
}

// Hosts are all hosts.
func (c *Cloud) Hosts() []*Host {
	if len(c.Compute) > 0 && c.Compute[0] == c.Network {
		return c.Compute
	}
	return append([]*Host{c.Network}, c.Compute...)
}

func (l *Lab) cloud() *Cloud {
	l.T.Helper()
	c := &Cloud{Lab: l, gateways: map[*Host]bool{}}
	c.underlay = l.Segment("underlay", underlayMTU)
	c.provider = l.Segment("provider", 1500)
	return c
}

func (c *Cloud) host(name string, number int) *Host {
	c.T.Helper()
	h := &Host{Node: c.Node(name), Daemons: map[string]*Process{}}
	h.Underlay = netip.AddrFrom4([4]byte{192, 168, 50, byte(number)})
	c.underlay.Attach(h.Node, "under0")
	h.Sysctl("net/ipv6/conf/under0/disable_ipv6", "1") // its address would be seen to appear, after duplicate detection
	if c.OpenVSwitch {
		h.startSwitch()
		return h
	}
	h.Run(fmt.Sprintf("ip addr add %s/24 dev under0", h.Underlay))
	return h
}

// outside makes the internet and connects the host to it.
func (c *Cloud) outside(h *Host) {
	c.T.Helper()
	c.connectOutside(h)
	c.Internet = c.Node("internet")
	c.Internet.Sysctl("net/ipv6/conf/default/accept_dad", "0")
	c.provider.Attach(c.Internet, "eth0")
	c.Internet.impatient("eth0")
	c.fillChecksums(c.Internet, "eth0")
	c.Internet.Run(fmt.Sprintf("ip addr add %s/24 dev eth0", InternetIP))
	c.Internet.Run(fmt.Sprintf("ip addr add %s/64 dev eth0", InternetIP6))
	c.Nova = h.Nova(novaAddress, sharedSecret)
	c.API = &API{lab: c.Lab, client: h.HTTP(patient(30 * time.Second)), bases: []string{"http://" + APIAddress}}
}

func (c *Cloud) connectOutside(h *Host) {
	c.T.Helper()
	c.provider.Attach(h.Node, "ext0")
	h.Sysctl("net/ipv6/conf/ext0/disable_ipv6", "1")
	if c.OpenVSwitch {
		h.vsctl("add-br", externalBridge, "--", "set", "Bridge", externalBridge, "datapath_type="+c.datapath(), "--", "add-port", externalBridge, "ext0")
	}
	c.gateways[h] = true
}

// start writes the configuration of a daemon and starts it.
func (c *Cloud) start(h *Host, binary, command string, args ...string) {
	c.T.Helper()
	if err := os.MkdirAll(c.state(h), 0o755); err != nil {
		c.T.Fatalf("%v", err)
	}
	file := filepath.Join(c.Dir, h.Name+"-"+command+".conf")
	if err := os.WriteFile(file, []byte(c.configuration(h, command)), 0o600); err != nil {
		c.T.Fatalf("%v", err)
	}
	h.Daemons[command] = h.Start(command, append([]string{binary, strings.TrimPrefix(command, other), "--config-file", file}, args...)...)
	h.names = append(h.names, command)
}

// configuration is the file of a daemon. As upstream's files do, it holds options of all kinds; a daemon takes what
// it knows.
func (c *Cloud) configuration(h *Host, command string) string {
	text := fmt.Sprintf(`[DEFAULT]
host = %[1]s
state_path = %[2]s
metadata_proxy_socket = /run/metadata_proxy
auth_strategy = noauth
core_plugin = ml2
service_plugins = router
nova_metadata_host = %[3]s
nova_metadata_port = %[4]d
metadata_proxy_shared_secret = %[5]s
[ml2]
type_drivers = local,flat,vlan,vxlan
project_network_types = vxlan
mechanism_drivers = %[8]s,l2population
extension_drivers = port_security
path_mtu = 1500
[ml2_type_vxlan]
vni_ranges = 1001:2000
[quotas]
quota_port = -1
[vxlan]
local_ip = %[6]s
l2_population = true
[neutrino]
health_listen = `+healthListen+`
`, h.Name, c.state(h), "127.0.0.1", 8775, sharedSecret, h.Underlay, healthPorts[command], strings.TrimSuffix(c.L2Agent(), "-agent"))
	switch {
	case c.OpenVSwitch:
		text += c.switchConfiguration(h)
	case c.gateways[h]:
		text += "[linux_bridge]\nphysical_interface_mappings = public:ext0\n"
	}
	text += c.extra + "\n"
	if command == "all-in-one" {
		return text
	}
	return text + c.busConfiguration(command) + "[database]\nconnection = " + cmp.Or(c.Database, "sqlite:///"+c.state(h)+"/neutron.db") + "\n"
}

// busConfiguration is about the bus and, of two servers, about their ports.
func (c *Cloud) busConfiguration(command string) string {
	text := fmt.Sprintf("[neutrino]\nbus_token = %s\nbus_url = nats://%s:%d", busToken, c.Network.Underlay, BusPorts[0])
	if c.Database != "" {
		text += fmt.Sprintf(",nats://%s:%d", c.Network.Underlay, BusPorts[1])
	}
	mine, its := BusPorts[0], BusPorts[1]
	if command == OtherServer {
		mine, its = its, mine
	}
	text += fmt.Sprintf("\nbus_listen = %s:%d\n", c.Network.Underlay, mine)
	if c.Database != "" {
		text += fmt.Sprintf("bus_cluster_listen = %s:%d\nbus_routes = %[1]s:%[3]d\n", c.Network.Underlay, mine+2000, its+2000)
	}
	if command == OtherServer {
		_, port, _ := strings.Cut(otherAPIAddress, ":")
		text += "[DEFAULT]\nbind_port = " + port + "\n"
	}
	return text
}

// state is the directory for what survives a restart of the host's daemons.
func (c *Cloud) state(h *Host) string { return filepath.Join(c.Dir, "state-"+h.Name) }

// ready waits until every daemon of the host says that it is well.
func (c *Cloud) ready(h *Host) {
	c.T.Helper()
	for _, name := range h.names {
		if err := h.WaitHealthy(name, patience); err != nil {
			c.T.Fatalf("%v", err)
		}
	}
}

// WaitHealthy waits until the daemon's health check succeeds.
func (h *Host) WaitHealthy(daemon string, within time.Duration) error {
	return h.waitAnswer(daemon, within, http.StatusOK)
}

// WaitUp waits until a daemon answers health checks, whatever it says: from then on it ends without an error.
func (h *Host) WaitUp(daemon string, within time.Duration) error {
	return h.waitAnswer(daemon, within, http.StatusOK, http.StatusServiceUnavailable)
}

func (h *Host) waitAnswer(daemon string, within time.Duration, statuses ...int) error {
	client := h.HTTP(patient(2 * time.Second))
	defer client.CloseIdleConnections()
	return Eventually(within, func() error {
		if err := h.Daemons[daemon].Ended(); err != nil {
			return err
		}
		response, err := client.Get("http://" + fmt.Sprintf(healthListen, healthPorts[daemon]) + "/healthcheck")
		if err != nil {
			return fmt.Errorf("%s on %s: %w", daemon, h.Name, err)
		}
		response.Body.Close()
		if !slices.Contains(statuses, response.StatusCode) {
			return fmt.Errorf("%s on %s is not well: %s", daemon, h.Name, response.Status)
		}
		return nil
	})
}
