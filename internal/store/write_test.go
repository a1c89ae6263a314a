package store

import (
	"bufio"
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"neutrino/internal/fault"

	"github.com/google/go-cmp/cmp"
)

func TestWriteTriesAgain(t *testing.T) {
	onBoth(t, func(t *testing.T, db *DB) {
		mustExec(t, db, "CREATE TABLE t (v TEXT)")
		tries := 0
		var hooks []string
		err := db.Write(context.Background(), func(tx *Tx) error {
			tries++
			tx.OnCommit(func(context.Context) { hooks = append(hooks, fmt.Sprint("first of try ", tries)) })
			tx.OnCommit(func(context.Context) { hooks = append(hooks, fmt.Sprint("second of try ", tries)) })
			if _, err := tx.Exec("INSERT INTO t VALUES (?)", tries); err != nil {
				return err
			}
			if tries < 3 {
				return Retry(errors.New("stale revision"))
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]string{"first of try 3", "second of try 3"}, hooks); diff != "" {
			t.Error(diff)
		}
		if n := count(t, db, "SELECT count(*) FROM t"); n != 1 {
			t.Errorf("%d rows, expected that of the last try only", n)
		}
	})
}

func TestWriteGivesUp(t *testing.T) {
	for _, c := range []struct {
		name        string
		cause       error
		raceTime    time.Duration
		least, most int
	}{
		{"lost races", Retry(errors.New("stale revision")), 0, maxTries, maxTries},
		{"lost races in the time for them", Retry(errors.New("stale revision")), 2 * time.Second, maxTries + 5, 1000},
		{"lost connection", driver.ErrBadConn, time.Hour, maxTries, maxTries},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			db := openFile(t, "")
			db.raceTime = c.raceTime
			tries := 0
			err := db.Write(context.Background(), func(*Tx) error {
				tries++
				return c.cause
			})
			if !errors.Is(err, c.cause) || tries < c.least || tries > c.most {
				t.Errorf("Write = %v after %d tries", err, tries)
			}
		})
	}
}

// TestWriteRepeatsViolations: a row that somebody else made in the meantime is seen by the checks of the next try.
func TestWriteRepeatsViolations(t *testing.T) {
	db := openFile(t, "")
	insert := func(tx *Tx) error {
		_, err := tx.Exec("INSERT INTO twice VALUES (1)")
		return err
	}
	if err := db.Write(context.Background(), func(tx *Tx) error {
		_, err := tx.Exec("CREATE TABLE twice (id INTEGER PRIMARY KEY)")
		return errors.Join(err, insert(tx))
	}); err != nil {
		t.Fatal(err)
	}
	told := fault.Conflict("Twice", "twice")
	for _, c := range []struct {
		name  string
		work  func(tx *Tx, try int) error
		tries int
		want  error
	}{
		{"seen", func(tx *Tx, try int) error {
			if try > 1 {
				return told
			}
			return insert(tx)
		}, 2, told},
		{"told", func(tx *Tx, _ int) error { return told.Because(insert(tx)) }, 1, nil},
		{"never seen", func(tx *Tx, _ int) error { return insert(tx) }, maxTries, nil},
	} {
		tries := 0
		err := db.Write(context.Background(), func(tx *Tx) error {
			tries++
			return c.work(tx, tries)
		})
		if err == nil || tries != c.tries || c.want != nil && !errors.Is(err, c.want) {
			t.Errorf("%s: %v after %d tries", c.name, err, tries)
		}
	}
}

func TestWriteDoesNotRepeatOtherErrors(t *testing.T) {
	db := openFile(t, "")
	tries, failed := 0, 0
	err := db.Write(context.Background(), func(tx *Tx) error {
		tries++
		tx.OnCommit(func(context.Context) { t.Error("hook ran after a rollback") })
		tx.OnFailure(func(context.Context) { failed = tries })
		if tries == 1 {
			return Retry(errors.New("again"))
		}
		_, err := tx.Exec("INSERT INTO missing VALUES (1)")
		return err
	})
	if err == nil || tries != 2 || failed != 2 {
		t.Errorf("Write = %v after %d tries; the hook ran after the %dth", err, tries, failed)
	}
}

// signalHandler closes seen when the first record is logged.
type signalHandler struct {
	slog.Handler
	once *sync.Once
	seen chan struct{}
}

func (h signalHandler) Enabled(context.Context, slog.Level) bool { return true }

func (h signalHandler) Handle(context.Context, slog.Record) error {
	h.once.Do(func() { close(h.seen) })
	return nil
}

func TestWriteOutlastsABusyDatabase(t *testing.T) {
	path := filepath.Join(t.TempDir(), "neutron.sqlite")
	first := openFile(t, path)
	second := openFile(t, path)
	again := signalHandler{slog.DiscardHandler, &sync.Once{}, make(chan struct{})}
	second.log = slog.New(again)
	mustExec(t, first, "CREATE TABLE t (v TEXT)")

	err := first.Write(context.Background(), func(tx *Tx) error {
		if _, err := tx.Exec("INSERT INTO t VALUES ('first')"); err != nil {
			return err
		}
		done := make(chan error, 1)
		go func() {
			done <- second.Write(context.Background(), func(tx *Tx) error {
				_, err := tx.Exec("INSERT INTO t VALUES ('second')")
				return err
			})
		}()
		<-again.seen // the second found the database locked and tries again: let it have it
		tx.OnCommit(func(context.Context) {
			if err := <-done; err != nil {
				t.Error(err)
			}
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if n := count(t, first, "SELECT count(*) FROM t"); n != 2 {
		t.Errorf("%d rows", n)
	}
}

func TestConcurrentWritersLoseNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "neutron.sqlite")
	dbs := []*DB{openFile(t, path), openFile(t, path)}
	mustExec(t, dbs[0], "CREATE TABLE t (n INTEGER)")
	mustExec(t, dbs[0], "INSERT INTO t VALUES (0)")
	const workers, each = 8, 25
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for range each {
				err := dbs[w%2].Write(context.Background(), func(tx *Tx) error {
					n, _, err := One[int](tx.QueryRow("SELECT n FROM t"))
					if err != nil {
						return err
					}
					_, err = tx.Exec("UPDATE t SET n = ?", n+1)
					return err
				})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if n := count(t, dbs[0], "SELECT n FROM t"); n != workers*each {
		t.Errorf("counted %d, expected %d", n, workers*each)
	}
}

func TestReadSeesOneSnapshot(t *testing.T) {
	db := openFile(t, filepath.Join(t.TempDir(), "neutron.sqlite"))
	mustExec(t, db, "CREATE TABLE t (v TEXT)")
	err := db.Read(context.Background(), func(tx *Tx) error {
		for range 2 {
			if n, _, err := One[int](tx.QueryRow("SELECT count(*) FROM t")); err != nil || n != 0 {
				t.Errorf("count = %d, %v", n, err)
			}
			mustExec(t, db, "INSERT INTO t VALUES ('later')")
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestCancelledWriteLeavesNoTrace(t *testing.T) {
	onBoth(t, func(t *testing.T, db *DB) {
		mustExec(t, db, "CREATE TABLE t (v TEXT)")
		mustExec(t, db, "INSERT INTO t VALUES ('kept')")
		ctx, cancel := context.WithCancel(context.Background())
		err := db.Write(ctx, func(tx *Tx) error {
			if _, err := tx.Exec("INSERT INTO t VALUES ('lost')"); err != nil {
				return err
			}
			cancel()
			_, err := tx.Exec("INSERT INTO t VALUES ('lost')")
			return err
		})
		if !errors.Is(err, context.Canceled) && !errors.Is(err, sql.ErrTxDone) {
			t.Errorf("Write = %v", err)
		}
		if n := count(t, db, "SELECT count(*) FROM t"); n != 1 {
			t.Errorf("%d rows", n)
		}
	})
}

func TestOnCommitOutlivesTheRequest(t *testing.T) {
	db := openFile(t, "")
	ctx, cancel := context.WithCancel(context.Background())
	ran := false
	err := db.Write(ctx, func(tx *Tx) error {
		tx.OnCommit(func(ctx context.Context) {
			cancel()
			ran = true
			if err := db.Read(ctx, func(*Tx) error { return nil }); err != nil {
				t.Errorf("Read in the hook = %v", err)
			}
		})
		return nil
	})
	if err != nil || !ran {
		t.Errorf("Write = %v, hook ran: %v", err, ran)
	}
}

func TestPanicRollsBack(t *testing.T) {
	onBoth(t, func(t *testing.T, db *DB) {
		mustExec(t, db, "CREATE TABLE t (v TEXT)")
		func() {
			defer func() {
				if recover() == nil {
					t.Error("the panic got lost")
				}
			}()
			_ = db.Write(context.Background(), func(tx *Tx) error {
				if _, err := tx.Exec("INSERT INTO t VALUES ('x')"); err != nil {
					return err
				}
				panic("bug")
			})
		}()
		if n := count(t, db, "SELECT count(*) FROM t"); n != 0 {
			t.Errorf("%d rows", n)
		}
	})
}

// crashEnv makes the test binary the process that TestAcknowledgedWritesSurviveKill kills.
const crashEnv = "NEUTRINO_STORE_CRASH_FILE"

func TestAcknowledgedWritesSurviveKill(t *testing.T) {
	if path := os.Getenv(crashEnv); path != "" {
		writeForever(t, openFile(t, path))
	}
	path := filepath.Join(t.TempDir(), "neutron.sqlite")
	cmd := exec.Command(os.Args[0], "-test.run=^TestAcknowledgedWritesSurviveKill$")
	cmd.Env = append(os.Environ(), crashEnv+"="+path)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	acknowledged := 0
	for lines := bufio.NewScanner(out); acknowledged < 300 && lines.Scan(); {
		if strings.HasPrefix(lines.Text(), "row ") {
			acknowledged++
		}
	}
	if err := cmd.Process.Kill(); err != nil { // SIGKILL
		t.Error(err)
	}
	_ = cmd.Wait() // "signal: killed"
	if acknowledged != 300 {
		t.Fatalf("the writer stopped after %d rows", acknowledged)
	}
	db := openFile(t, path)
	if n := count(t, db, "SELECT count(*) FROM t WHERE id <= ?", acknowledged); n != acknowledged {
		t.Errorf("%d of %d acknowledged rows are there", n, acknowledged)
	}
}

func writeForever(t *testing.T, db *DB) {
	mustExec(t, db, "CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT)")
	for {
		var id int64
		err := db.Write(context.Background(), func(tx *Tx) (err error) {
			id, err = tx.Insert("INSERT INTO t (v) VALUES ('x')")
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		fmt.Println("row", id)
	}
}
