package l2

import (
	"context"
	"regexp"
	"slices"

	"neutrino/internal/rpc"
)

// tapPattern is the name of a device of a port: "tap" and the first eleven characters of the port's id.
var tapPattern = regexp.MustCompile(`^tap[0-9a-f]{8}-[0-9a-f]{2}$`)

func deviceOf(portID string) string { return "tap" + portID[:min(len(portID), 11)] }

// mux has the handlers for what servers tell agents.
func (a *Agent) mux() *rpc.Mux {
	x := rpc.NewMux(a.log)
	port := func(id string) { a.inbox.add(func(n *news) { n.ports[deviceOf(id)] = true }) }
	network := func(id string) { a.inbox.add(func(n *news) { n.networks[id] = true }) }
	handle(x, rpc.PortUpdate, func(args rpc.PortUpdateArgs) { port(args.Port.ID) })
	handle(x, rpc.PortDelete, func(args rpc.PortDeleteArgs) { port(args.PortID) })
	handle(x, rpc.NetworkUpdate, func(args rpc.NetworkArgs) { network(args.Network.ID) })
	handle(x, rpc.NetworkDelete, func(args rpc.NetworkDeleteArgs) { network(args.NetworkID) })
	handle(x, rpc.SecurityGroupsRuleUpdated, func(args rpc.SecurityGroupsArgs) {
		a.inbox.add(func(n *news) { note(n.groups, args.SecurityGroups) })
	})
	handle(x, rpc.SecurityGroupsMemberUpdated, func(args rpc.SecurityGroupsArgs) {
		a.inbox.add(func(n *news) { n.members.told(args) })
	})
	handle(x, rpc.TunnelUpdate, func(args rpc.TunnelArgs) { a.tunnel(args, true) })
	handle(x, rpc.TunnelDelete, func(args rpc.TunnelArgs) { a.tunnel(args, false) })
	if a.cfg.DisableL2Population { // what servers tell nevertheless would double what is flooded, to a multicast group for example
		return x
	}
	handle(x, rpc.AddFDBEntries, func(args rpc.FDBArgs) { a.remotes.add(args); a.loop.Kick() })
	handle(x, rpc.RemoveFDBEntries, func(args rpc.FDBArgs) { a.remotes.remove(args); a.loop.Kick() })
	handle(x, rpc.UpdateFDBEntries, func(args rpc.FDBChangeArgs) { a.remotes.change(args); a.loop.Kick() })
	return x
}

func handle[A any](x *rpc.Mux, m rpc.Method[A, rpc.None], f func(A)) {
	rpc.Handle(x, m, func(_ context.Context, args A) (rpc.None, error) {
		f(args)
		return rpc.None{}, nil
	})
}

func note(set map[string]bool, ids []string) {
	for _, id := range ids {
		set[id] = true
	}
}

func (a *Agent) tunnel(args rpc.TunnelArgs, there bool) {
	if slices.Contains(a.driver.TunnelTypes(), args.TunnelType) {
		a.remotes.endpoint(args.TunnelIP, there)
		a.loop.Kick()
	}
}
