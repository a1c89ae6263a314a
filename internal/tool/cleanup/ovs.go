package cleanup

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"

	"neutrino/internal/ovs"
)

// skipCleanup in the external_ids of an interface keeps it from being removed.
const skipCleanup = "skip_cleanup"

// Ports removes ports from bridges of Open vSwitch, in one transaction, and returns their names: from the bridge
// integration those that look like ports of instances or agents, or with all every port of every bridge but the bridges'
// own (upstream cmd/ovs_cleanup.py and agent/ovsdb/impl_idl.py, OvsCleanup).
func Ports(ctx context.Context, db *ovs.DB, integration string, all bool, log *slog.Logger) ([]string, error) {
	state, err := db.State(ctx)
	if err != nil {
		return nil, err
	}
	t := db.Begin(state)
	var removed []string
	for _, name := range slices.Sorted(maps.Keys(state.Ports)) {
		bridge := state.BridgeOf[name]
		if name == bridge || !all && (bridge != integration || !plugged(state.Interfaces[name])) {
			continue
		}
		log.Info("removing a port", "bridge", bridge, "port", name)
		t.RemovePort(name)
		removed = append(removed, name)
	}
	if err := t.Commit(ctx); err != nil {
		return nil, err
	}
	return removed, nil
}

// plugged tells whether somebody plugged the interface for Neutron.
func plugged(i *ovs.Interface) bool {
	has := func(key string) bool { _, ok := i.ExternalIDs[key]; return ok }
	return has("iface-id") && has("attached-mac") && !has(skipCleanup)
}

// RemovePort removes one port from whatever bridge has it.
func RemovePort(ctx context.Context, db *ovs.DB, name string) error {
	state, err := db.State(ctx)
	if err != nil {
		return err
	}
	if state.BridgeOf[name] == "" {
		return fmt.Errorf("no bridge of Open vSwitch has a port %s", name)
	}
	t := db.Begin(state)
	t.RemovePort(name)
	return t.Commit(ctx)
}
