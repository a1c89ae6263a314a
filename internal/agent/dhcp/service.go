package dhcp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/netip"
	"reflect"
	"slices"
	"time"

	"neutrino/internal/dhcp"
	"neutrino/internal/dns"
	"neutrino/internal/linux/announce"
	"neutrino/internal/metadata"
	"neutrino/internal/rpc"
)

// service is what runs for one network. Only one goroutine works on it at a time.
type service struct {
	id       string
	device   device // as last brought into the kernel; zero before that
	server   *dhcp.Server
	dns      *dns.Server
	zone     *dns.Zone          // that dns answers from
	known    *ports             // what has been translated, with all changes taken from it
	served   map[string]*served // by port id, of the ports that were translated
	hosts    *dhcp.Hosts        // that server answers
	names    *dns.Names         // of zone
	metadata map[string]io.Closer
	source   metadata.Source      // of all in metadata
	asked    []rpc.FixedIPRequest // last request to change our port
	pending  []string             // ports to report when all is done
	recorded recorded             // what the disk has of the network

	failures  int
	notBefore time.Time // when to try again
}

// settled notes how an attempt went. A network that cannot be served, for example because no address is free for our
// port, is tried less and less often, whatever else makes the loop run.
func (s *service) settled(err error) {
	if err == nil {
		s.failures, s.notBefore = 0, time.Time{}
		return
	}
	const shortest, longest = 200 * time.Millisecond, 30 * time.Second
	s.notBefore = time.Now().Add(min(shortest<<min(s.failures, 10), longest))
	s.failures++
}

// served remembers which port a host was made of, so that only changed ports are translated again.
type served struct {
	port  *rpc.Port
	host  *dhcp.Host // nil if the port never asks
	names []dns.Name
}

// serve brings everything of one network in line with n.
func (a *Agent) serve(ctx context.Context, s *service, n *network) error {
	if !n.served() {
		if n.port(rpc.DHCPDeviceID(a.cfg.Host, n.ID)) == nil && !a.exists(n.ID) {
			return nil
		}
		return a.withdraw(ctx, s)
	}
	own, err := a.ensurePort(ctx, s, n)
	if err != nil {
		return err
	}
	withMetadata := a.cfg.Metadata != nil && n.servesMetadata(&a.cfg)
	d, err := newDevice(n, own, withMetadata, a.cfg.Plug)
	if err != nil {
		return err
	}
	if s.device.inner == "" {
		if err := a.endLeft(n.ID); err != nil {
			return fmt.Errorf("take over network %s: %w", n.ID, err)
		}
	}
	if !d.equal(s.device) {
		if err := a.plug(ctx, s, d); err != nil {
			return err
		}
	}
	changed := s.translate(a.translator, a.news(s, n))
	a.record(s, n, changed)
	if err := a.answer(ctx, s, n, own, withMetadata); err != nil {
		return err
	}
	a.ready.add(s.pending)
	s.pending = nil
	return nil
}

// answer starts or updates all that answers on the device.
func (a *Agent) answer(ctx context.Context, s *service, n *network, own *rpc.Port, withMetadata bool) error {
	if err := a.answerDHCP(s, dhcp.NewNetwork(a.translator.settings(n, own), s.hosts)); err != nil {
		return err
	}
	if err := a.answerDNS(s); err != nil {
		return err
	}
	return a.answerMetadata(ctx, s, n, withMetadata)
}

// plug brings the device into the kernel. Sockets on a former interface end first.
func (a *Agent) plug(ctx context.Context, s *service, d device) error {
	first := s.device.inner == ""
	if !first && s.device.inner != d.inner {
		s.stop()
	}
	s.device = device{}
	c, err := d.ensure(ctx, a.cfg.Plug, first)
	a.writes.Add(int64(c.writes))
	if c.fresh {
		err = errors.Join(err, s.stop())
	}
	if err != nil {
		return fmt.Errorf("device of network %s: %w", s.id, err)
	}
	s.device = d
	a.announce(d, c.added)
	return nil
}

// announce tells the network that our port has addresses: another port may have had them before, as when an operator deletes
// a DHCP port. Those of metadata are every agent's.
func (a *Agent) announce(d device, added []netip.Addr) {
	added = slices.DeleteFunc(added, func(x netip.Addr) bool { return x == metadata4.Addr() || x == metadata6.Addr() })
	a.announcer.Add(announce.Announcement{Namespace: d.namespace, Interface: d.inner, MAC: d.mac[:], Addrs: added})
}

// news are the ports of n that s has not yet translated as they are, by id; nil for those that are gone.
func (a *Agent) news(s *service, n *network) map[string]*rpc.Port {
	a.mu.Lock()
	defer a.mu.Unlock()
	out := n.ports.take()
	if s.known != n.ports {
		s.known = n.ports
		for id := range s.served {
			out[id] = nil
		}
		maps.Copy(out, n.ports.byID)
	}
	return out
}

// translate makes hosts and names of new and changed ports, which are to be reported, new ones first. It returns the ports that are not
// as they were, by id; nil for those that are gone.
func (s *service) translate(t *translator, news map[string]*rpc.Port) map[string]*rpc.Port {
	var changed []string
	for id, p := range news {
		old, known := s.served[id]
		switch {
		case p == nil:
			s.replace(old, nil)
			delete(s.served, id)
			continue
		case known && old.port == p:
			delete(news, id)
			continue
		case known && reflect.DeepEqual(old.port, p): // read from the records
			old.port = p
			s.pending = append(s.pending, id)
			delete(news, id)
			continue
		case known:
			changed = append(changed, id)
		default:
			s.pending = append(s.pending, id)
		}
		now := &served{p, t.host(p), t.names(p)}
		s.replace(old, now)
		s.served[id] = now
	}
	s.pending = append(s.pending, changed...)
	return news
}

// replace makes the responders know now instead of old; either may be nil.
func (s *service) replace(old, now *served) {
	if old == nil {
		old = &served{}
	}
	if now == nil {
		now = &served{}
	}
	s.hosts.Replace(old.host, now.host)
	s.names.Replace(old.names, now.names)
}

// forget makes s know no ports.
func (s *service) forget() {
	s.known, s.served, s.hosts, s.names = nil, map[string]*served{}, dhcp.NewHosts(), dns.NewNames()
}

func (a *Agent) answerDHCP(s *service, n *dhcp.Network) (err error) {
	if s.server != nil {
		return s.server.Update(n)
	}
	s.server, err = dhcp.Listen(a.poller, s.device.namespace, s.device.inner, n, a.log)
	return err
}

// answerDNS answers names at the addresses of our port.
func (a *Agent) answerDNS(s *service) error {
	zone := &dns.Zone{Resolvers: a.cfg.Resolvers, Text: a.cfg.Text, Names: s.names}
	var at []netip.Addr
	for _, p := range s.device.addrs {
		if p != metadata4 && p != metadata6 {
			at = append(at, p.Addr())
			zone.Local = append(zone.Local, p.Masked())
		}
	}
	if s.dns == nil {
		s.dns, s.zone = dns.NewServer(a.poller, s.device.namespace, s.device.inner, a.log), nil
	} else if zone.Equal(s.zone) {
		return nil
	}
	s.zone = nil
	if err := s.dns.Update(zone, at); err != nil {
		return err
	}
	s.zone = zone
	return nil
}

func (a *Agent) answerMetadata(ctx context.Context, s *service, n *network, wanted bool) error {
	source := metadata.Source{NetworkID: n.ID}
	if router := n.metadataRouter(); a.cfg.MetadataNetwork && router != "" {
		source = metadata.Source{RouterID: router}
	}
	addrs := map[string]bool{}
	if wanted {
		for _, p := range s.device.addrs {
			switch p {
			case metadata4:
				addrs[p.Addr().String()+":80"] = true
			case metadata6:
				addrs["["+p.Addr().WithZone(s.device.inner).String()+"]:80"] = true
			}
		}
	}
	var errs []error
	for addr, l := range s.metadata {
		if !addrs[addr] || source != s.source {
			errs = append(errs, l.Close())
			delete(s.metadata, addr)
		}
	}
	s.source = source
	for addr := range addrs {
		if s.metadata[addr] != nil {
			continue
		}
		l, err := a.proxy.Listen(ctx, s.device.namespace, addr, source)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if s.metadata == nil {
			s.metadata = map[string]io.Closer{}
		}
		s.metadata[addr] = l
	}
	return errors.Join(errs...)
}

// stop ends answering and leaves the kernel as it is.
func (s *service) stop() error {
	var errs []error
	for addr, l := range s.metadata {
		errs = append(errs, l.Close())
		delete(s.metadata, addr)
	}
	if s.server != nil {
		errs = append(errs, s.server.Close())
		s.server = nil
	}
	if s.dns != nil {
		errs = append(errs, s.dns.Close())
		s.dns = nil
	}
	return errors.Join(errs...)
}

// withdraw ends the service and removes all that belongs to it, here and on the server.
func (a *Agent) withdraw(ctx context.Context, s *service) error {
	err := s.stop()
	writes, failed := 0, error(nil)
	if a.exists(s.id) {
		err = errors.Join(err, a.endLeft(s.id))
		writes, failed = removeNamespace(ctx, namespacePrefix+s.id, a.cfg.Plug)
	}
	a.writes.Add(int64(writes))
	s.device, s.pending, s.asked, s.recorded = device{}, nil, nil, recorded{}
	s.forget()
	return errors.Join(err, failed, a.cfg.Records.Remove(s.id), a.releasePort(ctx, s.id))
}
