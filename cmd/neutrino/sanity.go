package main

import (
	"flag"
	"fmt"
	"os"
	"slices"

	"neutrino/internal/config"
	"neutrino/internal/tool/sanity"
)

// sanityCheck is neutron-sanity-check, with a table of everything. It fails if something is missing that every host
// needs, that the configuration needs, or that an option asks for.
func sanityCheck(c *call) error {
	asked := map[string]*bool{}
	d, ctx, done, err := c.tool(func(fs *flag.FlagSet) {
		for _, check := range sanity.Checks() {
			for _, name := range check.Flags {
				asked[name] = new(bool)
				switchFlag(fs, name, asked[name], "fail without: "+check.Name)
			}
		}
		for _, name := range sanity.Obsolete {
			switchFlag(fs, name, new(bool), "") // of no consequence here
		}
	})
	if err != nil {
		return err
	}
	defer done()
	f := d.File
	needed := map[string]bool{}
	if config.LocalIP.Get(f) != "" || len(config.PhysicalInterfaceMappings.Get(f)) > 0 { // a host of the Linux bridge agent
		needed["bridges"], needed["nftables: bridge family"] = true, true
		needed["VXLAN devices"] = config.LocalIP.Get(f) != "" && config.EnableVXLAN.Get(f)
		needed["br_netfilter"] = config.EnableSecurityGroup.Get(f) && config.FirewallDriver.Get(f) != "noop"
	}
	tunnels := config.TunnelTypes.Get(f)
	if len(tunnels) > 0 || len(config.OVSBridgeMappings.Get(f)) > 0 { // a host of the Open vSwitch agent
		for _, name := range []string{"database", "ovs-ofctl", "patch ports"} {
			needed["Open vSwitch: "+name] = true
		}
		needed["Open vSwitch: kernel datapath"] = config.OVSDatapathType.Get(f) == "system"
	}
	for kind, name := range map[string]string{"vxlan": "VXLAN", "gre": "GRE", "geneve": "Geneve"} {
		needed["Open vSwitch: "+name] = slices.Contains(tunnels, kind)
	}
	results := sanity.Run(ctx, sanity.Config{OVSDB: config.OVSDBConnection.Get(f), Required: func(c *sanity.Check) bool {
		return needed[c.Name] || slices.ContainsFunc(c.Flags, func(name string) bool { return *asked[name] })
	}})
	if err := sanity.Print(os.Stdout, results); err != nil {
		return err
	}
	if n := sanity.Failed(results); n > 0 {
		return fmt.Errorf("%d things are missing that are needed", n)
	}
	return nil
}
