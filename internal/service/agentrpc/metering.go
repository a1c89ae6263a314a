package agentrpc

import (
	"context"

	"neutrino/internal/rpc"
	"neutrino/internal/store"
)

// Meters is what metering agents' requests need of the metering plug-in.
type Meters interface {
	SyncData(tx *store.Tx, host string) ([]rpc.MeteredRouter, error)
}

// RegisterMetering adds the handlers for metering agents.
func (s *Server) RegisterMetering(x *rpc.Mux, meters Meters) {
	rpc.Handle(x, rpc.GetSyncDataMetering, func(ctx context.Context, args rpc.MeteringHostArgs) ([]rpc.MeteredRouter, error) {
		return read(ctx, s.db, func(tx *store.Tx) ([]rpc.MeteredRouter, error) { return meters.SyncData(tx, args.Host) })
	})
}

// Metering tells the metering agent on a host what changed (metering.Notifier).
func (s *Server) Metering(ctx context.Context, method rpc.Method[rpc.MeteredRoutersArgs, rpc.None], host string, routers []rpc.MeteredRouter) {
	s.cast(method.Name, method.Cast(ctx, s.bus, host, rpc.MeteredRoutersArgs{Routers: routers}))
}
