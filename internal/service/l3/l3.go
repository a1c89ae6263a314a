// Package l3 is the router service: routers with their gateways, interfaces and extra routes, floating IPs, which L3
// agent has which router, and what agents are told about routers. What routers do to packets is the L3 agent's business.
package l3

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"neutrino/internal/fault"
	"neutrino/internal/identity"
	"neutrino/internal/model"
	"neutrino/internal/resource"
	"neutrino/internal/store"
)

// Config are the options of routing, with upstream's names and defaults.
type Config struct {
	AgentDownTime       time.Duration // agent_down_time; 0 = 75 s
	EnableSNATByDefault bool          // enable_snat_by_default, true
	RouterAutoSchedule  bool          // router_auto_schedule, true
	AutomaticFailover   bool          // allow_automatic_l3agent_failover, false
	Distributed, HA     bool          // router_distributed, l3_ha: what routers are that do not say it
	HAAgents            int           // max_l3_agents_per_router; 0 = all
	HANetworkCIDR       string        // l3_ha_net_cidr
	HANetworkType       string        // l3_ha_network_type, "" = as other networks
	HAPhysicalNetwork   string        // l3_ha_network_physical_name
	ByChance            bool          // router_scheduler_driver takes any agent instead of the least loaded
	DefaultZones        []string      // of routers that name none
	ServeDisabled       bool          // enable_services_on_agents_with_admin_state_down, false
}

// Core is what routers need of the core plug-in. It checks and stores ports, gives them addresses, and calls the hooks
// of this package as for any other port.
type Core interface {
	// CreatePort makes a port. named are the attributes that are set on purpose; the port gets id, MAC address and
	// fixed IPs.
	CreatePort(tx *store.Tx, caller *identity.Caller, p *model.Port, named ...string) error
	// UpdatePort changes a port and returns what it became. named are the attributes that change sets.
	UpdatePort(tx *store.Tx, caller *identity.Caller, id string, named []string, change func(*model.Port)) (*model.Port, error)
	// DeletePort removes a port, also one that users may not delete.
	DeletePort(tx *store.Tx, caller *identity.Caller, id string) error
	// Networks and Subnets are how the API makes and removes those.
	Networks() resource.Logic[model.Network]
	Subnets() resource.Logic[model.Subnet]
}

// Quota checks limits; see package quota.
type Quota interface {
	Check(tx *store.Tx, caller *identity.Caller, resource, project string, count int) error
}

// Notifier sends messages to the L3 agent of a host. Messages may be lost: agents also ask by themselves.
type Notifier interface {
	RoutersUpdated(ctx context.Context, host string, ids []string)
	// FloatingIPUpdated says that of these routers only one floating IP changed.
	FloatingIPUpdated(ctx context.Context, host string, routers []string, id string)
	RouterDeleted(ctx context.Context, host, id string)
	RouterRemovedFromAgent(ctx context.Context, host, id string)
	RouterAddedToAgent(ctx context.Context, host string, ids []string)
}

// Service manages routers and floating IPs.
type Service struct {
	// Notifier and Quota are set by wire.go; nil means that nobody is told and nothing limited.
	Notifier Notifier
	Quota    Quota

	cfg     Config
	db      *store.DB
	catalog *model.Catalog
	core    Core
	log     *slog.Logger
}

// New makes the service.
func New(cfg Config, db *store.DB, catalog *model.Catalog, core Core, log *slog.Logger) *Service {
	if cfg.AgentDownTime == 0 {
		cfg.AgentDownTime = 75 * time.Second
	}
	return &Service{cfg: cfg, db: db, catalog: catalog, core: core, log: log}
}

// Device owners of the ports that belong to routers and floating IPs (neutron_lib/constants.py).
const (
	ownerInterface   = "network:router_interface"
	ownerGateway     = "network:router_gateway"
	ownerFloatingIP  = "network:floatingip"
	ownerDHCP        = "network:dhcp"
	ownerHAInterface = "network:router_ha_interface"
	ownerReplicated  = "network:ha_router_replicated_interface"
	ownerDistributed = "network:router_interface_distributed"
	ownerSNAT        = "network:router_centralized_snat"
	// ownerAgentGateway is a port by which the distributed routers of a host reach an external network.
	ownerAgentGateway = "network:floatingip_agent_gateway"
)

// Lists of device owners as upstream groups them. The kinds that Neutrino does not make itself are there because
// upstream may serve the same database.
var (
	interfaceOwners = []string{ownerInterface, ownerReplicated, ownerDistributed}
	// guardedOwners are ports that the port API does not delete (L3_HA_NAT_db_mixin.router_device_owners).
	guardedOwners = []string{ownerReplicated, ownerInterface, ownerGateway, ownerFloatingIP, ownerDistributed, ownerSNAT, ownerAgentGateway, ownerHAInterface}
	// fixedOwners keep their IPv4 addresses (extension l3-port-ip-change-not-allowed).
	fixedOwners = []string{ownerInterface, ownerHAInterface, ownerReplicated, ownerSNAT, ownerDistributed}
)

// Status of routers and floating IPs.
const (
	statusActive = "ACTIVE"
	statusDown   = "DOWN"
	statusError  = "ERROR"
	// statusNone is the status of ports that no agent wires.
	statusNone = "N/A"
)

// badRequest is upstream's BadRequest, whose message names the kind of object.
func badRequest(kind, format string, args ...any) error {
	return fault.BadRequest("BadRequest", "Bad %s request: %s.", kind, fmt.Sprintf(format, args...))
}
