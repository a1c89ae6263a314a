package main

import (
	"context"
	"os"
	"runtime/debug"

	"neutrino/internal/bus"
	"neutrino/internal/daemon"
	"neutrino/internal/linux/memory"
)

// daemonSetup is an agent being set up as a daemon of its own.
type daemonSetup struct {
	*daemon.Daemon
	bus bus.Transport
}

func (d *daemonSetup) l2() error          { return d.AddL2(d.bus) }
func (d *daemonSetup) openvswitch() error { return d.AddOpenVSwitch(d.bus) }
func (d *daemonSetup) dhcp() error        { return d.AddDHCP(d.bus, d.MetadataSocket()) }
func (d *daemonSetup) l3() error          { return d.AddL3(d.bus, d.MetadataSocket()) }
func (d *daemonSetup) metering() error    { return d.AddMetering(d.bus) }
func (d *daemonSetup) metadata() error {
	_, err := d.AddMetadata(d.bus, true)
	return err
}

// agent makes the command that runs one agent.
func agent(add func(*daemonSetup) error) func(*call) error {
	return func(c *call) error {
		if os.Getenv("GOGC") == "" { // an agent has much more of the processor's time than of the host's memory
			debug.SetGCPercent(50)
		}
		o, err := c.parse(nil)
		if err != nil {
			return err
		}
		d, err := daemon.New(o)
		if err != nil {
			return err
		}
		defer d.Close()
		t, err := d.DialBus()
		if err != nil {
			return err
		}
		defer t.Close()
		if err := add(&daemonSetup{d, t}); err != nil {
			return err
		}
		d.Go("memory", func(ctx context.Context) error {
			memory.Keep(ctx, func(context.Context) {
				if err := memory.Release(); err != nil {
					d.Log.Debug("memory is not given back", "error", err)
				}
			})
			return nil
		})
		return d.Run()
	}
}
