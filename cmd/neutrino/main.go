// Command neutrino is OpenStack Networking in one binary: the first argument, or the name by which it is called, picks the
// daemon.
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// command is a daemon or tool.
type command struct {
	name  string
	alias string // upstream's name for it, as a link to this binary
	help  string
	run   func(program string, args []string) error
}

func commands() []command {
	return []command{
		{"all-in-one", "", "server and all agents in one process, on SQLite: the whole of Networking on one machine", allInOne},
		{"server", "neutron-server", "the Networking API and the server's side of the agents", server},
		{"linuxbridge-agent", "neutron-linuxbridge-agent", "wires ports of this host by Linux bridges, VXLAN and nftables", agent((*daemonSetup).l2)},
		{"dhcp-agent", "neutron-dhcp-agent", "serves DHCP for networks", agent((*daemonSetup).dhcp)},
		{"l3-agent", "neutron-l3-agent", "routes, NAT and floating IPs", agent((*daemonSetup).l3)},
		{"metadata-agent", "neutron-metadata-agent", "passes instances' metadata requests to Nova", agent((*daemonSetup).metadata)},
		{"config-reference", "", "prints all options of the configuration files as Markdown", configReference},
	}
}

func main() {
	called := filepath.Base(os.Args[0])
	for _, c := range commands() {
		if c.alias != "" && c.alias == called {
			exit(c.run(c.alias, os.Args[1:]))
		}
	}
	if len(os.Args) < 2 || strings.HasPrefix(os.Args[1], "-") {
		usage()
		if len(os.Args) >= 2 && (os.Args[1] == "-h" || os.Args[1] == "--help") {
			return
		}
		os.Exit(2)
	}
	for _, c := range commands() {
		if c.name == os.Args[1] || c.alias == os.Args[1] && c.alias != "" {
			program := c.alias
			if program == "" {
				program = "neutrino-" + c.name
			}
			exit(c.run(program, os.Args[2:]))
		}
	}
	fmt.Fprintf(os.Stderr, "neutrino: there is no command %q\n\n", os.Args[1])
	usage()
	os.Exit(2)
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "neutrino:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

func usage() {
	fmt.Fprint(os.Stderr, "usage: neutrino COMMAND [--config-file FILE]… [--config-dir DIR]… [options]\n\n")
	for _, c := range commands() {
		name := c.name
		if c.alias != "" {
			name += " (" + c.alias + ")"
		}
		fmt.Fprintf(os.Stderr, "  %-48s %s\n", name, c.help)
	}
	fmt.Fprint(os.Stderr, "\nneutrino COMMAND --help tells the options. The names in brackets work as links to this binary.\n")
}
