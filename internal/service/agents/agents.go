// Package agents keeps the table of agents: their reports, whether they live, and which networks DHCP agents serve.
package agents

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"neutrino/internal/fault"
	"neutrino/internal/identity"
	"neutrino/internal/model"
	"neutrino/internal/resource"
	"neutrino/internal/rpc"
	"neutrino/internal/store"

	"github.com/google/uuid"
)

// Config are the options of agent handling, with upstream's names and defaults.
type Config struct {
	AgentDownTime        time.Duration // agent_down_time, 75 s
	DHCPAgentsPerNetwork int           // dhcp_agents_per_network, 1
	NetworkAutoSchedule  bool          // network_auto_schedule, true
	DefaultZones         []string      // default_availability_zones
	EnableNewAgents      bool          // enable_new_agents, true
	DHCPLoadType         string        // dhcp_load_type, "networks"
	AutomaticFailover    bool          // allow_automatic_dhcp_failover, true
	Scheduler            Scheduler     // network_scheduler_driver
	ServeDisabled        bool          // enable_services_on_agents_with_admin_state_down, false
}

// Service manages agents.
type Service struct {
	cfg     Config
	db      *store.DB
	catalog *model.Catalog
	log     *slog.Logger
	started time.Time

	// Notifier tells DHCP agents of networks that come and go; Core changes ports. Both are set by wire.go.
	Notifier Notifier
	Core     Core
	// Started is called in the transaction of an agent's first report, with its host and configurations; nil for nothing.
	Started func(tx *store.Tx, host string, configurations map[string]any) error
}

// Core is what the ML2 plug-in does for this service.
type Core interface {
	UpdatePort(tx *store.Tx, caller *identity.Caller, id string, named []string, change func(*model.Port)) (*model.Port, error)
	// HostsWithAccess are those of the hosts whose L2 agents reach a segment of the network.
	HostsWithAccess(tx *store.Tx, network string, hosts []string) ([]string, error)
}

// Notifier sends messages to agents.
type Notifier interface {
	NetworkAdded(ctx context.Context, host, network string)
	NetworkRemoved(ctx context.Context, host, network string)
	AdminStateChanged(ctx context.Context, agentType, host string, up bool)
}

// New makes the service.
func New(cfg Config, db *store.DB, catalog *model.Catalog, log *slog.Logger) *Service {
	if cfg.AgentDownTime == 0 {
		cfg.AgentDownTime = 75 * time.Second
	}
	if cfg.DHCPAgentsPerNetwork == 0 {
		cfg.DHCPAgentsPerNetwork = 1
	}
	if cfg.DHCPLoadType == "" {
		cfg.DHCPLoadType = "networks"
	}
	s := &Service{cfg: cfg, db: db, catalog: catalog, log: log, started: time.Now()}
	catalog.Agents.SetMatching("alive", s.matchAlive)
	return s
}

// matchAlive is the filter alive=; only the first value counts, as upstream.
func (s *Service) matchAlive(values []string) (resource.Cond, error) {
	alive, err := resource.Bool.Parse(values[0])
	if err != nil {
		return resource.Cond{}, err
	}
	op := map[bool]string{true: ">", false: "<="}[alive]
	return resource.Cond{SQL: "t.heartbeat_timestamp " + op + " ?", Args: []any{s.aliveSince()}}, nil
}

// Logic is what agents do beyond being stored: the liveness in answers, and the message when one is switched off.
func (s *Service) Logic() resource.Logic[model.Agent] {
	return resource.Logic[model.Agent]{
		Load: func(_ *store.Tx, _ *identity.Caller, _ resource.Set, list []*model.Agent) error {
			for _, a := range list {
				a.Alive = s.Alive(a)
			}
			return nil
		},
		Create: func(*resource.Change[model.Agent]) error {
			return fault.BadRequest("BadRequest", "Bad agents request: Agent creation using API is not supported..")
		},
		Update: func(c *resource.Change[model.Agent]) error {
			if _, err := s.catalog.Agents.Save(c.Tx, c.Old, c.New); err != nil {
				return err
			}
			if c.Old.AdminStateUp != c.New.AdminStateUp && s.Notifier != nil {
				c.Tx.OnCommit(func(ctx context.Context) {
					s.Notifier.AdminStateChanged(ctx, c.New.AgentType, c.New.Host, c.New.AdminStateUp)
				})
			}
			return nil
		},
	}
}

// Alive tells whether an agent reported lately.
func (s *Service) Alive(a *model.Agent) bool {
	return a.HeartbeatAt.After(s.aliveSince().Time)
}

// aliveSince is the oldest heartbeat of a living agent.
func (s *Service) aliveSince() store.Time {
	return store.Time{Time: time.Now().UTC().Add(-s.cfg.AgentDownTime)}
}

// Report stores an agent's report (upstream AgentDbMixin.create_or_update_agent). The answer is one of rpc.AgentNew,
// rpc.AgentAlive and rpc.AgentRevived.
func (s *Service) Report(ctx context.Context, args rpc.ReportStateArgs) (string, error) {
	state := args.AgentState.AgentState
	sent, err := time.Parse(rpc.TimeFormat, args.Time)
	if err != nil {
		return "", fault.InvalidInput("report time %s", args.Time)
	}
	if sent.Before(s.started.Add(-s.cfg.AgentDownTime)) {
		s.log.Debug("report is older than this server", "agent", state.AgentType, "host", state.Host)
		return rpc.AgentAlive, nil
	}
	if state.Host == "" || state.AgentType == "" {
		return "", fault.InvalidInput("an agent's report needs host and agent_type")
	}
	configurations, err := json.Marshal(state.Configurations)
	if err != nil {
		return "", fmt.Errorf("configurations of %s on %s: %w", state.AgentType, state.Host, err)
	}
	var answer string
	err = s.db.Write(ctx, func(tx *store.Tx) (err error) {
		answer, err = s.upsert(tx, state, string(configurations))
		if err == nil && s.Started != nil && (state.StartFlag || answer != rpc.AgentAlive) {
			err = s.Started(tx, state.Host, state.Configurations)
		}
		return err
	})
	return answer, err
}

// upsert stores a report; one of an agent that lives is one statement.
func (s *Service) upsert(tx *store.Tx, state rpc.AgentState, configurations string) (string, error) {
	now := store.Now()
	columns := []string{tx.Dialect().Quote("binary"), "topic", "heartbeat_timestamp", "configurations", tx.Dialect().Quote("load")}
	values := []any{state.Binary, state.Topic, now, configurations, s.load(state)}
	set := func(column string, value any) { columns, values = append(columns, column), append(values, value) }
	if zone := zone(state); zone != "" {
		set("availability_zone", zone)
	}
	if len(state.ResourceVersions) > 0 {
		versions, err := json.Marshal(state.ResourceVersions)
		if err != nil {
			return "", fmt.Errorf("resource versions of %s on %s: %w", state.AgentType, state.Host, err)
		}
		set("resource_versions", string(versions))
	}
	started := len(columns)
	if state.StartFlag {
		set("started_at", now)
	}
	update := "UPDATE agents SET " + strings.Join(columns, " = ?, ") + " = ? WHERE agent_type = ? AND host = ?"
	key := append(slices.Clone(values), state.AgentType, state.Host)
	if n, err := tx.Exec(update+" AND heartbeat_timestamp > ?", append(slices.Clone(key), s.aliveSince())...); err != nil || n > 0 {
		return rpc.AgentAlive, err
	}
	if n, err := tx.Exec(update, key...); err != nil || n > 0 {
		return rpc.AgentRevived, err
	}
	columns, values = columns[:started], values[:started]
	set("id", uuid.NewString())
	set("agent_type", state.AgentType)
	set("host", state.Host)
	set("admin_state_up", s.cfg.EnableNewAgents)
	set("created_at", now)
	set("started_at", now)
	_, err := tx.Exec("INSERT INTO agents ("+strings.Join(columns, ", ")+") VALUES "+store.In(len(columns)), values...)
	if store.IsDuplicate(err) {
		return "", store.Retry(err)
	}
	return rpc.AgentNew, err
}

// zone is the availability zone of an agent. Agents whose work is placed by zones always have one.
func zone(state rpc.AgentState) string {
	if state.AvailabilityZone == "" && (state.AgentType == rpc.AgentTypeDHCP || state.AgentType == rpc.AgentTypeL3) {
		return "nova"
	}
	return state.AvailabilityZone
}

// load is what upstream's servers on the same database choose DHCP agents by.
func (s *Service) load(state rpc.AgentState) int {
	if state.AgentType != rpc.AgentTypeDHCP {
		return 0
	}
	n, _ := state.Configurations[s.cfg.DHCPLoadType].(float64)
	return int(n)
}

// OnHost returns the agents of a type, only on host unless that is "".
func (s *Service) OnHost(tx *store.Tx, agentType, host string) ([]*model.Agent, error) {
	where := []resource.Cond{resource.In("t.agent_type", []string{agentType})}
	if host != "" {
		where = append(where, resource.In("t.host", []string{host}))
	}
	return s.list(tx, where...)
}

func (s *Service) list(tx *store.Tx, where ...resource.Cond) ([]*model.Agent, error) {
	list, err := s.catalog.Agents.Select(tx, &resource.Query{Set: s.catalog.Agents.All, Where: where})
	for _, a := range list {
		a.Alive = s.Alive(a)
	}
	return list, err
}

// Zone is an availability zone as the API shows it.
type Zone struct{ Name, Resource, State string }

// Zones lists the availability zones of DHCP agents (for networks) and L3 agents (for routers).
func (s *Service) Zones(tx *store.Tx) ([]Zone, error) {
	rows, err := tx.Query("SELECT DISTINCT availability_zone, agent_type, admin_state_up FROM agents WHERE availability_zone IS NOT NULL "+
		"AND agent_type IN (?, ?)", rpc.AgentTypeDHCP, rpc.AgentTypeL3)
	type row struct {
		zone, kind string
		up         bool
	}
	list, err := store.All(rows, err, func(rows *store.Rows) (r row, err error) { return r, rows.Scan(&r.zone, &r.kind, &r.up) })
	if err != nil {
		return nil, err
	}
	var zones []Zone
	for _, r := range list {
		z := Zone{r.zone, map[string]string{rpc.AgentTypeDHCP: "network", rpc.AgentTypeL3: "router"}[r.kind], "unavailable"}
		i := slices.IndexFunc(zones, func(x Zone) bool { return x.Name == z.Name && x.Resource == z.Resource })
		if i < 0 {
			i, zones = len(zones), append(zones, z)
		}
		if r.up {
			zones[i].State = "available"
		}
	}
	return zones, nil
}
