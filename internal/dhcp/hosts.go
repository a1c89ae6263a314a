package dhcp

import (
	"bytes"
	"slices"
	"sync"
)

// Hosts are the ports of a network that are served. It is safe for concurrent use.
type Hosts struct {
	mu       sync.RWMutex
	byMAC    map[MAC]*Host
	byClient map[string][]*Host // several ports may have been given the same identifier; the first has it
}

// NewHosts makes a table of hosts, which must not be changed afterwards.
func NewHosts(hosts ...*Host) *Hosts {
	t := &Hosts{}
	for _, h := range hosts {
		t.Replace(nil, h)
	}
	return t
}

// Replace makes now known instead of old; either may be nil.
func (t *Hosts) Replace(old, now *Host) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if old != nil {
		t.remove(old)
	}
	if now == nil {
		return
	}
	if t.byMAC == nil {
		t.byMAC = map[MAC]*Host{}
	}
	t.byMAC[now.MAC] = now
	if id := string(now.ClientID); id != "" {
		if t.byClient == nil {
			t.byClient = map[string][]*Host{}
		}
		t.byClient[id] = append(t.byClient[id], now)
	}
}

// remove leaves alone another host that has the MAC address meanwhile: news may come in any order.
func (t *Hosts) remove(h *Host) {
	if t.byMAC[h.MAC] == h {
		delete(t.byMAC, h.MAC)
	}
	if id := string(h.ClientID); id != "" {
		t.byClient[id] = slices.DeleteFunc(t.byClient[id], func(o *Host) bool { return o == h })
		if len(t.byClient[id]) == 0 {
			delete(t.byClient, id)
		}
	}
}

// find looks for a host by client identifier and by address, as dnsmasq does. Clients put a type octet of zero in front
// of an identifier that is not an address (RFC 2132 section 9.14).
func (t *Hosts) find(clientID []byte, mac MAC) *Host {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if h := t.byClient[string(clientID)]; h != nil {
		return h[0]
	}
	if rest, ok := bytes.CutPrefix(clientID, []byte{0}); ok {
		if h := t.byClient[string(rest)]; h != nil {
			return h[0]
		}
	}
	return t.byMAC[mac]
}
