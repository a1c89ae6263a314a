package l2

import "sync"

// news is what happened since the last pass. Everything is a name: the pass looks up how things are now, so that it does
// not matter in which order, or how often, something was said.
type news struct {
	links    map[string]bool // devices that came, went or changed
	ports    map[string]bool // devices whose details changed on the server
	networks map[string]bool // networks whose details changed
	groups   map[string]bool // security groups whose rules changed
	members  map[string]bool // remote groups whose members changed
	resync   bool            // anything may have changed
}

func newNews() *news {
	return &news{links: map[string]bool{}, ports: map[string]bool{}, networks: map[string]bool{},
		groups: map[string]bool{}, members: map[string]bool{}}
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
