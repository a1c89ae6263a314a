package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"

	"neutrino/internal/bus"
	"neutrino/internal/config"
	"neutrino/internal/daemon"
	"neutrino/internal/metadata"
	serverd "neutrino/internal/server"
)

// allInOneDefaults make one machine work without a configuration file; any file given overrides them.
const allInOneDefaults = `
[DEFAULT]
auth_strategy = noauth
core_plugin = ml2
service_plugins = router
driver = iptables
[ml2]
type_drivers = local,flat,vlan,vxlan
project_network_types = vxlan,local
mechanism_drivers = linuxbridge,l2population
extension_drivers = port_security
[ml2_type_vxlan]
vni_ranges = 1:10000
[vxlan]
local_ip = 127.0.0.1
[ovs]
local_ip = 127.0.0.1
[agent]
tunnel_types = vxlan
l2_population = true
`

// allInOne runs the server and all agents in one process.
func allInOne(c *call) error {
	var state, api string
	overrides := append([]override{}, listen[2:]...)
	o, err := c.parse(func(fs *flag.FlagSet) {
		fs.StringVar(&state, "state", "/var/lib/neutrino", "`DIR` directory of the database and of what must survive a restart (default /var/lib/neutrino)")
		fs.StringVar(&api, "listen", "", "`HOST:PORT` address of the API (default 127.0.0.1:9696)")
	}, overrides...)
	if err != nil {
		return err
	}
	if state, err = filepath.Abs(state); err != nil {
		return err
	}
	if err := os.MkdirAll(state, 0o750); err != nil {
		return fmt.Errorf("state directory: %w", err)
	}
	o.Underlay = allInOneDefaults + "[database]\nconnection = sqlite:///" + filepath.Join(state, "neutron.sqlite") + "\n"
	flags := o.Override
	o.Override = func(f *config.File) {
		flags(f)
		f.Override(config.Default, "state_path", state, "--state")
		overrideListen(f, api)
	}
	d, err := daemon.New(o)
	if err != nil {
		return err
	}
	defer d.Close()
	s, err := serverd.Start(d)
	if err != nil {
		return err
	}
	defer s.Close()
	if err := addAgents(d, s); err != nil {
		return err
	}
	return d.Run()
}

// addAgents adds all agents, each with a connection of its own to the bus, as daemons of their own would have. The L2
// agent is that of the first mechanism driver that has one.
func addAgents(d *daemon.Daemon, s *serverd.Server) error {
	var backend metadata.Backend
	l2 := d.AddL2
	if daemon.FirstMechanism(d.File, "openvswitch", "linuxbridge") {
		l2 = d.AddOpenVSwitch
	}
	type agent struct {
		name string
		add  func(bus.Transport) error
	}
	all := []agent{
		{"metadata", func(t bus.Transport) (err error) { backend, err = d.AddMetadata(t, true); return err }},
		{"l2", l2},
		{"dhcp", func(t bus.Transport) error { return d.AddDHCP(t, backend) }},
		{"l3", func(t bus.Transport) error { return d.AddL3(t, backend) }},
	}
	if s.Meters() {
		all = append(all, agent{"metering", d.AddMetering})
	}
	for _, a := range all {
		t, err := s.Connect(a.name)
		if err != nil {
			return err
		}
		if err := a.add(t); err != nil {
			return err
		}
	}
	return nil
}
