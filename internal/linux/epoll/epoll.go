// Package epoll waits for many sockets with one goroutine. In package net each socket that is waited for costs a goroutine, which
// is three kilobytes: too much for thousands of sockets that hardly ever get a packet.
package epoll

import (
	"fmt"
	"os"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// Poller waits for sockets. Close it.
type Poller struct {
	file *os.File // whose descriptor the runtime polls as it does any other
	raw  syscall.RawConn
	done chan struct{}

	mu      sync.Mutex
	watches map[int32]*Watch
	last    int32
}

// Watch is a socket that is waited for.
type Watch struct {
	poller  *Poller
	number  int32 // and not the descriptor, which may be another socket's by the time of an event
	conn    syscall.RawConn
	ready   func()
	running sync.WaitGroup
}

// New makes a Poller without sockets.
func New() (*Poller, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("epoll_create: %w", err)
	}
	if err := unix.SetNonblock(fd, true); err != nil { // or package os would block a thread
		unix.Close(fd)
		return nil, fmt.Errorf("epoll: %w", err)
	}
	p := &Poller{file: os.NewFile(uintptr(fd), "epoll"), done: make(chan struct{}), watches: map[int32]*Watch{}}
	if p.raw, err = p.file.SyscallConn(); err != nil {
		p.file.Close()
		return nil, fmt.Errorf("epoll: %w", err)
	}
	go p.run()
	return p, nil
}

// Close ends the waiting. Calls that run go on.
func (p *Poller) Close() error {
	err := p.file.Close()
	<-p.done
	return err
}

// Watch calls ready, on a goroutine of its own and never twice at a time, whenever there is something to be read from c, or to
// be accepted. ready need not read all.
func (p *Poller) Watch(c syscall.RawConn, ready func()) (*Watch, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.last++
	w := &Watch{poller: p, number: p.last, conn: c, ready: ready}
	p.watches[w.number] = w
	if err := w.arm(unix.EPOLL_CTL_ADD); err != nil {
		delete(p.watches, w.number)
		return nil, err
	}
	return w, nil
}

// Stop waits for a call of ready that runs. There is none afterwards. Close the socket before, so that ready does not wait for it.
func (w *Watch) Stop() {
	w.poller.mu.Lock()
	delete(w.poller.watches, w.number)
	w.poller.mu.Unlock()
	w.running.Wait()
}

// arm asks for one event. Call it locked.
func (w *Watch) arm(operation int) error {
	var failed error
	err := w.conn.Control(func(fd uintptr) {
		if err := w.poller.raw.Control(func(epoll uintptr) {
			failed = unix.EpollCtl(int(epoll), operation, int(fd), &unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLONESHOT, Fd: w.number})
		}); err != nil {
			failed = err
		}
	})
	if err == nil {
		err = failed
	}
	if err != nil {
		return fmt.Errorf("epoll: %w", err)
	}
	return nil
}

func (p *Poller) run() {
	defer close(p.done)
	events := make([]unix.EpollEvent, 64)
	_ = p.raw.Read(func(fd uintptr) (closed bool) {
		for {
			n, err := unix.EpollWait(int(fd), events, 0)
			switch {
			case err == unix.EINTR:
			case err != nil:
				return true
			case n == 0: // the runtime tells when there is more
				return false
			}
			for _, e := range events[:max(n, 0)] {
				p.dispatch(e.Fd)
			}
		}
	})
}

func (p *Poller) dispatch(number int32) {
	p.mu.Lock()
	defer p.mu.Unlock()
	w := p.watches[number]
	if w == nil {
		return
	}
	w.running.Go(func() {
		w.ready()
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.watches[number] == w && w.arm(unix.EPOLL_CTL_MOD) != nil { // closed
			delete(p.watches, number)
		}
	})
}
