// Command neutrino is OpenStack Networking in one binary: the first argument, or the name by which it is called, picks the
// daemon.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// command is a daemon or tool.
type command struct {
	name  string
	alias string // upstream's name for it, as a link to this binary
	help  string
	run   func(*call) error
}

func commands() []command {
	return []command{
		{"all-in-one", "", "server and all agents in one process, on SQLite: the whole of Networking on one machine", allInOne},
		{"server", "neutron-server", "the Networking API and the server's side of the agents", server},
		{"openvswitch-agent", "neutron-openvswitch-agent", "wires ports of this host by Open vSwitch", agent((*daemonSetup).openvswitch)},
		{"linuxbridge-agent", "neutron-linuxbridge-agent", "wires ports of this host by Linux bridges, VXLAN and nftables", agent((*daemonSetup).l2)},
		{"dhcp-agent", "neutron-dhcp-agent", "serves DHCP for networks", agent((*daemonSetup).dhcp)},
		{"l3-agent", "neutron-l3-agent", "routes, NAT and floating IPs", agent((*daemonSetup).l3)},
		{"metadata-agent", "neutron-metadata-agent", "passes instances' metadata requests to Nova", agent((*daemonSetup).metadata)},
		{"metering-agent", "neutron-metering-agent", "counts routers' traffic under metering labels and publishes it", agent((*daemonSetup).metering)},
		{"db", "neutron-db-manage", "looks after the server's database: " + dbVerbs, database},
		{"netns-cleanup", "neutron-netns-cleanup", "removes network namespaces that agents left behind", netnsCleanup},
		{"ovs-cleanup", "neutron-ovs-cleanup", "removes ports that agents and Nova left behind in Open vSwitch", ovsCleanup},
		{"linuxbridge-cleanup", "neutron-linuxbridge-cleanup", "removes Linux bridges without ports", linuxBridgeCleanup},
		{"sanity-check", "neutron-sanity-check", "tells what this machine's kernel, nft and Open vSwitch can do", sanityCheck},
		{"status", "neutron-status", "tells how servers, database, bus and agents are; upgrade check: whether a deployment is ready for this version", status},
		{"config-reference", "", "prints all options of the configuration files as Markdown", printing(configReference)},
		{"api-reference", "", "prints all attributes of the API's resources as Markdown", printing(apiReference)},
	}
}

func main() {
	called := filepath.Base(os.Args[0])
	for _, c := range commands() {
		if c.alias != "" && c.alias == called {
			exit(c.run(&call{c, c.alias, os.Args[1:]}))
		}
	}
	if len(os.Args) < 2 {
		usage(os.Stderr)
		os.Exit(2)
	}
	switch first := os.Args[1]; first {
	case "-h", "-help", "--help", "help":
		usage(os.Stdout)
		return
	case "-version", "--version", "version":
		fmt.Println(version())
		return
	default:
		c, ok := find(first)
		if !ok {
			fmt.Fprintf(os.Stderr, "neutrino: there is no command %q\n\n", first)
			usage(os.Stderr)
			os.Exit(2)
		}
		exit(c.run(&call{c, c.program(), os.Args[2:]}))
	}
}

// find finds a command by one of its names.
func find(name string) (command, bool) {
	for _, c := range commands() {
		if c.name == name || c.alias == name && c.alias != "" {
			return c, true
		}
	}
	return command{}, false
}

// program is the name in the log.
func (c command) program() string {
	if c.alias == "" {
		return "neutrino-" + c.name
	}
	return c.alias
}

// exitCode ends the process with a code and without a message: the command has said all.
type exitCode int

func (c exitCode) Error() string { return fmt.Sprintf("exit code %d", int(c)) }

func exit(err error) {
	if code, ok := errors.AsType[exitCode](err); ok {
		os.Exit(int(code))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "neutrino:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

func usage(w io.Writer) {
	fmt.Fprint(w, "usage: neutrino COMMAND [OPTION]…\n\n")
	for _, c := range commands() {
		name := c.name
		if c.alias != "" {
			name += " (" + c.alias + ")"
		}
		fmt.Fprintf(w, "  %-50s %s\n", name, c.help)
	}
	fmt.Fprint(w, "\nneutrino COMMAND --help tells its options, neutrino --version the version.\n"+
		"The names in brackets work as links to this binary.\n")
}
