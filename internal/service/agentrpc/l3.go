package agentrpc

import (
	"context"

	"neutrino/internal/rpc"
	"neutrino/internal/store"
)

// Routers is what L3 agents' requests need of the L3 plug-in.
type Routers interface {
	RouterIDsOnHost(tx *store.Tx, host string) ([]string, error)
	// SyncRouters runs its own transactions: it also binds the routers' ports to the host. With floating it tells of no other
	// floating IPs.
	SyncRouters(ctx context.Context, host string, ids, floating []string) ([]rpc.Router, error)
	UpdateFloatingIPStatuses(tx *store.Tx, routerID string, statuses map[string]string) error
}

// RegisterL3 adds the handlers for L3 agents.
func (s *Server) RegisterL3(x *rpc.Mux, routers Routers) {
	rpc.Handle(x, rpc.GetRouterIDs, func(ctx context.Context, args rpc.RouterIDsArgs) ([]string, error) {
		return write(ctx, s.db, func(tx *store.Tx) ([]string, error) { return routers.RouterIDsOnHost(tx, args.Host) })
	})
	rpc.Handle(x, rpc.SyncRouters, func(ctx context.Context, args rpc.SyncRoutersArgs) ([]rpc.Router, error) {
		return routers.SyncRouters(ctx, args.Host, args.RouterIDs, args.FloatingIPs)
	})
	rpc.Handle(x, rpc.UpdateFloatingIPStatuses, func(ctx context.Context, args rpc.FloatingIPStatusArgs) (rpc.None, error) {
		return rpc.None{}, s.db.Write(ctx, func(tx *store.Tx) error { return routers.UpdateFloatingIPStatuses(tx, args.RouterID, args.Statuses) })
	})
	rpc.Handle(x, rpc.GetServicePluginList, func(context.Context, rpc.None) ([]string, error) {
		return []string{"CORE", "L3_ROUTER_NAT"}, nil
	})
}

// RoutersUpdated tells the L3 agent on a host to fetch routers again (l3.Notifier).
func (s *Server) RoutersUpdated(ctx context.Context, host string, ids []string) {
	s.cast("routers_updated", rpc.RoutersUpdated.Cast(ctx, s.bus, host, rpc.RoutersArgs{Routers: ids}))
}

// FloatingIPUpdated tells that of some routers only one floating IP changed (l3.Notifier).
func (s *Server) FloatingIPUpdated(ctx context.Context, host string, routers []string, id string) {
	args := rpc.RoutersArgs{Routers: routers, FloatingIPs: map[string][]string{}}
	for _, r := range routers {
		args.FloatingIPs[r] = []string{id}
	}
	s.cast("routers_updated", rpc.RoutersUpdated.Cast(ctx, s.bus, host, args))
}

// RouterDeleted tells that a router is gone (l3.Notifier).
func (s *Server) RouterDeleted(ctx context.Context, host, id string) {
	s.cast("router_deleted", rpc.RouterDeleted.Cast(ctx, s.bus, host, rpc.RouterIDArgs{RouterID: id}))
}

// RouterRemovedFromAgent tells that a router is served elsewhere from now on (l3.Notifier).
func (s *Server) RouterRemovedFromAgent(ctx context.Context, host, id string) {
	s.cast("router_removed_from_agent", rpc.RouterRemovedFromAgent.Cast(ctx, s.bus, host, rpc.RouterPayload{Payload: rpc.RouterIDArgs{RouterID: id}}))
}

// RouterAddedToAgent tells that an agent serves routers from now on (l3.Notifier).
func (s *Server) RouterAddedToAgent(ctx context.Context, host string, ids []string) {
	s.cast("router_added_to_agent", rpc.RouterAddedToAgent.Cast(ctx, s.bus, host, rpc.RoutersPayload{Payload: ids}))
}
