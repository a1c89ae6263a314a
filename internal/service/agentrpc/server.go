// Package agentrpc is the server's side of the agent API: it answers what agents ask, and tells them what changed. It
// holds no state but news that TellMembers is about to tell: everything comes from the database, so any server can answer any
// agent.
package agentrpc

import (
	"context"
	"log/slog"

	"neutrino/internal/bus"
	"neutrino/internal/identity"
	"neutrino/internal/model"
	"neutrino/internal/rpc"
	"neutrino/internal/service/agents"
	"neutrino/internal/store"
)

// Core is what agents' requests need of the ML2 plug-in.
type Core interface {
	NamePorts(ports ...*model.Port)
	CreatePort(tx *store.Tx, caller *identity.Caller, p *model.Port, named ...string) error
	UpdatePort(tx *store.Tx, caller *identity.Caller, id string, named []string, change func(*model.Port)) (*model.Port, error)
	DeletePort(tx *store.Tx, caller *identity.Caller, id string) error
	// ProvisioningComplete says that an entity (EntityL2, EntityDHCP) is done with ports; the last one makes them ACTIVE.
	ProvisioningComplete(tx *store.Tx, entity string, portIDs ...string) error
	// UpdatePortStatus sets the status of those of the ports that are bound to host.
	UpdatePortStatus(tx *store.Tx, status, host string, portIDs ...string) error
	// CheckEndpoint tells why a host cannot have a tunnel endpoint.
	CheckEndpoint(kind, host, address string) error
}

// Provisioning entities (upstream db/provisioning_blocks.py).
const (
	EntityL2   = "L2"
	EntityDHCP = "DHCP"
)

// Server answers agents.
type Server struct {
	db      *store.DB
	catalog *model.Catalog
	core    Core
	agents  *agents.Service
	bus     bus.Transport
	members *memberNews
	log     *slog.Logger
}

// New makes the server.
func New(db *store.DB, catalog *model.Catalog, core Core, agents *agents.Service, t bus.Transport, log *slog.Logger) *Server {
	return &Server{db: db, catalog: catalog, core: core, agents: agents, bus: t, members: newMemberNews(), log: log}
}

// Register adds the handlers for L2, DHCP and metadata agents.
func (s *Server) Register(x *rpc.Mux) {
	rpc.Handle(x, rpc.ReportState, s.agents.Report)
	onPlugin := rpc.ReportState // upstream's servers take reports on both topics
	onPlugin.Topic = rpc.TopicPlugin
	rpc.Handle(x, onPlugin, s.agents.Report)

	rpc.Handle(x, rpc.GetDevicesDetails, s.devicesDetails)
	rpc.Handle(x, rpc.UpdateDeviceList, s.updateDeviceList)
	rpc.Handle(x, rpc.TunnelSync, s.tunnelSync)
	rpc.Handle(x, rpc.SecurityGroupInfoForDevices, s.securityGroupInfo)
	rpc.Handle(x, rpc.SecurityGroupMembersAmong, s.membersAmong)

	rpc.Handle(x, rpc.GetActiveNetworksInfo, s.activeNetworks)
	rpc.Handle(x, rpc.GetNetworkInfo, s.networkInfo)
	rpc.Handle(x, rpc.CreateDHCPPort, s.createDHCPPort)
	rpc.Handle(x, rpc.UpdateDHCPPort, s.updateDHCPPort)
	rpc.Handle(x, rpc.ReleaseDHCPPort, s.releaseDHCPPort)
	rpc.Handle(x, rpc.DHCPReadyOnPorts, s.dhcpReady)

	rpc.Handle(x, rpc.GetPorts, s.getPorts)
}

// read runs f in a read transaction and returns its result.
func read[T any](ctx context.Context, db *store.DB, f func(tx *store.Tx) (T, error)) (T, error) {
	var out T
	err := db.Read(ctx, func(tx *store.Tx) (err error) {
		out, err = f(tx)
		return err
	})
	return out, err
}

// write runs f in a write transaction and returns its result.
func write[T any](ctx context.Context, db *store.DB, f func(tx *store.Tx) (T, error)) (T, error) {
	var out T
	err := db.Write(ctx, func(tx *store.Tx) (err error) {
		out, err = f(tx)
		return err
	})
	return out, err
}
