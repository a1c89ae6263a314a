package main

import (
	"fmt"
	"net"

	"neutrino/internal/config"
)

// configReference prints the options of the configuration files.
func configReference(string, []string) error {
	fmt.Print(config.Reference())
	return nil
}

// overrideListen sets bind_host and bind_port from host:port.
func overrideListen(f *config.File, addr string) {
	if addr == "" {
		return
	}
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		host, port = addr, ""
	}
	for option, value := range map[string]string{"bind_host": host, "bind_port": port} {
		if value != "" {
			f.Override(config.Default, option, value, "--listen")
		}
	}
}
