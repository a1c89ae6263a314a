// Package link keeps a picture of the host's network devices, so that agents need not dump all of them for every
// change, and sets what netlink does not offer.
package link

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Cache is what the kernel last said of each device. It is safe for concurrent use. Links must not be changed.
type Cache struct {
	handle  *netlink.Handle
	changed func(name string)
	log     *slog.Logger

	reading sync.Mutex // held while one device is read anew: an older answer must not take the place of a newer one

	mu        sync.Mutex
	byName    map[string]netlink.Link
	byIndex   map[int]string
	refreshed map[int]bool // devices that were read anew: events that are still under way may be older than that
}

// receiveBuffer holds the events of a few thousand devices that appear at once.
const receiveBuffer = 8 << 20

// NewCache makes an empty cache of the devices that h sees. changed is called, from Run, for each device that came, went
// or changed; it must not block.
func NewCache(h *netlink.Handle, changed func(name string), log *slog.Logger) *Cache {
	return &Cache{handle: h, changed: changed, log: log, byName: map[string]netlink.Link{}, byIndex: map[int]string{}, refreshed: map[int]bool{}}
}

// Run follows the kernel until ctx ends. The network namespace must be the one of the handle.
func (c *Cache) Run(ctx context.Context) {
	for ctx.Err() == nil {
		if err := c.follow(ctx); err != nil && ctx.Err() == nil {
			c.log.Warn("link events lost, reading all links again", "error", err)
			select {
			case <-ctx.Done():
			case <-time.After(time.Second):
			}
		}
	}
}

func (c *Cache) follow(ctx context.Context) error {
	events := make(chan netlink.LinkUpdate, 256)
	done := make(chan struct{})
	failed := make(chan error, 1)
	err := netlink.LinkSubscribeWithOptions(events, done, netlink.LinkSubscribeOptions{
		ReceiveBufferSize: receiveBuffer, ReceiveBufferForceSize: true,
		ErrorCallback: func(err error) {
			select {
			case failed <- err:
			default:
			}
		}})
	if err != nil {
		close(done)
		return fmt.Errorf("subscribe to link events: %w", err)
	}
	defer func() { // the sender may be blocked on the channel
		close(done)
		for range events {
		}
	}()
	if err := c.Reload(); err != nil {
		return err
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-failed:
			return err
		case e, ok := <-events:
			if !ok {
				return fmt.Errorf("link events ended")
			}
			c.note(e)
		}
	}
}

func (c *Cache) note(e netlink.LinkUpdate) {
	if e.IfInfomsg.Family == unix.AF_BRIDGE { // a bridge port's flags; RTM_DELLINK then only says that it left its bridge
		return
	}
	if e.Header.Type == unix.RTM_DELLINK {
		c.mu.Lock()
		c.remove(e.Attrs())
		c.mu.Unlock()
	} else {
		c.changedLink(e.Link)
	}
	c.changed(e.Attrs().Name)
}

// changedLink notes what an event says of a device, or what the kernel says now if that is newer for sure.
func (c *Cache) changedLink(l netlink.Link) {
	c.reading.Lock()
	defer c.reading.Unlock()
	c.mu.Lock()
	again := c.refreshed[l.Attrs().Index]
	c.mu.Unlock()
	if again {
		now, err := c.handle.LinkByIndex(l.Attrs().Index)
		if err != nil { // it went: the event that says so follows
			return
		}
		l = now
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.put(l)
}

// remove must be called with the lock held.
func (c *Cache) remove(a *netlink.LinkAttrs) {
	if old := c.byName[a.Name]; old != nil && old.Attrs().Index == a.Index {
		delete(c.byName, a.Name)
	}
	delete(c.byIndex, a.Index)
	delete(c.refreshed, a.Index)
}

// put must be called with the lock held.
func (c *Cache) put(l netlink.Link) {
	a := l.Attrs()
	if old := c.byIndex[a.Index]; old != "" && old != a.Name { // renamed
		delete(c.byName, old)
		defer c.changed(old)
	}
	c.byName[a.Name] = l
	c.byIndex[a.Index] = a.Name
}

// Reload reads all devices anew.
func (c *Cache) Reload() error {
	links, err := c.handle.LinkList()
	if err != nil {
		return fmt.Errorf("list links: %w", err)
	}
	names := map[string]bool{}
	c.mu.Lock()
	for name := range c.byName {
		names[name] = true
	}
	clear(c.byName)
	clear(c.byIndex)
	for _, l := range links {
		c.put(l)
		names[l.Attrs().Name] = true
	}
	c.mu.Unlock()
	for name := range names {
		c.changed(name)
	}
	return nil
}

// Refresh reads one device anew, because the caller just changed it and the event may be still under way.
func (c *Cache) Refresh(name string) (netlink.Link, error) {
	c.reading.Lock()
	defer c.reading.Unlock()
	l, err := c.handle.LinkByName(name)
	if err != nil {
		return nil, fmt.Errorf("link %s: %w", name, err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.put(l)
	c.refreshed[l.Attrs().Index] = true
	return l, nil
}

// Forget removes a device that the caller just deleted.
func (c *Cache) Forget(l netlink.Link) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.byName, l.Attrs().Name)
	delete(c.byIndex, l.Attrs().Index)
	delete(c.refreshed, l.Attrs().Index)
}

// Get returns the device, or nil.
func (c *Cache) Get(name string) netlink.Link {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.byName[name]
}

// Name returns the name of the device with the index, or "".
func (c *Cache) Name(index int) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.byIndex[index]
}

// Select returns the devices for which f is true.
func (c *Cache) Select(f func(netlink.Link) bool) []netlink.Link {
	c.mu.Lock()
	defer c.mu.Unlock()
	var found []netlink.Link
	for _, l := range c.byName {
		if f(l) {
			found = append(found, l)
		}
	}
	return found
}
