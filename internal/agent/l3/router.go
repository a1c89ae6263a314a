package l3

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync/atomic"

	"neutrino/internal/linux/netns"
	"neutrino/internal/linux/veth"
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
	failed := []error{r.unplugOthers(h, want.Interfaces)}
	for _, i := range want.Interfaces {
		changed, err := r.plug(h, i)
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
func (r *router) remove() error {
	r.stopServing((*ra.Sender).Withdraw)
	if netns.Exists(r.namespace) {
		h, err := netns.Handle(r.namespace)
		if err != nil {
			return err
		}
		err = r.unplugOthers(h, nil)
		h.Close()
		if err != nil {
			return err
		}
		r.wrote()
	}
	return netns.Delete(r.namespace)
}

// unplugOthers removes our interfaces that are not wanted. Deleting the outer end is seen at once, while a namespace
// that is deleted keeps its links for a while.
func (r *router) unplugOthers(h *netlink.Handle, wanted []Interface) error {
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
		failed = append(failed, veth.Remove(outerOf(name)))
	}
	return errors.Join(failed...)
}

func ours(link string) bool {
	return strings.HasPrefix(link, internalPrefix) || strings.HasPrefix(link, externalPrefix)
}

// plug makes the interface, or corrects it.
func (r *router) plug(h *netlink.Handle, i Interface) (changed bool, err error) {
	if !plugged(h, i) {
		changed = true
		r.wrote()
		created, err := veth.Ensure(veth.Pair{Outer: i.Outer, Inner: i.Name, Namespace: r.namespace, MAC: i.MAC, MTU: i.MTU})
		if err != nil {
			return changed, err
		}
		if created { // sockets on a link of this name that is gone are of no use
			r.stopServingOn(i.Name, (*ra.Sender).Close)
		}
	}
	return changed, r.setSysctls(interfaceSysctls(i))
}

func plugged(h *netlink.Handle, i Interface) bool {
	inner, err := h.LinkByName(i.Name)
	if err != nil || inner.Attrs().HardwareAddr.String() != i.MAC.String() {
		return false
	}
	outer, err := netlink.LinkByName(i.Outer)
	return err == nil && settled(inner, i.MTU) && settled(outer, i.MTU)
}

func settled(l netlink.Link, mtu int) bool {
	a := l.Attrs()
	return (mtu == 0 || a.MTU == mtu) && a.Flags&net.FlagUp != 0
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
