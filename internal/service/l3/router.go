package l3

import (
	"fmt"
	"slices"
	"strings"

	"neutrino/internal/fault"
	"neutrino/internal/identity"
	"neutrino/internal/model"
	"neutrino/internal/resource"
	"neutrino/internal/rpc"
	"neutrino/internal/store"

	"github.com/google/uuid"
)

// Routers is what routers do beyond being stored.
func (s *Service) Routers() resource.Logic[model.Router] {
	return resource.Logic[model.Router]{Create: s.createRouter, Update: s.updateRouter, Delete: s.deleteRouter, Load: s.loadRouters,
		Answer: answerRouter}
}

// answerRouter shows the zones that a router was in before the request: upstream chooses agents afterwards.
func answerRouter(c *resource.Change[model.Router], r *model.Router) {
	r.AvailabilityZones = nil
	if c.Old != nil {
		r.AvailabilityZones = c.Old.AvailabilityZones
	}
}

func (s *Service) createRouter(c *resource.Change[model.Router]) error {
	r, asked := c.New, c.New.Gateway
	if r.ID == "" {
		r.ID = uuid.NewString()
	}
	if err := checkZones(c.Tx, r.ZoneHints); err != nil {
		return err
	}
	r.Status, r.Gateway, r.EnableSNAT = statusActive, nil, s.snat(asked)
	distributed, ha := s.Kind(r)
	r.Distributed, r.HA = &distributed, &ha
	if ha {
		if _, err := s.ensureHANetwork(c.Tx, r.ProjectID); err != nil {
			return err
		}
	}
	if err := s.catalog.Routers.Insert(c.Tx, r); err != nil {
		return err
	}
	if s.catalog.Routers.Bits("availability_zone_hints", "ha") == 0 { // else Insert has made the row
		if _, err := c.Tx.Exec("INSERT INTO router_extra_attributes (router_id) VALUES (?)", r.ID); err != nil {
			return fmt.Errorf("create router: %w", err)
		}
	}
	if asked != nil {
		if err := s.setGateway(c.Tx, c.Caller, r, asked); err != nil {
			return err
		}
		steps := 1 // as in saveRouter
		if !r.EnableSNAT {
			steps++
		}
		if err := s.catalog.Routers.CountUp(c.Tx, steps, r); err != nil {
			return err
		}
	}
	if asked == nil && !ha {
		return nil // it gets an agent when it is connected to something
	}
	return s.updated(c.Tx, r.ID)
}

// checkZones refuses hints that no L3 agent can fulfil.
func checkZones(tx *store.Tx, hints model.ZoneHints) error {
	if len(hints) == 0 {
		return nil
	}
	in := resource.In("availability_zone", hints)
	known, err := store.Strings(tx.Query("SELECT DISTINCT availability_zone FROM agents WHERE agent_type = ? AND "+in.SQL,
		append([]any{rpc.AgentTypeL3}, in.Args...)...))
	if err != nil {
		return fmt.Errorf("read availability zones: %w", err)
	}
	for _, h := range hints {
		if !slices.Contains(known, h) {
			return fault.NotFound("AvailabilityZoneNotFound", "AvailabilityZone %s could not be found.", h)
		}
	}
	return nil
}

func (s *Service) updateRouter(c *resource.Change[model.Router]) error {
	asked := c.New.Gateway
	if err := lock(c.Tx, c.Old.ID); err != nil {
		return err
	}
	if err := loadGateways(c.Tx, []*model.Router{c.Old}); err != nil {
		return err
	}
	c.New.Gateway = c.Old.Gateway
	if c.Has("routes") {
		if err := s.checkRoutes(c.Tx, c.Caller, c.New); err != nil {
			return err
		}
	}
	if c.Has("external_gateway_info") {
		if err := s.setGateway(c.Tx, c.Caller, c.New, asked); err != nil {
			return err
		}
	}
	if err := s.changeKind(c); err != nil {
		return err
	}
	if err := s.saveRouter(c.Tx, c.Old, c.New); err != nil {
		return err
	}
	if err := s.snatPorts(c.Tx, c.Old, c.New); err != nil {
		return err
	}
	return s.updated(c.Tx, c.New.ID)
}

// saveRouter stores what changed. Upstream writes it in several transactions, each of which counts the revision up; other
// addresses of the gateway do not.
func (s *Service) saveRouter(tx *store.Tx, old, now *model.Router) error {
	routers := s.catalog.Routers
	changed := routers.Changed(old, now)
	steps := 0
	for _, group := range [][]string{{"routes"}, {"enable_snat"}, {"name", "admin_state_up", "description", "distributed", "ha"}} {
		if changed&routers.Bits(group...) != 0 {
			steps++
		}
	}
	if !same(old.GatewayPortID, now.GatewayPortID) {
		if old.GatewayPortID != nil {
			steps += 2
		}
		if now.GatewayPortID != nil {
			steps++
		}
	}
	if steps == 0 {
		return nil
	}
	if _, err := routers.Save(tx, old, now); err != nil {
		return err
	}
	return routers.CountUp(tx, steps-1, now)
}

func (s *Service) deleteRouter(c *resource.Change[model.Router]) error {
	tx, r := c.Tx, c.Old
	if err := lock(tx, r.ID); err != nil {
		return err
	}
	ports, err := attachments(tx, r.ID)
	if err != nil {
		return err
	}
	var inUse []string
	for _, p := range ports {
		if p.owner == interfaceOwner(r) {
			inUse = append(inUse, p.port)
		}
	}
	if len(inUse) > 0 {
		return fault.Conflict("RouterInUse", "Router %s has ports still attached: %s", r.ID, strings.Join(inUse, ", "))
	}
	if err := loadGateways(tx, []*model.Router{r}); err != nil {
		return err
	}
	gone := *r
	if err := s.dropGateway(tx, &gone); err != nil {
		return err
	}
	for _, p := range ports {
		if r.GatewayPortID != nil && p.port == *r.GatewayPortID {
			continue
		}
		if err := s.core.DeletePort(tx, identity.System(), p.port); err != nil {
			return err
		}
	}
	if is(r.HA) {
		if err := releaseVRID(tx, r.ID, r.ProjectID); err != nil {
			return err
		}
	}
	hosts, err := s.placements(tx, r.ID)
	if err != nil {
		return err
	}
	err = s.catalog.Routers.Delete(tx, r)
	if store.IsForeignKey(err) { // a floating IP has come to use the router
		return store.Retry(err)
	}
	if err != nil {
		return err
	}
	s.deleted(tx, hosts)
	if is(r.HA) {
		return s.dropHANetwork(tx, r.ProjectID)
	}
	return nil
}

func (s *Service) loadRouters(tx *store.Tx, _ *identity.Caller, set resource.Set, routers []*model.Router) error {
	if set&s.catalog.Routers.Bit("external_gateway_info") == 0 {
		return nil
	}
	return loadGateways(tx, routers)
}

// chunk is how many ids go into one query.
const chunk = 5000

// loadGateways fills Gateway of routers whose GatewayPortID and EnableSNAT are read.
func loadGateways(tx *store.Tx, routers []*model.Router) error {
	byPort := map[string]*model.Router{}
	var ports []string
	for _, r := range routers {
		r.Gateway = nil
		if r.GatewayPortID != nil {
			byPort[*r.GatewayPortID] = r
			ports = append(ports, *r.GatewayPortID)
		}
	}
	for some := range slices.Chunk(ports, chunk) {
		in := resource.In("p.id", some)
		rows, err := tx.Query("SELECT p.id, p.network_id, a.subnet_id, a.ip_address FROM ports p LEFT JOIN ipallocations a ON a.port_id = p.id "+
			"WHERE "+in.SQL+" ORDER BY a.ip_address", in.Args...)
		_, err = store.All(rows, err, func(rows *store.Rows) (struct{}, error) {
			var port, network string
			var subnet, ip *string
			if err := rows.Scan(&port, &network, &subnet, &ip); err != nil {
				return struct{}{}, err
			}
			r := byPort[port]
			if r.Gateway == nil {
				r.Gateway = &model.GatewayInfo{NetworkID: network, EnableSNAT: r.EnableSNAT, ExternalFixedIPs: []model.FixedIP{}}
			}
			if subnet != nil && ip != nil {
				r.Gateway.ExternalFixedIPs = append(r.Gateway.ExternalFixedIPs, model.FixedIP{SubnetID: *subnet, IPAddress: *ip})
			}
			return struct{}{}, nil
		})
		if err != nil {
			return fmt.Errorf("read gateway ports: %w", err)
		}
	}
	return nil
}
