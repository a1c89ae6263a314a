package main

import (
	"context"
	"flag"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"neutrino/internal/agent/l2/linuxbridge"
	"neutrino/internal/config"
	"neutrino/internal/daemon"
	"neutrino/internal/ovs"
	"neutrino/internal/tool/cleanup"
)

// cleanupTimeout bounds a cleanup; upstream gives OVSDB as long.
const cleanupTimeout = 10 * time.Minute

// tool reads the command line and the configuration of a tool.
func (c *call) tool(more func(*flag.FlagSet)) (*daemon.Daemon, context.Context, func(), error) {
	o, err := c.parse(more)
	if err != nil {
		return nil, nil, nil, err
	}
	d, err := daemon.New(o)
	if err != nil {
		return nil, nil, nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), cleanupTimeout)
	return d, ctx, func() { cancel(); d.Close() }, nil
}

// switchFlag is a flag with upstream's spellings: with dashes or underscores, and --noNAME. Without usage it is not shown.
func switchFlag(fs *flag.FlagSet, name string, value *bool, usage string) {
	fs.BoolVar(value, name, *value, usage)
	if other := strings.ReplaceAll(name, "_", "-"); other != name {
		fs.BoolVar(value, other, *value, "")
	}
	fs.BoolFunc("no"+name, "", func(string) error { *value = false; return nil })
}

// netnsCleanup is neutron-netns-cleanup.
func netnsCleanup(c *call) error {
	n := cleanup.Namespaces{Settle: 2 * time.Second, Grace: 10 * time.Second} // upstream's times
	d, ctx, done, err := c.tool(func(fs *flag.FlagSet) {
		switchFlag(fs, "force", &n.Force, "also namespaces that are in use: end the processes inside, delete the devices")
		fs.StringVar(&n.AgentType, "agent-type", "", "`TYPE` only namespaces of one kind of agent: dhcp or l3")
	})
	if err != nil {
		return err
	}
	defer done()
	if n.AgentType != "" && n.AgentType != "dhcp" && n.AgentType != "l3" {
		return fmt.Errorf("--agent-type must be dhcp or l3, not %q", n.AgentType)
	}
	n.Log = d.Logger("netns-cleanup")
	n.RemovePort = func(ctx context.Context, device string) error {
		db, err := openOVS(ctx, d)
		if err != nil {
			return err
		}
		defer db.Close()
		return cleanup.RemovePort(ctx, db, device)
	}
	removed, err := n.Run(ctx)
	fmt.Printf("%d namespaces removed\n", len(removed))
	return err
}

// openOVS connects to the database of Open vSwitch.
func openOVS(ctx context.Context, d *daemon.Daemon) (*ovs.DB, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	return ovs.Open(ctx, config.OVSDBConnection.Get(d.File), func() {}, d.Logger("ovs"))
}

// ovsCleanup is neutron-ovs-cleanup.
func ovsCleanup(c *call) error {
	all := false
	d, ctx, done, err := c.tool(func(fs *flag.FlagSet) {
		switchFlag(fs, "ovs_all_ports", &all, "all ports of all bridges, not only those of instances and agents on the integration bridge")
	})
	if err != nil {
		return err
	}
	defer done()
	db, err := openOVS(ctx, d)
	if err != nil {
		return err
	}
	defer db.Close()
	removed, err := cleanup.Ports(ctx, db, config.OVSIntegrationBridge.Get(d.File), all, d.Logger("ovs-cleanup"))
	if err == nil {
		fmt.Printf("%d ports removed\n", len(removed))
	}
	return err
}

// linuxBridgeCleanup is neutron-linuxbridge-cleanup.
func linuxBridgeCleanup(c *call) error {
	d, ctx, done, err := c.tool(nil)
	if err != nil {
		return err
	}
	defer done()
	var writes atomic.Int64
	bridges := linuxbridge.New(linuxbridge.Config{Interfaces: config.PhysicalInterfaceMappings.Get(d.File), Bridges: config.BridgeMappings.Get(d.File),
		Unfiltered: true}, &writes, d.Logger("linuxbridge-cleanup"))
	if err := bridges.Open(ctx, func(string) {}); err != nil {
		return err
	}
	defer bridges.Close()
	removed, err := bridges.Cleanup()
	fmt.Printf("%d bridges removed\n", len(removed))
	return err
}
