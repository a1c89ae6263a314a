package l3

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"

	"neutrino/internal/agent/plug"
	"neutrino/internal/linux/announce"
	"neutrino/internal/linux/netns"
	"neutrino/internal/ra"

	"github.com/vishvananda/netlink"
)

// router brings one namespace in line with a State. What is there is listed each time; the rules only if anybody has
// committed some since. A router is used by one worker at a time.
type router struct {
	namespace string
	log       *slog.Logger
	writes    *atomic.Int64 // changes of the kernel
	announcer *announce.Announcer
	driver    plug.Driver
	metadata  MetadataListener // nil: none

	rules     *foundRules // as last read or written; nil: not known
	stale     staleFlow   // connections still to be cut
	fresh     bool        // the namespace was just made: no connections
	replugged []string    // interfaces that configure corrected: neighbours may have learned what was wrong
	changes   []string    // what configure changed
	senders   map[string]*ra.Sender
	listeners map[listenAt]io.Closer
	helpers   []helper          // processes of an earlier agent
	told      map[string]string // status of floating IPs that the server knows
	recorded  State             // what the disk has
	plugged   map[string]bool   // interfaces that were ever plugged, wherever their devices are now
}

// wrote counts a change of the kernel.
func (r *router) wrote() { r.writes.Add(1) }

// changed counts a change of the kernel and remembers it for the log.
func (r *router) changed(format string, args ...any) {
	r.wrote()
	r.changes = append(r.changes, fmt.Sprintf(format, args...))
}

// configure makes links, addresses, translation and routes as wanted. It goes as far as it can: one broken interface
// does not stop the others.
func (r *router) configure(ctx context.Context, want State) error {
	r.changes, r.replugged = nil, nil
	created, err := netns.Ensure(r.namespace)
	if err != nil {
		return err
	}
	if r.fresh = created; created {
		r.changed("namespace %s", r.namespace)
		r.rules = nil
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
	if created { // the proxy listens before instances can reach it: they get no refusal
		failed = append(failed, r.listen(ctx, proxyAt(want), want.ID))
	}
	for _, i := range want.Interfaces {
		changed, err := r.plug(ctx, h, i)
		if err != nil {
			failed = append(failed, fmt.Errorf("interface %s: %w", i.Name, err))
		}
		if changed {
			r.changes = append(r.changes, "interface "+i.Name)
			r.replugged = append(r.replugged, i.Name)
			have = nil // a link that was made or went down has not what it had
		}
	}
	failed = append(failed, r.setSysctls(interfaceSysctls(want.Interfaces)))
	// The translation is there before the addresses that attract the traffic.
	failed = append(failed, r.translate(ctx, want.NAT), r.setAddresses(h, have, want.Interfaces), r.setRoutes(h, want.Routes))
	r.stale.lost(before, want.Interfaces)
	failed = append(failed, r.cut(want.NAT))
	return errors.Join(failed...)
}

// remove takes everything away. What is left of an earlier agent goes too.
func (r *router) remove(ctx context.Context) error {
	r.stopServing((*ra.Sender).Withdraw)
	if err := r.endHelpers(); err != nil {
		return err
	}
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

// unplugOthers removes our interfaces that are not wanted, and switches the loopback device on, which is in the same list.
func (r *router) unplugOthers(ctx context.Context, h *netlink.Handle, wanted []Interface) error {
	keep := map[string]bool{}
	for _, i := range wanted {
		keep[i.Name] = true
	}
	links, err := dump(h.LinkList)
	if err != nil {
		return fmt.Errorf("list links: %w", err)
	}
	changed, err := netns.Loopback(h, links)
	if changed {
		r.changed("interface lo")
	}
	failed := []error{err}
	for _, l := range links {
		name := l.Attrs().Name
		if !ours(name) || keep[name] {
			continue
		}
		r.stopServingOn(name, (*ra.Sender).Withdraw)
		r.wrote()
		failed = append(failed, r.driver.Remove(ctx, h, name))
		delete(r.plugged, name)
	}
	for name := range r.plugged {
		if keep[name] {
			continue
		}
		r.wrote() // ovs-vswitchd made its device anew in the host
		if err := r.driver.Remove(ctx, h, name); err != nil {
			failed = append(failed, err)
			continue
		}
		delete(r.plugged, name)
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
		r.plugged[i.Name] = true
		created, err := r.driver.Ensure(ctx, p)
		if err != nil {
			return changed, err
		}
		if created { // sockets on a link of this name that is gone are of no use
			r.stopServingOn(i.Name, (*ra.Sender).Close)
		}
	}
	return changed, nil
}

// translate brings our rules in line, and removes those of upstream's agent, which would win over ours.
func (r *router) translate(ctx context.Context, want NAT) error {
	found, err := readRules(r.namespace, r.rules)
	r.rules = nil // until it is known
	if err != nil {
		return err
	}
	floating, fixed := difference(found.floating, want.byFloating()), difference(found.fixed, want.byFixed())
	switch {
	case found.mark != want.mark(found.hash) || len(found.foreign) > 0 || max(floating.size(), fixed.size()) > maxElements:
		return r.replaceRules(ctx, want, found)
	case floating.size()+fixed.size() == 0:
		r.rules = found
		return nil
	}
	r.changed("nft elements of %s", describe(floating, fixed))
	r.stale.moved = r.stale.moved || len(floating.gone) > 0
	if err := changeElements(r.namespace, floating, fixed); err != nil {
		return err
	}
	now := *found
	now.floating, now.fixed = want.byFloating(), want.byFixed()
	return r.committed(now, 1)
}

// describe names the keys of changed elements, a few at most.
func describe(changes ...mapChange) string {
	const most = 4
	var names []string
	for _, c := range changes {
		for _, e := range append(slices.Clone(c.gone), c.added...) {
			if name := e.key.String(); !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	if n := len(names); n > most {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), n-most)
	}
	return strings.Join(names, ", ")
}

// maxElements is how many elements of a map are changed by themselves; from there on the whole table is as fast.
const maxElements = 200

func (r *router) replaceRules(ctx context.Context, want NAT, found *foundRules) error {
	script := want.replace(found.tables)
	for _, command := range found.foreign {
		script += command + "\n"
	}
	r.changed("nft rules")
	r.stale.moved = r.stale.moved || !r.fresh
	if err := runNFT(ctx, r.namespace, script); err != nil {
		return err
	}
	now, err := readRules(r.namespace, nil)
	if err != nil {
		return err
	}
	now.mark = want.mark(now.hash)
	if err := setMark(r.namespace, now.mark); err != nil {
		return err
	}
	return r.committed(*now, 1)
}

// committed remembers what the rules are after as many commits of ours. If somebody else committed too, they are read
// next time.
func (r *router) committed(now foundRules, commits uint32) error {
	generation, err := generationOf(r.namespace)
	if err == nil && generation == now.generation+commits {
		now.generation = generation
		r.rules = &now
	}
	return err
}
