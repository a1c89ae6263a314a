package metadata

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"neutrino/internal/bus"
	"neutrino/internal/rpc"
)

// Instance is who sent a request.
type Instance struct {
	ID        string
	ProjectID string
}

// routerOwners are the device owners of router ports on tenant networks (upstream ROUTER_INTERFACE_OWNERS).
var routerOwners = [...]string{"network:router_interface", "network:ha_router_replicated_interface",
	"network:router_interface_distributed"}

// finder finds instances by asking the server for their port.
type finder struct {
	transport bus.Transport
	cache     cache
}

// find returns the instance, or the zero Instance if not exactly one port has the address. fresh says that the answer
// must not come from the cache; cached, that it did.
func (f *finder) find(ctx context.Context, from Source, client netip.Addr, fresh bool) (i Instance, cached bool, err error) {
	key := cacheKey{from, client}
	if !fresh {
		if i, ok := f.cache.get(key, time.Now()); ok {
			return i, true, nil
		}
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	if i, err = f.ask(ctx, from, client); err != nil {
		return Instance{}, false, fmt.Errorf("find the instance at %s: %w", client, err)
	}
	f.cache.put(key, i, time.Now())
	return i, false, nil
}

func (f *finder) ask(ctx context.Context, from Source, client netip.Addr) (Instance, error) {
	networks := []string{from.NetworkID}
	if from.RouterID != "" {
		var err error
		if networks, err = f.routerNetworks(ctx, from.RouterID); err != nil || len(networks) == 0 {
			return Instance{}, err
		}
	}
	var args rpc.PortFilters
	args.Filters.NetworkID = networks
	if mac, ok := macOfLinkLocal(client); ok { // the server does not know link-local addresses
		args.Filters.MACAddress = []string{mac}
	} else {
		args.Filters.FixedIPs = map[string][]string{"ip_address": {client.String()}}
	}
	ports, err := rpc.GetPorts.Call(ctx, f.transport, "", args)
	if err != nil || len(ports) != 1 {
		return Instance{}, err
	}
	return Instance{ports[0].DeviceID, ports[0].ProjectID}, nil
}

func (f *finder) routerNetworks(ctx context.Context, routerID string) ([]string, error) {
	var args rpc.PortFilters
	args.Filters.DeviceID = []string{routerID}
	args.Filters.DeviceOwner = routerOwners[:]
	ports, err := rpc.GetPorts.Call(ctx, f.transport, "", args)
	var networks []string
	for _, p := range ports {
		networks = append(networks, p.NetworkID)
	}
	return networks, err
}

// macOfLinkLocal takes the Ethernet address out of an fe80:: address made by EUI-64.
func macOfLinkLocal(a netip.Addr) (string, bool) {
	if !a.Is6() || !a.IsLinkLocalUnicast() {
		return "", false
	}
	b := a.As16()
	if b[11] != 0xff || b[12] != 0xfe {
		return "", false
	}
	return net.HardwareAddr{b[8] ^ 2, b[9], b[10], b[13], b[14], b[15]}.String(), true
}

type cacheKey struct {
	from   Source
	client netip.Addr
}

type cacheEntry struct {
	instance Instance
	until    time.Time
}

// An instance asks for a dozen documents in a row when it boots: that is what the cache is for. Addresses change
// hands, so that it forgets soon.
const (
	cacheTTL  = 10 * time.Second
	cacheSize = 4096
)

type cache struct {
	mu      sync.Mutex
	entries map[cacheKey]cacheEntry
}

func (c *cache) get(k cacheKey, now time.Time) (Instance, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.entries[k]
	return e.instance, ok && now.Before(e.until)
}

// put remembers instances that were found; what is not there may come any moment.
func (c *cache) put(k cacheKey, i Instance, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if i.ID == "" {
		delete(c.entries, k)
		return
	}
	if len(c.entries) >= cacheSize {
		for old, e := range c.entries {
			if now.After(e.until) {
				delete(c.entries, old)
			}
		}
	}
	if c.entries == nil || len(c.entries) >= cacheSize {
		c.entries = map[cacheKey]cacheEntry{}
	}
	c.entries[k] = cacheEntry{i, now.Add(cacheTTL)}
}
