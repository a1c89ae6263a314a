package store

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// Many writers at a time, of which some fail, panic, or are given up: what they were told is what happened.
func TestSharedCommits(t *testing.T) {
	onBoth(t, func(t *testing.T, db *DB) {
		mustExec(t, db, "CREATE TABLE t (id TEXT PRIMARY KEY)")
		const writers, each = 12, 60
		boom := errors.New("boom")
		kept := make([]map[string]bool, writers)
		var wg sync.WaitGroup
		for w := range writers {
			kept[w] = map[string]bool{}
			wg.Go(func() {
				for i := range each {
					id := fmt.Sprint(w, "-", i)
					hooks := 0
					err := writeSomehow(db, id, boom, &hooks)
					kept[w][id] = err == nil
					if (err == nil) != (hooks == 1) || hooks > 1 {
						t.Errorf("%s: %v, and %d hooks ran", id, err, hooks)
					}
				}
			})
		}
		wg.Wait()
		successes := 0
		for _, of := range kept {
			for id, want := range of {
				if got := count(t, db, "SELECT count(*) FROM t WHERE id = ?", id) == 1; got != want {
					t.Errorf("%s is there: %v, and its writer was told %v", id, got, want)
				}
				if want {
					successes++
				}
			}
		}
		if successes == 0 || successes == writers*each {
			t.Errorf("%d of %d writes were successful", successes, writers*each)
		}
	})
}

// writeSomehow writes a row, and then may fail, panic, be given up, or fail once and be tried again.
func writeSomehow(db *DB, id string, boom error, hooks *int) (err error) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	defer func() {
		if r := recover(); r != nil {
			err = r.(error)
		}
	}()
	kind, tries := rand.IntN(8), 0
	if kind == 0 {
		time.AfterFunc(time.Duration(rand.IntN(2000))*time.Microsecond, cancel)
	}
	return db.Write(ctx, func(tx *Tx) error {
		tries++
		tx.OnCommit(func(context.Context) { *hooks++ })
		if _, err := tx.Exec("INSERT INTO t VALUES (?)", id); err != nil {
			return err
		}
		switch kind {
		case 1:
			return boom
		case 2:
			panic(boom)
		case 3:
			if _, err := tx.Exec("INSERT INTO t VALUES (?)", id); err == nil || !IsDuplicate(err) {
				return fmt.Errorf("written twice: %w", err)
			}
		case 4:
			if tries == 1 {
				return Retry(boom)
			}
		case 5:
			cancel()
			_, err := tx.Exec("INSERT INTO t VALUES (?)", id+" more")
			return err
		}
		return nil
	})
}

// Those who wait while one works share a commit, and are told together.
func TestCommitIsShared(t *testing.T) {
	db := openFile(t, filepath.Join(t.TempDir(), "neutron.sqlite"))
	mustExec(t, db, "CREATE TABLE t (id INTEGER PRIMARY KEY)")
	var wg sync.WaitGroup
	seen := make([]int, mostShared)
	write := func(i int, wait func()) {
		wg.Go(func() {
			err := db.Write(context.Background(), func(tx *Tx) error {
				if _, err := tx.Exec("INSERT INTO t VALUES (?)", i); err != nil {
					return err
				}
				seen[i] = count(t, db, "SELECT count(*) FROM t") // by another connection
				wait()
				return nil
			})
			if err != nil {
				t.Error(err)
			}
			if n := count(t, db, "SELECT count(*) FROM t"); n != mostShared {
				t.Errorf("writer %d was told with %d rows", i, n)
			}
		})
	}
	queued := func() int {
		db.group.mu.Lock()
		defer db.group.mu.Unlock()
		return len(db.group.queue)
	}
	write(0, func() {
		for queued() < mostShared-1 {
			time.Sleep(time.Millisecond)
		}
	})
	for ; ; time.Sleep(time.Millisecond) {
		db.group.mu.Lock()
		busy := db.group.busy
		db.group.mu.Unlock()
		if busy {
			break
		}
	}
	for i := 1; i < mostShared; i++ {
		write(i, func() {})
	}
	wg.Wait()
	for i, n := range seen {
		if n != 0 {
			t.Errorf("before the commit, writer %d saw %d rows", i, n)
		}
	}
}

// A failure that makes SQLite take back the transaction has the others in it try again.
func TestSharedTransactionLost(t *testing.T) {
	db := openFile(t, filepath.Join(t.TempDir(), "neutron.sqlite"))
	mustExec(t, db, "CREATE TABLE t (id INTEGER PRIMARY KEY)")
	var wg sync.WaitGroup
	tries := 0
	working := make(chan struct{})
	wg.Go(func() {
		err := db.Write(context.Background(), func(tx *Tx) error {
			if tries++; tries == 1 {
				close(working)
				for waiting := 0; waiting == 0; time.Sleep(time.Millisecond) {
					db.group.mu.Lock()
					waiting = len(db.group.queue)
					db.group.mu.Unlock()
				}
			}
			_, err := tx.Exec("INSERT INTO t VALUES (1)")
			return err
		})
		if err != nil || tries != 2 {
			t.Errorf("%v after %d tries", err, tries)
		}
	})
	<-working
	boom := errors.New("boom")
	err := db.Write(context.Background(), func(tx *Tx) error {
		if _, err := tx.Exec("ROLLBACK"); err != nil {
			t.Error(err)
		}
		return boom
	})
	if !errors.Is(err, boom) {
		t.Error(err)
	}
	wg.Wait()
	if n := count(t, db, "SELECT count(*) FROM t"); n != 1 {
		t.Errorf("%d rows", n)
	}
}
