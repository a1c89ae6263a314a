package rbac

import (
	"fmt"
	"maps"
	"testing"

	"neutrino/internal/identity"
	"neutrino/internal/model"
	"neutrino/internal/resource"
	"neutrino/internal/resource/resourcetest"
	"neutrino/internal/store"
	"neutrino/internal/store/dbtest"
)

// Projects and objects of the tests.
const (
	owner  = "11111111111111111111111111111111"
	friend = "22222222222222222222222222222222"
	third  = "33333333333333333333333333333333"

	net   = "aaaaaaaa-0000-4000-8000-000000000001"
	group = "aaaaaaaa-0000-4000-8000-000000000002"
	scope = "aaaaaaaa-0000-4000-8000-000000000003"
	pool  = "aaaaaaaa-0000-4000-8000-000000000004"
)

type env struct {
	*testing.T
	db  *store.DB
	svc *Service
}

func setUp(t *testing.T) *env {
	t.Helper()
	db := dbtest.Open(t)
	e := &env{t, db, New(model.NewCatalog(func(string) bool { return true }))}
	e.insert("networks", "id, project_id, name, status, admin_state_up, mtu", net, owner, "n", "ACTIVE", true, 1500)
	e.insert("securitygroups", "id, project_id, name, stateful", group, owner, "g", true)
	e.exec("INSERT INTO address_scopes (id, project_id, name, shared, ip_version) VALUES (?, ?, 's', false, 4)", scope, owner)
	e.insert("subnetpools", "id, project_id, name, ip_version, default_prefixlen, min_prefixlen, max_prefixlen, shared, is_default, hash, address_scope_id",
		pool, owner, "p", 4, 24, 8, 32, false, false, "", scope)
	return e
}

// insert adds a row with standard attributes.
func (e *env) insert(table, columns string, values ...any) {
	e.Helper()
	err := e.db.Write(e.Context(), func(tx *store.Tx) error {
		id, err := tx.Insert("INSERT INTO standardattributes (resource_type, revision_number) VALUES (?, 0)", table)
		if err == nil {
			_, err = tx.Exec("INSERT INTO "+table+" ("+columns+", standard_attr_id) VALUES "+store.In(len(values)+1), append(values, id)...)
		}
		return err
	})
	if err != nil {
		e.Fatal(err)
	}
}

// port adds a port.
func (e *env) port(id, project, deviceOwner string) {
	e.Helper()
	e.insert("ports", "id, project_id, network_id, mac_address, admin_state_up, status, device_id, device_owner", id, project, net, id[24:], true, "DOWN", "", deviceOwner)
}

func (e *env) exec(query string, args ...any) {
	e.Helper()
	if err := e.db.Write(e.Context(), func(tx *store.Tx) error { _, err := tx.Exec(query, args...); return err }); err != nil {
		e.Fatal(err)
	}
}

func (e *env) count(query string, args ...any) (n int) {
	e.Helper()
	if err := e.db.Read(e.Context(), func(tx *store.Tx) error { return tx.QueryRow(query, args...).Scan(&n) }); err != nil {
		e.Fatal(err)
	}
	return n
}

func as(project string) *identity.Caller { return &identity.Caller{ProjectID: project} }

var admin = &identity.Caller{ProjectID: third, IsAdmin: true}

// share creates a policy and returns its id.
func (e *env) share(caller *identity.Caller, objectType, objectID, target, action string) (string, error) {
	var id string
	err := e.db.Write(e.Context(), func(tx *store.Tx) error {
		r := e.svc.catalog.RBACPolicies
		p, named, err := r.Create(caller, map[string]any{"object_type": objectType, "object_id": objectID, "target_tenant": target, "action": action})
		if err != nil {
			return err
		}
		err = e.svc.create(&change{Resource: r, Tx: tx, Caller: caller, New: p, Named: named})
		id = p.ID
		return err
	})
	return id, err
}

// mustShare is share where it must work.
func (e *env) mustShare(objectType, objectID, target, action string) string {
	e.Helper()
	id, err := e.share(admin, objectType, objectID, target, action)
	if err != nil {
		e.Fatal(err)
	}
	return id
}

// change updates a policy, or deletes it if body is nil.
func (e *env) change(caller *identity.Caller, id string, body map[string]any) error {
	return e.db.Write(e.Context(), func(tx *store.Tx) error {
		r := e.svc.catalog.RBACPolicies
		old, err := r.Get(tx, caller, id, r.All)
		if err != nil {
			return err
		}
		c := &change{Resource: r, Tx: tx, Caller: caller, Old: old}
		if body == nil {
			return e.svc.delete(c)
		}
		now := *old
		c.New = &now
		if c.Named, err = r.Update(caller, &now, maps.Clone(body)); err != nil {
			return err
		}
		return e.svc.update(c)
	})
}

func target(project string) map[string]any { return map[string]any{"target_tenant": project} }

func want(t *testing.T, what string, err error, text string) {
	t.Helper()
	if got := resourcetest.Describe(err); got != text {
		t.Errorf("%s:\n got %s\nwant %s", what, got, text)
	}
}

const (
	mixin    = `Callback neutron.objects.%s.RbacNeutronDbObjectMixin.validate_rbac_policy_change-0 failed with "%s"`
	plugin   = `Callback neutron.plugins.ml2.plugin.NeutronDbPluginV2.validate_network_rbac_policy_change-0 failed with "%s"`
	external = `Callback neutron.plugins.ml2.plugin.External_net_db_mixin._validate_ext_not_in_use_by_project-0 failed with "%s"`
	inUseOf  = "RBAC policy on object %s cannot be removed because other objects depend on it.\nDetails: "
)

// refused is the error for a change of a policy to which one part objects.
func refused(object, part string, args ...any) string {
	return fmt.Sprintf("409 RbacPolicyInUse: "+inUseOf, object) + fmt.Sprintf(part, args...)
}

func TestCreate(t *testing.T) {
	e := setUp(t)
	const nowhere = "aaaaaaaa-0000-4000-8000-00000000ffff"
	for _, tt := range []struct {
		name                 string
		caller               *identity.Caller
		kind, object, action string
		want                 string
	}{
		{"own network", as(owner), "network", net, "access_as_shared", ""},
		{"again", admin, "network", net, "access_as_shared", "409 DuplicateRbacPolicy: An RBAC policy already exists with those values."},
		{"own group", as(owner), " Security_Group ", group, "access_as_shared", ""},
		{"pool without its scope", as(owner), "subnetpool", pool, "access_as_shared", "400 InvalidInput: Invalid input for operation: " + fmt.Sprintf(mixin, "subnetpool",
			"Failed to create RBAC policy on object "+pool+" because target project doesn't have access to associated address scope..") + "."},
		{"scope", as(owner), "address_scope", scope, "access_as_shared", ""},
		{"pool", as(owner), "subnetpool", pool, "access_as_shared", ""},
		{"foreign group", as(friend), "security_group", group, "access_as_shared", "400 InvalidInput: Invalid input for operation: " + fmt.Sprintf(mixin, "securitygroup",
			"Invalid input for operation: Only admins can manipulate policies on objects they do not own.") + "."},
		{"network out of sight", as(third), "network", net, "access_as_shared", "400 InvalidInput: Invalid input for operation: " + fmt.Sprintf(mixin, "network",
			"Invalid input for operation: Only admins can manipulate policies on objects they do not own.") + "," + fmt.Sprintf(plugin, "Network "+net+" could not be found.") + "."},
		{"no network", admin, "network", nowhere, "access_as_shared", "400 InvalidInput: Invalid input for operation: " +
			fmt.Sprintf(plugin, "Network "+nowhere+" could not be found.") + "."},
		{"no group", as(owner), "security_group", nowhere, "access_as_shared", "400 InvalidInput: Invalid input for operation: " +
			fmt.Sprintf(mixin, "securitygroup", "'NoneType' object is not subscriptable") + "."},
		{"action", admin, "security_group", group, "access_as_external", "400 InvalidActionForType: Invalid action 'access_as_external' for object type 'security_group'. Valid actions: ('access_as_shared',)"},
		{"action on network", admin, "network", net, "x", "400 InvalidActionForType: Invalid action 'x' for object type 'network'. Valid actions: ('access_as_shared', 'access_as_external')"},
		{"kind", admin, "subnet", net, "access_as_shared", "400 InvalidInput: Invalid input for operation: 'subnet' is not a valid RBAC object type."},
	} {
		_, err := e.share(tt.caller, tt.kind, tt.object, friend, tt.action)
		want(t, tt.name, err, tt.want)
	}
	if _, err := e.share(admin, "network", net, "friend", "access_as_shared"); err == nil {
		t.Error("a target that is no project was taken")
	}
}

// TestPorts: a network cannot be taken away from projects with ports there.
func TestPorts(t *testing.T) {
	e := setUp(t)
	p := e.mustShare("network", net, friend, model.AccessShared)
	e.port("aaaaaaaa-0000-4000-8000-00000000000a", friend, "")
	e.port("aaaaaaaa-0000-4000-8000-00000000000b", "", "network:router_gateway")
	busy := refused(net, plugin, "Unable to reconfigure sharing settings for network "+net+". Multiple projects are using it.")
	want(t, "delete", e.change(as(third).Elevated(), p, nil), busy)
	want(t, "other target", e.change(admin, p, target(third)), busy)
	want(t, "same target", e.change(admin, p, target(friend)), "")
	want(t, "no target", e.change(admin, p, map[string]any{}), refused(net, mixin+","+plugin, "network", "'target_project'", "'target_project'"))

	all := e.mustShare("network", net, model.AllProjects, model.AccessShared)
	want(t, "delete besides one for all", e.change(admin, p, nil), "")
	want(t, "delete the one for all", e.change(admin, all, nil), busy)
	e.mustShare("network", net, friend, model.AccessShared)
	want(t, "delete the one for all besides that of the user", e.change(admin, all, nil), "")
	if got := e.count("SELECT s.revision_number FROM standardattributes s JOIN networks n ON n.standard_attr_id = s.id"); got != 5 {
		t.Errorf("the network's revision is %d after 5 changes of its policies", got)
	}
}

// TestUsers: other objects cannot be taken away from projects that use them.
func TestUsers(t *testing.T) {
	e := setUp(t)
	for _, tt := range []struct{ kind, module, object, use string }{
		{"address_scope", "address_scope", scope, "UPDATE subnetpools SET project_id = '" + friend + "' WHERE address_scope_id = ?"},
		{"security_group", "securitygroup", group, "INSERT INTO securitygroupportbindings (port_id, security_group_id) VALUES ('aaaaaaaa-0000-4000-8000-00000000000a', ?)"},
	} {
		p := e.mustShare(tt.kind, tt.object, friend, model.AccessShared)
		if tt.kind == "security_group" {
			e.port("aaaaaaaa-0000-4000-8000-00000000000a", friend, "")
		}
		e.exec(tt.use, tt.object)
		busy := refused(tt.object, mixin, tt.module, fmt.Sprintf(inUseOf, tt.object)+"project_id="+friend)
		want(t, tt.kind+": delete", e.change(admin, p, nil), busy)
		want(t, tt.kind+": other target", e.change(admin, p, target(third)), busy)
		want(t, tt.kind+": all as target", e.change(admin, p, target(model.AllProjects)), "")
		want(t, tt.kind+": delete the one for all", e.change(admin, p, nil), refused(tt.object, mixin, tt.module, fmt.Sprintf(inUseOf, tt.object)+"project_id=*"))
		e.mustShare(tt.kind, tt.object, friend, model.AccessShared)
		want(t, tt.kind+": delete the one for all besides that of the user", e.change(admin, p, nil), "")
	}
}

// TestExternal: policies make networks external and internal, and stay while routers need them.
func TestExternal(t *testing.T) {
	e := setUp(t)
	isExternal := func() int { return e.count("SELECT COUNT(*) FROM externalnetworks") }
	p := e.mustShare("network", net, friend, model.AccessExternal)
	if isExternal() != 1 {
		t.Error("the network did not become external")
	}
	e.port("aaaaaaaa-0000-4000-8000-00000000000a", "", "network:router_gateway")
	e.insert("routers", "id, project_id, gw_port_id", "r", friend, "aaaaaaaa-0000-4000-8000-00000000000a")
	busy := refused(net, external, fmt.Sprintf(inUseOf, net)+"There are routers attached to this network that depend on this policy for access.")
	want(t, "delete", e.change(admin, p, nil), busy)
	want(t, "other target", e.change(admin, p, target(third)), busy)
	all := e.mustShare("network", net, model.AllProjects, model.AccessExternal)
	want(t, "other target besides one for all", e.change(admin, p, target(third)), "")
	want(t, "delete the one for all", e.change(admin, all, nil), busy)
	want(t, "give the one for all to the user", e.change(admin, all, target(friend)), "")
	e.exec("UPDATE routers SET gw_port_id = NULL")
	for _, id := range []string{all, p} {
		if isExternal() != 1 {
			t.Error("the network became internal too early")
		}
		want(t, "delete", e.change(admin, id, nil), "")
	}
	if isExternal() != 1 {
		t.Error("the network became internal with a gateway on it")
	}
	e.exec("DELETE FROM ports")
	want(t, "delete", e.change(admin, e.mustShare("network", net, model.AllProjects, model.AccessExternal), nil), "")
	if isExternal() != 0 {
		t.Error("the network stayed external without a policy")
	}
	all = e.mustShare("network", net, model.AllProjects, model.AccessExternal)
	e.exec("UPDATE externalnetworks SET is_default = ?", true)
	want(t, "delete at the default network", e.change(admin, all, nil),
		refused(net, external, fmt.Sprintf(inUseOf, net)+"Default external networks must be shared to everyone."))
}

// TestSight: projects see the policies they own, of all kinds in one list.
func TestSight(t *testing.T) {
	e := setUp(t)
	for _, kind := range []struct{ name, object string }{{"network", net}, {"security_group", group}, {"address_scope", scope}} {
		if _, err := e.share(as(owner), kind.name, kind.object, friend, model.AccessShared); err != nil {
			t.Fatal(err)
		}
	}
	r := e.svc.catalog.RBACPolicies
	for caller, n := range map[*identity.Caller]int{as(owner): 3, as(friend): 0, admin: 3} {
		err := e.db.Read(e.Context(), func(tx *store.Tx) error {
			all, err := r.Select(tx, &resource.Query{Set: r.All, Caller: caller})
			if len(all) != n {
				t.Errorf("%s sees %d policies, want %d", caller.ProjectID, len(all), n)
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
	}
	_, err := e.share(as(owner), "network", net, owner, model.AccessShared)
	want(t, "sharing with oneself", err, "")
	want(t, "unknown", e.change(as(owner), "x", nil), "404 RbacPolicyNotFound: RBAC policy of type unknown with ID x not found")
}
