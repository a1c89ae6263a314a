package l3

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"

	"neutrino/internal/ra"
)

// MetadataListener serves the metadata of instances to whoever connects to an address.
type MetadataListener interface {
	// Listen opens address ("host:port", IPv6 with zone) inside the namespace and serves it until it is closed.
	// Requests are those of instances on the router's networks.
	Listen(ctx context.Context, namespace, address, routerID string) (io.Closer, error)
}

// listenAt is where metadata is served: an interface, or all of them ("").
type listenAt struct{ iface, address string }

// serve starts, updates and stops what answers in the namespace. The interfaces must be configured.
func (r *router) serve(ctx context.Context, want State) error {
	return errors.Join(r.endHelpers(), r.advertise(want), r.serveMetadata(ctx, want))
}

func (r *router) advertise(want State) error {
	var failed []error
	for _, i := range want.Interfaces {
		s := r.senders[i.Name]
		switch {
		case i.Advertise.Empty():
			if s != nil {
				s.Withdraw()
				delete(r.senders, i.Name)
			}
		case s != nil:
			s.Update(i.Advertise)
		default:
			s, err := ra.Start(r.namespace, i.Name, linkLocal(i.MAC).Addr(), i.Advertise, r.log)
			if err != nil {
				failed = append(failed, err)
				continue
			}
			r.senders[i.Name] = s
		}
	}
	return errors.Join(failed...)
}

func (r *router) serveMetadata(ctx context.Context, want State) error {
	if r.metadata == nil {
		return nil
	}
	wanted := map[listenAt]bool{proxyAt(want): true}
	for _, i := range want.Interfaces {
		if i.Metadata {
			wanted[listenAt{i.Name, "[" + metadataV6.Addr().String() + "%" + i.Name + "]:80"}] = true
		}
	}
	r.closeListeners(func(at listenAt) bool { return !wanted[at] })
	var failed []error
	for at := range wanted {
		failed = append(failed, r.listen(ctx, at, want.ID))
	}
	return errors.Join(failed...)
}

// proxyAt is where the requests arrive that instances send to 169.254.169.254.
func proxyAt(want State) listenAt {
	return listenAt{"", "0.0.0.0:" + strconv.Itoa(want.NAT.MetadataPort)}
}

// listen serves metadata at an address, unless it is served there already.
func (r *router) listen(ctx context.Context, at listenAt, routerID string) error {
	if r.metadata == nil || r.listeners[at] != nil {
		return nil
	}
	l, err := r.metadata.Listen(ctx, r.namespace, at.address, routerID)
	if err != nil {
		return fmt.Errorf("metadata on %s: %w", at.address, err)
	}
	r.listeners[at] = l
	return nil
}

func (r *router) closeListeners(which func(listenAt) bool) {
	for at, l := range r.listeners {
		if which(at) {
			if err := l.Close(); err != nil {
				r.log.Debug("close metadata listener", "address", at.address, "error", err)
			}
			delete(r.listeners, at)
		}
	}
}

// stopServing ends everything in the namespace that lives in this process.
func (r *router) stopServing(stop func(*ra.Sender)) {
	for name, s := range r.senders {
		stop(s)
		delete(r.senders, name)
	}
	r.closeListeners(func(listenAt) bool { return true })
}

// stopServingOn ends what lives on one interface.
func (r *router) stopServingOn(iface string, stop func(*ra.Sender)) {
	if s := r.senders[iface]; s != nil {
		stop(s)
		delete(r.senders, iface)
	}
	r.closeListeners(func(at listenAt) bool { return at.iface == iface })
}
