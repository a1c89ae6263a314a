package l3

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync/atomic"

	"neutrino/internal/agent/plug"
	"neutrino/internal/linux/netns"
	"neutrino/internal/ra"

	"github.com/vishvananda/netlink"
)

// router brings one namespace in line with a State. What is there is listed each time, apart from the nft table, which
// nobody else changes. A router is used by one worker at a time.
type router struct {
	namespace string
	log       *slog.Logger
	writes    *atomic.Int64 // changes of the kernel
	announcer *announcer
	driver    plug.Driver
	metadata  MetadataListener // nil: none

	nat       *NAT      // what the table has; nil: not known
	mark      string    // of nat
	stale     staleFlow // connections still to be cut
	senders   map[string]*ra.Sender
	listeners map[listenAt]io.Closer
	told      map[string]string // status of floating IPs that the server knows
}

// wrote counts a change of the kernel.
func (r *router) wrote() { r.writes.Add(1) }

// configure makes links, addresses, translation and routes as wanted. It goes as far as it can: one broken interface
// does not stop the others.
func (r *router) configure(ctx context.Context, want State) error {
	created, err := netns.Ensure(r.namespace)
	if err != nil {
		return err
	}
	if created {
		r.wrote()
		r.nat = nil
		r.stopServing((*ra.Sender).Close) // what was in a namespace of this name that is gone
	}
	if err := r.setSysctls(namespaceSysctls); err != nil {
		return err
	}
	h, err := netns.Handle(r.namespace)
	if err != nil {
		return err
	}
	defer h.Close()
	have, err := listAddresses(h)
	if err != nil {
		return err
	}
	before, err := externalAddresses(h, have)
	if err != nil {
		return err
	}
	failed := []error{r.unplugOthers(ctx, h, want.Interfaces)}
	for _, i := range want.Interfaces {
		changed, err := r.plug(ctx, h, i)
		if err != nil {
			failed = append(failed, fmt.Errorf("interface %s: %w", i.Name, err))
		}
		if changed {
			have = nil // a link that was made or went down has not what it had
		}
	}
	// The translation is there before the addresses that attract the traffic.
	failed = append(failed, r.translate(ctx, want.NAT), r.setAddresses(h, have, want.Interfaces), r.setRoutes(h, want.Routes))
	r.stale.lost(before, want.Interfaces)
	failed = append(failed, r.cut(h, want.NAT))
	return errors.Join(failed...)
}

// remove takes everything away. What is left of an earlier agent goes too.
func (r *router) remove(ctx context.Context) error {
	r.stopServing((*ra.Sender).Withdraw)
	if netns.Exists(r.namespace) {
		h, err := netns.Handle(r.namespace)
		if err != nil {
			return err
		}
		err = r.unplugOthers(ctx, h, nil)
		h.Close()
		if err != nil {
			return err
		}
		r.wrote()
	}
	return netns.Delete(r.namespace)
}

// unplugOthers removes our interfaces that are not wanted.
func (r *router) unplugOthers(ctx context.Context, h *netlink.Handle, wanted []Interface) error {
	keep := map[string]bool{}
	for _, i := range wanted {
		keep[i.Name] = true
	}
	links, err := dump(h.LinkList)
	if err != nil {
		return fmt.Errorf("list links: %w", err)
	}
	var failed []error
	for _, l := range links {
		name := l.Attrs().Name
		if !ours(name) || keep[name] {
			continue
		}
		r.stopServingOn(name, (*ra.Sender).Withdraw)
		r.wrote()
		failed = append(failed, r.driver.Remove(ctx, h, name))
	}
	return errors.Join(failed...)
}

func ours(link string) bool {
	return strings.HasPrefix(link, internalPrefix) || strings.HasPrefix(link, externalPrefix)
}

// plug makes the interface, or corrects it.
func (r *router) plug(ctx context.Context, h *netlink.Handle, i Interface) (changed bool, err error) {
	p := plug.Port{ID: i.PortID, Name: i.Name, Namespace: r.namespace, MAC: i.MAC, MTU: i.MTU}
	if !r.driver.Right(h, p) {
		changed = true
		r.wrote()
		created, err := r.driver.Ensure(ctx, p)
		if err != nil {
			return changed, err
		}
		if created { // sockets on a link of this name that is gone are of no use
			r.stopServingOn(i.Name, (*ra.Sender).Close)
		}
	}
	return changed, r.setSysctls(interfaceSysctls(i))
}

// translate brings the nft table in line. The first time it only looks which rules are there.
func (r *router) translate(ctx context.Context, want NAT) error {
	if r.nat != nil && r.nat.equal(want) {
		return nil
	}
	mark := want.mark()
	if r.nat == nil {
		found, err := findNAT(r.namespace)
		if err != nil {
			return err
		}
		if found.mark != mark {
			err = r.replaceTable(ctx, want, found.foreign)
		}
		return r.translated(want, mark, err)
	}
	floating, fixed := difference(r.nat.byFloating(), want.byFloating()), difference(r.nat.byFixed(), want.byFixed())
	if !r.nat.sameRules(want) || floating.size() > maxElements {
		return r.translated(want, mark, r.replaceTable(ctx, want, nil))
	}
	r.wrote()
	r.stale.moved = r.stale.moved || len(floating.gone) > 0
	return r.translated(want, mark, changeElements(r.namespace, floating, fixed, r.mark, mark))
}

// maxElements is how many elements of a map are changed by themselves; from there on the whole table is as fast.
const maxElements = 200

func (r *router) replaceTable(ctx context.Context, want NAT, foreign []string) error {
	script := want.replace()
	for _, table := range foreign { // upstream's rules would win over ours
		script += "delete table " + table + "\n"
	}
	r.wrote()
	r.stale.moved = true
	return runNFT(ctx, r.namespace, script)
}

// translated remembers what the table has now; after a failure nothing is known.
func (r *router) translated(n NAT, mark string, err error) error {
	r.nat, r.mark = &n, mark
	if err != nil {
		r.nat = nil
	}
	return err
}
