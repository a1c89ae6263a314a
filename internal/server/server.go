// Package server puts the server together: database, bus, services, RPC and API. What calls what is in wire.go.
package server

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"neutrino/internal/api"
	"neutrino/internal/bus"
	"neutrino/internal/bus/nats"
	"neutrino/internal/config"
	"neutrino/internal/daemon"
	"neutrino/internal/linux/memory"
	"neutrino/internal/policy"
	"neutrino/internal/rpc"
	"neutrino/internal/service/ml2"
	"neutrino/internal/store"
)

// startTimeout bounds what is done from when the database answers until requests are.
const startTimeout = time.Minute

// routerPlugin is the long name of the service plug-in "router".
const routerPlugin = "neutron.services.l3_router.l3_router_plugin.L3RouterPlugin"

// defaultPlugins are the service plug-ins that are always loaded, as upstream's (neutron/plugins/common/constants.py,
// DEFAULT_SERVICE_PLUGINS).
var defaultPlugins = []string{"auto_allocate", "tag", "timestamp", "network_ip_availability", "flavors", "revisions"}

// Server is a running server.
type Server struct {
	d    *daemon.Daemon
	db   *store.DB
	nats *nats.Server
	bus  bus.Transport
	api  net.Addr
	stop func()

	slack memory.Slack
}

// heapSlack lets lists of some thousand objects pass without a collection each.
const heapSlack = 24 << 20

// APIAddress is where the API listens.
func (s *Server) APIAddress() net.Addr { return s.api }

// Start opens everything and adds the server's tasks to the daemon.
func Start(d *daemon.Daemon) (*Server, error) {
	f := d.File
	addr := net.JoinHostPort(config.BindHost.Get(f), strconv.Itoa(config.BindPort.Get(f)))
	if err := api.CheckListen(addr, config.AuthStrategy.Get(f), config.ForceNoAuth.Get(f)); err != nil {
		return nil, err
	}
	s := &Server{d: d, stop: func() {}, slack: memory.NewSlack(heapSlack)}
	var err error
	// How long the database may be away when the server starts is max_retries' matter. Time for the rest begins when it is there.
	if s.db, err = store.OpenPool(context.Background(), config.DatabaseConnection.Get(f), databasePool(f), s.d.Logger("db")); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	if err := s.open(ctx); err != nil {
		s.Close()
		return nil, err
	}
	s.warnOfMissing()
	services, err := wire(s)
	if err != nil {
		s.Close()
		return nil, err
	}
	if err := services.core.Start(ctx); err != nil {
		s.Close()
		return nil, err
	}
	mux := rpc.NewMux(d.Logger("rpc"))
	services.agentRPC.Register(mux)
	services.agentRPC.RegisterL3(mux, services.routers)
	if services.meters != nil {
		services.agentRPC.RegisterMetering(mux, services.meters)
	}
	if s.stop, err = mux.Serve(s.bus, d.Host); err != nil {
		s.Close()
		return nil, err
	}
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		s.Close()
		return nil, fmt.Errorf("the API cannot listen: %w", err)
	}
	s.api = listener.Addr()
	d.Log.Info("the API listens", "url", "http://"+s.api.String()+"/")
	for name, run := range map[string]func(context.Context){
		"router failover": services.routers.Run, "DHCP failover": services.agents.Run, "port reminders": services.agentRPC.Run,
		"news of members": services.agentRPC.TellMembers,
	} {
		d.Go(name, func(ctx context.Context) error {
			run(ctx)
			<-ctx.Done() // it returns at once where it is switched off
			return nil
		})
	}
	d.Go("memory", func(ctx context.Context) error {
		memory.Keep(ctx, s.shrink)
		return nil
	})
	d.Go("API", func(ctx context.Context) error { return services.api.Serve(ctx, listener) })
	return s, nil
}

// open brings the database up to date and opens the bus.
func (s *Server) open(ctx context.Context) (err error) {
	f := s.d.File
	if err := s.db.Migrate(ctx); err != nil {
		return err
	}
	if s.nats, err = nats.StartServer(ctx, nats.ServerConfig{Listen: config.BusListen.Get(f), Token: config.BusToken.Get(f), TLS: s.d.BusTLS(),
		ClusterListen: config.BusClusterListen.Get(f), Routes: config.BusRoutes.Get(f)}, s.d.Logger("bus")); err != nil {
		return err
	}
	s.bus, err = s.nats.Connect("server@" + s.d.Host)
	return err
}

// databasePool are the options of connections.
func databasePool(f *config.File) store.Pool {
	return store.Pool{MaxSize: config.DatabaseMaxPoolSize.Get(f), MaxOverflow: config.DatabaseMaxOverflow.Get(f),
		Recycle: config.DatabaseRecycleTime.Get(f), Timeout: config.DatabasePoolTimeout.Get(f),
		Retries: config.DatabaseMaxRetries.Get(f), RetryInterval: config.DatabaseRetryInterval.Get(f)}
}

// shrink gives back memory that only work needed.
func (s *Server) shrink(ctx context.Context) {
	bounded, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if err := errors.Join(s.db.Shrink(bounded), memory.Release()); err != nil && ctx.Err() == nil {
		s.d.Log.Warn("memory was not given back", "error", err)
	}
}

// Connect makes another connection to the bus within this process, for agents.
func (s *Server) Connect(name string) (bus.Transport, error) {
	return s.nats.Connect(name + "@" + s.d.Host)
}

// Close ends what the daemon's tasks do not.
func (s *Server) Close() {
	s.stop()
	if s.bus != nil {
		s.bus.Close()
	}
	if s.nats != nil {
		s.nats.Close()
	}
	if s.db != nil {
		s.db.Close()
	}
}

// extensions are those that the configuration loads.
func (s *Server) extensions() api.Extensions {
	all := api.AllExtensions()
	f := s.d.File
	all = withoutDrivers(all, config.ExtensionDrivers.Get(f))
	if plugins := config.ServicePlugins.Get(f); !contains(plugins, "router") && !contains(plugins, routerPlugin) {
		all = all.Without("router", "ext-gw-mode", "extraroute", "extraroute-atomic", "fip-port-details", "router_availability_zone",
			"l3-flavors", "dvr", "router-admin-state-down-before-update", "l3-ha", "network_ha", "l3_agent_scheduler", "l3-port-ip-change-not-allowed", "floatingip-pools", "floating-ip-router-writable", "auto-allocated-topology")
	}
	if !config.EnableDVR.Get(f) {
		all = all.Without("dvr", "router-admin-state-down-before-update")
	}
	if !s.loads(segmentRangePlugin) {
		all = all.Without("network-segment-range")
	}
	if !s.loads(segmentsPlugin) {
		all = all.Without("segment", "standard-attr-segment", "subnet-segmentid-writable", "segments-peer-subnet-host-routes",
			"l2_adjacency", "ip_allocation")
	}
	if !s.loads(qosPlugin) {
		all = all.Without(qosExtensions...)
	}
	if !s.loads(qosPlugin) || !all.Enabled("router") {
		all = all.Without(qosRouterExtensions...)
	}
	if !s.loads(meteringPlugin) {
		all = all.Without("metering", "metering_source_and_destination_fields")
	}
	return all
}

// loads tells whether service_plugins has a plug-in, given by its names.
func (s *Server) loads(names []string) bool {
	given := config.ServicePlugins.Get(s.d.File)
	return slices.ContainsFunc(names, func(name string) bool { return contains(given, name) })
}

// warnOfMissing tells what the configuration loads that this version does not have.
func (s *Server) warnOfMissing() {
	for _, m := range Missing(s.d.File) {
		s.d.Log.Warn("not available in this version", "option", m.Option, "value", m.Value)
	}
}

// Setting is a value of an option.
type Setting struct{ Option, Value string }

// Missing lists the plug-ins and drivers of a configuration that this version does not have.
func Missing(f *config.File) (missing []Setting) {
	for _, x := range []struct {
		option string
		given  []string
		have   []string
	}{
		{"service_plugins", config.ServicePlugins.Get(f), slices.Concat([]string{"router", routerPlugin}, defaultPlugins, segmentRangePlugin, segmentsPlugin, meteringPlugin, qosPlugin)},
		{"[ml2] mechanism_drivers", config.MechanismDrivers.Get(f), ml2.MechanismNames()},
		{"[ml2] extension_drivers", config.ExtensionDrivers.Get(f), driverNames()},
	} {
		for _, name := range x.given {
			if !contains(x.have, name) {
				missing = append(missing, Setting{x.option, name})
			}
		}
	}
	return missing
}

func contains(list []string, s string) bool {
	for _, x := range list {
		if strings.TrimSpace(x) == s {
			return true
		}
	}
	return false
}

// rules opens the policy.
func (s *Server) rules() (func() *policy.Rules, error) {
	p, err := policy.Open(policyOptions(s.d.File), s.d.Logger("policy"))
	if err != nil {
		return nil, err
	}
	return p.Rules, nil
}

// policyOptions are the policy's part of the configuration.
func policyOptions(f *config.File) policy.Options {
	o := policy.Options{LegacyDefaults: !config.EnforceNewDefaults.Get(f), DefaultRule: config.PolicyDefaultRule.Get(f)}
	if file := config.PolicyFile.Get(f); file != "" {
		o.Files = []string{f.Find(file)}
	}
	dirs := config.PolicyDirs.Get(f)
	if len(dirs) == 0 {
		dirs = []string{"policy.d"} // oslo.policy's default
	}
	for _, dir := range dirs {
		o.Dirs = append(o.Dirs, f.Find(dir))
	}
	return o
}
