package l2

import (
	"maps"
	"net/netip"
	"sync"

	"neutrino/internal/rpc"
)

// news is what happened since the last pass. Everything is a name: the pass looks up how things are now, so that it does
// not matter in which order, or how often, something was said.
type news struct {
	links    map[string]bool // devices that came, went or changed
	ports    map[string]bool // devices whose details changed on the server
	networks map[string]bool // networks whose details changed
	groups   map[string]bool // security groups whose rules changed
	members  memberNews      // remote groups whose members changed
	resync   bool            // anything may have changed
}

func newNews() *news {
	return &news{links: map[string]bool{}, ports: map[string]bool{}, networks: map[string]bool{},
		groups: map[string]bool{}, members: memberNews{}}
}

// memberNews are addresses by remote group that may have joined or left it; nil: any may have.
type memberNews map[string]map[netip.Addr]bool

// add notes addresses of a group; nil: any. It keeps a bounded number.
func (m memberNews) add(group string, addresses map[netip.Addr]bool) {
	known, noted := m[group]
	switch {
	case addresses == nil || noted && known == nil || len(known)+len(addresses) > rpc.MostAddresses:
		m[group] = nil
	case !noted:
		m[group] = maps.Clone(addresses)
	default:
		maps.Copy(known, addresses)
	}
}

// told adds what a server told.
func (m memberNews) told(args rpc.SecurityGroupsArgs) {
	for _, group := range args.SecurityGroups {
		var addresses map[netip.Addr]bool
		if texts, ok := args.Addresses[group]; ok {
			addresses = map[netip.Addr]bool{}
			for _, text := range texts {
				if a, err := netip.ParseAddr(text); err == nil {
					addresses[a] = true
				}
			}
		}
		m.add(group, addresses)
	}
}

// inbox collects news. It is bounded by the number of names there are.
type inbox struct {
	mu   sync.Mutex
	news *news
	kick func()
}

func newInbox() *inbox { return &inbox{news: newNews(), kick: func() {}} }

func (b *inbox) add(f func(*news)) {
	b.mu.Lock()
	f(b.news)
	b.mu.Unlock()
	b.kick()
}

func (b *inbox) take() *news {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := b.news
	b.news = newNews()
	return n
}
