// Package secgroup is the security group service: groups, their rules, the default group of each project, and which
// groups a port has. What the groups mean to packets is the L2 agent's business.
package secgroup

import (
	"context"
	"log/slog"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"

	"neutrino/internal/fault"
	"neutrino/internal/identity"
	"neutrino/internal/model"
	"neutrino/internal/resource"
	"neutrino/internal/store"

	"github.com/google/uuid"
)

// Quota checks limits; see package quota.
type Quota interface {
	Check(tx *store.Tx, caller *identity.Caller, resource, project string, count int) error
}

// Hooks tell others, after the commit, what changed.
type Hooks struct {
	RulesChanged []func(ctx context.Context, groups []string) // rules of these groups
	// MembersChanged is told of groups that ports with these addresses joined or left; nil: with any addresses.
	MembersChanged []func(ctx context.Context, groups []string, addresses []netip.Addr)
}

// Service manages security groups.
type Service struct {
	Hooks Hooks

	db      *store.DB
	catalog *model.Catalog
	quota   Quota
	log     *slog.Logger
}

// New makes the service.
func New(db *store.DB, catalog *model.Catalog, quota Quota, log *slog.Logger) *Service {
	return &Service{db: db, catalog: catalog, quota: quota, log: log}
}

const (
	defaultName        = "default"
	defaultDescription = "Default security group"
)

// Groups is what security groups do beyond being stored.
func (s *Service) Groups() resource.Logic[model.SecurityGroup] {
	return resource.Logic[model.SecurityGroup]{Create: s.createGroup, Update: s.updateGroup, Delete: s.deleteGroup,
		Load: s.loadRules, BeforeList: s.ensureForList,
		// In lists upstream does not look whether rules are of a default group.
		AfterList: func(_ url.Values, groups []*model.SecurityGroup) {
			for _, g := range groups {
				for _, r := range g.Rules {
					r.InDefaultGroup = nil
				}
			}
		}}
}

func (s *Service) createGroup(c *resource.Change[model.SecurityGroup]) error {
	if _, err := s.EnsureDefault(c.Tx, c.Caller, c.New.ProjectID); err != nil {
		return err
	}
	if !c.Has("stateful") {
		stateful, err := s.defaultStateful(c.Tx, c.New.ProjectID)
		if err != nil {
			return err
		}
		c.New.Stateful = stateful
	}
	return s.insert(c.Tx, c.Caller, c.New, "used_in_non_default_sg")
}

// insert stores a group with the rules of the template that column selects.
func (s *Service) insert(tx *store.Tx, caller *identity.Caller, g *model.SecurityGroup, column string) error {
	if g.ID == "" {
		g.ID = uuid.NewString()
	}
	rules, err := s.templates(tx, column)
	if err != nil {
		return err
	}
	if err := s.quota.Check(tx, caller, "security_group_rule", g.ProjectID, len(rules)); err != nil {
		return err
	}
	if err := s.catalog.SecurityGroups.Insert(tx, g); err != nil {
		return err
	}
	for _, r := range rules {
		r.ID, r.ProjectID, r.SecurityGroupID = uuid.NewString(), g.ProjectID, g.ID
		if r.RemoteGroupID != nil && *r.RemoteGroupID == model.ParentGroup {
			r.RemoteGroupID = &g.ID
		}
		if err := s.catalog.SecurityGroupRules.Insert(tx, r); err != nil {
			return err
		}
		g.Rules = append(g.Rules, r)
	}
	return nil
}

// EnsureDefault makes the default group of a project if it has none, and returns its id. A caller who may not act for
// the project gets none and no error. The group stays even if the request is refused afterwards: in upstream it has a transaction
// of its own.
func (s *Service) EnsureDefault(tx *store.Tx, caller *identity.Caller, project string) (string, error) {
	if !mayEnsure(caller, project) {
		return "", nil
	}
	id, found, err := store.One[string](tx.QueryRow("SELECT security_group_id FROM default_security_group WHERE project_id = ?", project))
	if err != nil || found {
		return id, err
	}
	id, err = s.makeDefault(tx, caller, project)
	if err == nil {
		tx.OnFailure(func(ctx context.Context) {
			if err := s.ensureAlone(ctx, caller, project); err != nil {
				s.log.WarnContext(ctx, "no default security group yet", "project", project, "error", err)
			}
		})
	}
	return id, err
}

// ensureAlone makes the default group in a transaction of its own.
func (s *Service) ensureAlone(ctx context.Context, caller *identity.Caller, project string) error {
	return s.db.Write(ctx, func(tx *store.Tx) error {
		_, found, err := store.One[string](tx.QueryRow("SELECT security_group_id FROM default_security_group WHERE project_id = ?", project))
		if err == nil && !found {
			_, err = s.makeDefault(tx, caller, project)
		}
		return err
	})
}

func (s *Service) makeDefault(tx *store.Tx, caller *identity.Caller, project string) (_ string, err error) {
	g := &model.SecurityGroup{Standard: model.Standard{ID: uuid.NewString(), ProjectID: project, Name: defaultName}}
	g.Description = new(defaultDescription)
	if g.Stateful, err = s.defaultStateful(tx, project); err != nil {
		return "", err
	}
	if err := s.insert(tx, caller, g, "used_in_default_sg"); err != nil {
		return "", err
	}
	_, err = tx.Exec("INSERT INTO default_security_group (project_id, security_group_id) VALUES (?, ?)", project, g.ID)
	if store.IsDuplicate(err) { // another server was quicker
		return "", store.Retry(err)
	}
	return g.ID, err
}

const maxProject = 255 // characters that the column holds

func mayEnsure(caller *identity.Caller, project string) bool {
	return project != "" && utf8.RuneCountInString(project) <= maxProject && (project == caller.ProjectID || caller.IsAdmin || caller.IsService)
}

// ensureForList makes the default group before the groups or rules of a project are listed.
func (s *Service) ensureForList(ctx context.Context, caller *identity.Caller, query url.Values) error {
	if caller.ProjectID == "" {
		return nil
	}
	project := caller.ProjectID
	for _, key := range []string{"tenant_id", "project_id"} {
		if p := query.Get(key); p != "" {
			project = p
		}
	}
	if !mayEnsure(caller, project) {
		return nil
	}
	var found bool
	err := s.db.Read(ctx, func(tx *store.Tx) (err error) {
		_, found, err = store.One[string](tx.QueryRow("SELECT security_group_id FROM default_security_group WHERE project_id = ?", project))
		return err
	})
	if err != nil || found {
		return err
	}
	return s.ensureAlone(ctx, caller, project)
}

func (s *Service) updateGroup(c *resource.Change[model.SecurityGroup]) error {
	if c.Old.Stateful != c.New.Stateful {
		if err := s.unused(c.Tx, c.Old.ID); err != nil {
			return err
		}
	}
	if c.Old.Name == defaultName && c.Has("name") {
		return fault.Conflict("SecurityGroupCannotUpdateDefault", "Updating default security group not allowed.")
	}
	_, err := s.catalog.SecurityGroups.Save(c.Tx, c.Old, c.New)
	return err
}

func (s *Service) unused(tx *store.Tx, id string) error {
	var n int
	if err := tx.QueryRow("SELECT COUNT(*) FROM securitygroupportbindings WHERE security_group_id = ?", id).Scan(&n); err != nil {
		return err
	}
	if n > 0 {
		return fault.Conflict("SecurityGroupInUse", "Security Group %s in use.", id)
	}
	return nil
}

func (s *Service) deleteGroup(c *resource.Change[model.SecurityGroup]) error {
	if err := s.unused(c.Tx, c.Old.ID); err != nil {
		return err
	}
	if c.Old.Name == defaultName && !c.Caller.IsAdmin {
		return fault.Conflict("SecurityGroupCannotRemoveDefault", "Insufficient rights for removing default security group.")
	}
	rows, err := c.Tx.Query("SELECT DISTINCT security_group_id FROM securitygrouprules WHERE remote_group_id = ? AND security_group_id <> ?", c.Old.ID, c.Old.ID)
	naming, err := store.Strings(rows, err)
	if err != nil {
		return err
	}
	notify(c.Tx, s.Hooks.RulesChanged, naming)
	// The group's rules go by cascade, and those of others that name it; their standard attributes would stay.
	if _, err := c.Tx.Exec("DELETE FROM standardattributes WHERE id IN (SELECT standard_attr_id FROM securitygrouprules "+
		"WHERE security_group_id = ? OR remote_group_id = ?)", c.Old.ID, c.Old.ID); err != nil {
		return err
	}
	return s.catalog.SecurityGroups.Delete(c.Tx, c.Old)
}

// loadRules fills the rules of groups.
func (s *Service) loadRules(tx *store.Tx, _ *identity.Caller, set resource.Set, groups []*model.SecurityGroup) error {
	if set&s.catalog.SecurityGroups.Bit("security_group_rules") == 0 || len(groups) == 0 {
		return nil
	}
	byID := make(map[string]*model.SecurityGroup, len(groups))
	ids := make([]string, len(groups))
	for i, g := range groups {
		byID[g.ID], ids[i], g.Rules = g, g.ID, nil
	}
	for chunk := range slices.Chunk(ids, 5000) {
		rules, err := s.catalog.SecurityGroupRules.Select(tx, &resource.Query{Set: s.catalog.SecurityGroupRules.Shown,
			Where: []resource.Cond{resource.In("t.security_group_id", chunk)}})
		if err != nil {
			return err
		}
		for _, r := range rules {
			normalize(r)
			byID[r.SecurityGroupID].Rules = append(byID[r.SecurityGroupID].Rules, r)
		}
	}
	return nil
}

// notify runs hooks after the commit.
func notify(tx *store.Tx, hooks []func(context.Context, []string), groups []string) {
	if len(groups) == 0 {
		return
	}
	tx.OnCommit(func(ctx context.Context) {
		for _, h := range hooks {
			h(ctx, groups)
		}
	})
}

// PreparePorts makes the default groups of ports' projects, and gives them to new ports that name none (hook of the ML2 plug-in).
func (s *Service) PreparePorts(cs []*resource.Change[model.Port]) error {
	groups := map[string]string{} // by project; callers and transaction are the same for all
	for _, c := range cs {
		if c.Resource.Bit("security_groups") == 0 {
			continue
		}
		project := c.New.ProjectID
		if c.Old != nil {
			project = c.Old.ProjectID
		}
		id, known := groups[project]
		if !known {
			var err error
			if id, err = s.EnsureDefault(c.Tx, c.Caller, project); err != nil {
				return err
			}
			groups[project] = id
		}
		if c.Old == nil && id != "" && !c.Has("security_groups") && !trusted(c.New.DeviceOwner) {
			c.New.SecurityGroups = []string{id}
		}
	}
	return nil
}

// BeforePort checks the groups of a port (hook of the ML2 plug-in).
func (s *Service) BeforePort(c *resource.Change[model.Port]) error {
	p := c.New
	if p == nil || c.Resource.Bit("security_groups") == 0 {
		return nil
	}
	if trusted(p.DeviceOwner) {
		if c.Old == nil {
			p.SecurityGroups = []string{}
		}
		return nil
	}
	if !c.Has("security_groups") || len(p.SecurityGroups) == 0 {
		return nil
	}
	return s.checkGroups(c.Tx, c.Caller, p)
}

// trusted tells whether ports of this owner are never filtered (upstream net.is_port_trusted).
func trusted(owner string) bool { return strings.HasPrefix(owner, "network:") }

func (s *Service) checkGroups(tx *store.Tx, caller *identity.Caller, p *model.Port) error {
	view := *caller
	if !caller.IsAdmin {
		view.ProjectID = p.ProjectID
	}
	found, stateful := map[string]bool{}, map[bool]bool{}
	for ids := range slices.Chunk(p.SecurityGroups, 500) {
		groups, err := s.catalog.SecurityGroups.Select(tx, &resource.Query{Set: s.catalog.SecurityGroups.Bits("id", "stateful"), Caller: &view,
			Where: []resource.Cond{s.catalog.SecurityGroups.ByID(ids...)}})
		if err != nil {
			return err
		}
		for _, g := range groups {
			found[g.ID], stateful[g.Stateful] = true, true
		}
	}
	missing := slices.DeleteFunc(slices.Clone(p.SecurityGroups), func(id string) bool { return found[id] })
	if len(missing) > 0 {
		return fault.NotFound("SecurityGroupNotFound", "Security group %s does not exist", strings.Join(missing, ", "))
	}
	if len(stateful) > 1 {
		return fault.Conflict("SecurityGroupConflict", "Error %s while attempting the operation.",
			"Cannot apply both stateful and stateless security groups on the same port at the same time")
	}
	return nil
}

// AfterPort tells which groups got or lost addresses (hook of the ML2 plug-in).
func (s *Service) AfterPort(ctx context.Context, old, now *model.Port) {
	var groups []string
	switch {
	case old == nil:
		groups = now.SecurityGroups
	case now == nil:
		groups = old.SecurityGroups
	case !slices.Equal(sorted(old.SecurityGroups), sorted(now.SecurityGroups)), old.MACAddress != now.MACAddress,
		!model.SameSet(old.FixedIPs, now.FixedIPs), !model.SameSet(old.AddressPairs, now.AddressPairs):
		groups = slices.Concat(old.SecurityGroups, now.SecurityGroups)
	}
	if len(groups) == 0 {
		return
	}
	groups = slices.Compact(sorted(groups))
	addresses := memberAddresses(old, now)
	for _, h := range s.Hooks.MembersChanged {
		h(ctx, groups, addresses)
	}
}

// memberAddresses are the addresses that the ports, of which some may be nil, add to their groups; nil if there are others
// than single ones.
func memberAddresses(ports ...*model.Port) []netip.Addr {
	all := []netip.Addr{}
	for _, p := range ports {
		if p == nil {
			continue
		}
		var texts []string
		for _, ip := range p.FixedIPs {
			texts = append(texts, ip.IPAddress)
		}
		for _, pair := range p.AddressPairs {
			texts = append(texts, pair.IPAddress)
		}
		for _, text := range texts {
			a, single := model.SingleAddress(text)
			if !single {
				return nil
			}
			all = append(all, a)
		}
	}
	slices.SortFunc(all, netip.Addr.Compare)
	return slices.Compact(all)
}

func sorted(in []string) []string {
	out := slices.Clone(in)
	slices.Sort(out)
	return out
}

// PrepareNetwork makes the default group of a project that creates a network (hook of the ML2 plug-in).
func (s *Service) PrepareNetwork(c *resource.Change[model.Network]) error {
	_, err := s.EnsureDefault(c.Tx, c.Caller, c.New.ProjectID)
	return err
}
