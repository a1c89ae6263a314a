package ml2

import (
	"fmt"
	"slices"

	"neutrino/internal/fault"
	"neutrino/internal/model"
	"neutrino/internal/resource"
	"neutrino/internal/store"

	"github.com/google/uuid"
)

// Actions of RBAC entries.
const (
	accessShared   = "access_as_shared"
	accessExternal = "access_as_external"
)

func contains[T comparable](list []T, x T) bool { return slices.Contains(list, x) }

// grant lets all projects do something with a network.
func grant(tx *store.Tx, n *model.Network, action string) error {
	_, err := tx.Exec(tx.Dialect().InsertIgnore("networkrbacs", "id", "project_id", "object_id", "target_project", "action"),
		uuid.NewString(), n.ProjectID, n.ID, "*", action)
	if err != nil {
		return fmt.Errorf("share network %s: %w", n.ID, err)
	}
	return nil
}

// share makes the entry that shares a network with everybody agree with the attribute "shared".
func share(tx *store.Tx, old, now *model.Network) error {
	if now.Shared {
		return grant(tx, now, accessShared)
	}
	if old == nil {
		return nil
	}
	var entries []string // projects that it is shared with
	rows, err := tx.Query("SELECT target_project FROM networkrbacs WHERE object_id = ? AND action = ?", now.ID, accessShared)
	if entries, err = store.Strings(rows, err); err != nil {
		return fmt.Errorf("read shares of network %s: %w", now.ID, err)
	}
	if !contains(entries, "*") {
		return nil
	}
	if err := unused(tx, old, entries); err != nil {
		return err
	}
	_, err = tx.Exec("DELETE FROM networkrbacs WHERE object_id = ? AND action = ? AND target_project = ?", now.ID, accessShared, "*")
	if err != nil {
		return fmt.Errorf("unshare network %s: %w", now.ID, err)
	}
	return nil
}

// unused refuses to take a network away from projects that have ports or subnets there.
func unused(tx *store.Tx, n *model.Network, entries []string) error {
	users, err := store.Strings(tx.Query("SELECT DISTINCT project_id FROM ports WHERE network_id = ? AND device_owner NOT LIKE 'network:%' "+
		"AND project_id IS NOT NULL UNION SELECT DISTINCT project_id FROM subnets WHERE network_id = ? AND project_id IS NOT NULL", n.ID, n.ID))
	if err != nil {
		return fmt.Errorf("read users of network %s: %w", n.ID, err)
	}
	for _, u := range users {
		if u != n.ProjectID && !contains(entries, u) {
			return fault.Conflict("InvalidSharedSetting",
				"Unable to reconfigure sharing settings for network %s. Multiple projects are using it.", n.Name)
		}
	}
	return nil
}

// makeExternal makes the rows of an external network agree with its attributes. That there is a default network already is
// also an error for a new network that is not external, as upstream.
func (p *Plugin) makeExternal(tx *store.Tx, old, now *model.Network) error {
	if now.IsDefault && (now.External && !(old.External && old.IsDefault) || old.ID == "") {
		id, found, err := store.One[string](tx.QueryRow("SELECT network_id FROM externalnetworks WHERE is_default = ? AND network_id <> ?", true, now.ID))
		if err != nil {
			return fmt.Errorf("read default external network: %w", err)
		}
		if found {
			return fault.Conflict("DefaultExternalNetworkExists", "A default external network already exists: %s.", id)
		}
	}
	switch {
	case now.External && !old.External:
		if _, err := tx.Exec("INSERT INTO externalnetworks (network_id, is_default) VALUES (?, ?)", now.ID, now.IsDefault); err != nil {
			return fmt.Errorf("make network %s external: %w", now.ID, err)
		}
		return grant(tx, now, accessExternal)
	case !now.External && old.External:
		return makeInternal(tx, now)
	case now.External && now.IsDefault != old.IsDefault:
		if _, err := tx.Exec("UPDATE externalnetworks SET is_default = ? WHERE network_id = ?", now.IsDefault, now.ID); err != nil {
			return fmt.Errorf("update external network %s: %w", now.ID, err)
		}
	}
	return nil
}

func makeInternal(tx *store.Tx, n *model.Network) error {
	_, gateways, err := store.One[string](tx.QueryRow("SELECT id FROM ports WHERE network_id = ? AND device_owner = ? LIMIT 1", n.ID, ownerRouterGateway))
	if err != nil {
		return fmt.Errorf("read gateway ports of network %s: %w", n.ID, err)
	}
	if gateways {
		return fault.Conflict("ExternalNetworkInUse",
			"External network %s cannot be updated to be made non-external, since it has existing gateway ports.", n.ID)
	}
	for _, c := range []resource.Cond{
		{SQL: "DELETE FROM externalnetworks WHERE network_id = ?", Args: []any{n.ID}},
		{SQL: "DELETE FROM networkrbacs WHERE object_id = ? AND action = ?", Args: []any{n.ID, accessExternal}},
	} {
		if _, err := tx.Exec(c.SQL, c.Args...); err != nil {
			return fmt.Errorf("make network %s internal: %w", n.ID, err)
		}
	}
	return nil
}
