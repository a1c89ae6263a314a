package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"sync"

	"neutrino/internal/store/sqlite"
)

// mostShared bounds how many transactions share a commit: the first of them waits for the others.
const mostShared = 4

// group has transactions that wait for SQLite's only writer share a commit, which is a good part of the work of a short
// one. One that fails is taken back alone, by its savepoint; and nobody is told of success before the commit.
type group struct {
	db *DB

	mu    sync.Mutex
	busy  bool           // somebody has the turn
	queue []chan *shared // of those who wait for it, first come first
}

// shared is a transaction of several, who have it one after the other. The last of them ends it.
type shared struct {
	conn    *sql.Conn // nil before the first has begun
	tx      *sql.Tx
	members int           // whose work is in it
	done    chan struct{} // closed when it has ended
	err     error         // how, after that
}

func newShared() *shared { return &shared{done: make(chan struct{})} }

// once runs f as one of those who share a transaction, and waits for their commit.
func (g *group) once(ctx context.Context, f func(tx *Tx) error) (*Tx, error) {
	s, err := g.enter(ctx)
	if err != nil {
		return nil, fmt.Errorf("waiting for the database: %w", err)
	}
	tx, err := g.work(ctx, s, f)
	if err != nil {
		return tx, err
	}
	<-s.done
	return tx, s.err
}

// enter waits for a turn. Who has one must leave.
func (g *group) enter(ctx context.Context) (*shared, error) {
	g.mu.Lock()
	if !g.busy {
		g.busy = true
		g.mu.Unlock()
		return newShared(), nil
	}
	turn := make(chan *shared, 1)
	g.queue = append(g.queue, turn)
	g.mu.Unlock()
	select {
	case s := <-turn:
		return s, nil
	case <-ctx.Done():
	}
	g.mu.Lock()
	i := slices.Index(g.queue, turn)
	if i >= 0 {
		g.queue = slices.Delete(g.queue, i, i+1)
	}
	g.mu.Unlock()
	if i < 0 { // the turn came at the same time
		g.leave(<-turn)
	}
	return nil, ctx.Err()
}

// leave passes the turn on, after the commit if nobody waits or enough share it.
func (g *group) leave(s *shared) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !s.ended() && s.members > 0 && (len(g.queue) == 0 || s.members >= mostShared) {
		g.mu.Unlock()
		s.end(g.db.commit(s.tx))
		g.mu.Lock()
	}
	if s.ended() {
		s = newShared()
	}
	if len(g.queue) == 0 {
		g.busy = false
		return
	}
	g.queue[0] <- s
	g.queue = slices.Delete(g.queue, 0, 1)
}

// work is one turn.
func (g *group) work(ctx context.Context, s *shared, f func(tx *Tx) error) (*Tx, error) {
	defer g.leave(s)
	inner, unwatch, err := s.begin(ctx, g.db)
	if err != nil {
		return nil, err
	}
	kept := false
	defer func() { // also when f panics
		if !kept {
			unwatch()
			s.undo()
		}
	}()
	tx := g.db.newTx(ctx, inner, s.conn, s.tx, false)
	if err := f(tx); err != nil {
		return tx, err
	}
	unwatch()
	if err := s.keep(); err != nil {
		return nil, err
	}
	kept = true
	return tx, nil
}

// begin begins the transaction, or a savepoint in it.
func (s *shared) begin(ctx context.Context, db *DB) (inner context.Context, unwatch func(), err error) {
	if s.conn != nil {
		if _, err := s.tx.Exec("SAVEPOINT member"); err != nil {
			s.fail(errEnded)
			return nil, nil, fmt.Errorf("beginning a transaction: %w", err)
		}
		inner, unwatch = watch(ctx, s.conn)
		return inner, unwatch, nil
	}
	conn, err := db.connection(ctx, db.writer)
	if err != nil {
		return nil, nil, err
	}
	inner, unwatch = watch(ctx, conn)
	tx, err := conn.BeginTx(inner, db.writeOptions)
	if err != nil {
		unwatch()
		return nil, nil, errors.Join(fmt.Errorf("beginning a transaction: %w", err), conn.Close())
	}
	s.conn, s.tx = conn, tx
	return inner, unwatch, nil
}

// keep makes what was done since begin part of the transaction.
func (s *shared) keep() error {
	if s.idle() {
		return errEnded
	}
	if s.members > 0 {
		if _, err := s.tx.Exec("RELEASE member"); err != nil {
			return fmt.Errorf("ending a transaction: %w", err)
		}
	}
	s.members++
	return nil
}

// errEnded is what transactions get that were lost with another's: they may be tried again.
var errEnded = Retry(errors.New("the transaction was rolled back by the database"))

// undo takes back what was done since begin. Some failures, a full disk for example, make SQLite take back all.
func (s *shared) undo() {
	if s.members == 0 {
		s.tx.Rollback()
		s.conn.Close()
		s.conn, s.tx = nil, nil
		return
	}
	if s.idle() {
		s.fail(errEnded)
		return
	}
	for _, statement := range []string{"ROLLBACK TO member", "RELEASE member"} {
		if _, err := s.tx.Exec(statement); err != nil {
			s.fail(Retry(err))
			return
		}
	}
}

// idle tells whether the database ended the transaction.
func (s *shared) idle() bool {
	idle := false
	err := s.conn.Raw(func(c any) error {
		idle = c.(*sqlite.Conn).Idle()
		return nil
	})
	return idle || err != nil
}

// fail ends the transaction without a commit.
func (s *shared) fail(err error) {
	s.tx.Rollback()
	s.end(err)
}

// end tells all members the outcome.
func (s *shared) end(err error) {
	s.conn.Close()
	s.err = err
	close(s.done)
}

func (s *shared) ended() bool {
	select {
	case <-s.done:
		return true
	default:
		return false
	}
}
