package main

import (
	"neutrino/internal/config"
	"neutrino/internal/daemon"
	serverd "neutrino/internal/server"
)

// listen are the flags that say where the API and the bus are.
var listen = []override{
	{"bind-host", config.Default, "bind_host", "`ADDRESS` address of the API"},
	{"bind-port", config.Default, "bind_port", "`PORT` port of the API"},
	{"bus-listen", "neutrino", "bus_listen", "`HOST:PORT` where agents on other hosts find the bus"},
}

// server runs neutron-server.
func server(c *call) error {
	o, err := c.parse(nil, listen...)
	if err != nil {
		return err
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
	return d.Run()
}
