package keystone

import (
	"container/list"
	"crypto/sha256"
	"sync"
	"time"
)

// key of a token in the cache. The cache does not keep tokens, so that no dump of memory gives them away all.
type key struct {
	hash         [sha256.Size]byte
	allowExpired bool // the answers differ
}

func keyOf(tokenID string, allowExpired bool) key {
	return key{sha256.Sum256([]byte(tokenID)), allowExpired}
}

// cache keeps what Keystone said about tokens; what was not used for longest makes room.
type cache struct {
	mu    sync.Mutex
	size  int
	now   func() time.Time
	known map[key]*list.Element
	order *list.List // of *entry, the last used one first
}

type entry struct {
	key   key
	token *token // nil: Keystone does not know it
	until time.Time
}

func newCache(size int, now func() time.Time) *cache {
	return &cache{size: size, now: now, known: map[key]*list.Element{}, order: list.New()}
}

// get gives the token, which is nil if Keystone refused it.
func (c *cache) get(k key) (t *token, known bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.known[k]
	if e == nil {
		return nil, false
	}
	found := e.Value.(*entry)
	if !c.now().Before(found.until) {
		c.drop(e)
		return nil, false
	}
	c.order.MoveToFront(e)
	return found.token, true
}

// put keeps an answer for a time; a time that is not positive keeps nothing.
func (c *cache) put(k key, t *token, keep time.Duration) {
	if keep <= 0 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if e := c.known[k]; e != nil {
		c.drop(e)
	}
	c.known[k] = c.order.PushFront(&entry{k, t, c.now().Add(keep)})
	if c.order.Len() > c.size {
		c.drop(c.order.Back())
	}
}

func (c *cache) drop(e *list.Element) {
	c.order.Remove(e)
	delete(c.known, e.Value.(*entry).key)
}
