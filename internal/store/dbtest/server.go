package dbtest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"neutrino/internal/store"
)

// Server is a PostgreSQL or MariaDB process with files of its own, reached through a Unix socket only. What it has
// acknowledged survives Kill but not the end of the machine.
type Server struct {
	kind kind
	dir  string
	cred *syscall.Credential // nil if it runs as the caller
	cmd  *exec.Cmd
}

// kind is what PostgreSQL and MariaDB differ in. DIR stands for the server's directory.
type kind struct {
	user     string // whom the Debian package made for it
	binaries string // pattern of directories
	init     []string
	run      []string
	url      string // of a database
	admin    string // database that always exists
	stop     syscall.Signal
	noKeys   string // statement that switches foreign keys off for the session
	used     string // query of the tables that may have rows, "" = all
}

// Kinds are the names that Start knows.
func Kinds() []string { return []string{"postgresql", "mysql"} }

func kinds() map[string]kind {
	return map[string]kind{
		"postgresql": {
			user: "postgres", binaries: "/usr/lib/postgresql/*/bin",
			init: []string{"initdb", "-D", "DIR/data", "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync"},
			run: []string{"postgres", "-D", "DIR/data", "-k", "DIR", "-c", "listen_addresses=", "-c", "fsync=off",
				"-c", "full_page_writes=off", "-c", "max_connections=300", "-c", "shared_buffers=64MB", "-c", "jit=off"},
			url: "postgresql://postgres@/DATABASE?host=DIR", admin: "postgres", stop: syscall.SIGINT,
			noKeys: "SET session_replication_role = replica",
			used:   "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace AND pg_relation_size(oid) > 0",
		},
		"mysql": {
			user: "mysql", binaries: "/usr/[s]*bin",
			init: []string{"mariadb-install-db", "--no-defaults", "--datadir=DIR/data", "--auth-root-authentication-method=normal", "--skip-test-db"},
			run: []string{"mariadbd", "--no-defaults", "--datadir=DIR/data", "--socket=DIR/socket", "--skip-networking", "--pid-file=DIR/pid",
				"--innodb-flush-method=nosync", "--innodb-flush-log-at-trx-commit=2", "--innodb-buffer-pool-size=128M",
				"--innodb-log-file-size=64M", "--max-connections=300", "--character-set-server=utf8mb4"},
			url: "mysql+pymysql://root@localhost/DATABASE?unix_socket=DIR/socket&charset=utf8mb4", admin: "mysql", stop: syscall.SIGTERM,
			noKeys: "SET foreign_key_checks = 0",
		},
	}
}

// startTimeout is how long a server may take until it answers; recovery after Kill is part of it.
const startTimeout = time.Minute

// StartServer makes a server of the kind "postgresql" or "mysql" and waits until it answers. Binaries come from the
// Debian packages postgresql and mariadb-server.
func StartServer(ctx context.Context, name string) (*Server, error) {
	k, ok := kinds()[name]
	if !ok {
		return nil, fmt.Errorf("no database server is called %q", name)
	}
	dir, err := os.MkdirTemp("", "neutrino-"+name+"-")
	if err != nil {
		return nil, err
	}
	s := &Server{kind: k, dir: dir}
	if err := s.prepare(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("making a %s server: %w", name, err), s.Stop())
	}
	if err := s.Restart(ctx); err != nil {
		return nil, errors.Join(err, s.Stop())
	}
	if err := s.makeStock(ctx); err != nil {
		return nil, errors.Join(err, s.Stop())
	}
	return s, nil
}

func (s *Server) prepare(ctx context.Context) error {
	if os.Getuid() == 0 { // as which neither would run
		u, err := user.Lookup(s.kind.user)
		if err != nil {
			return err
		}
		uid, _ := strconv.Atoi(u.Uid)
		gid, _ := strconv.Atoi(u.Gid)
		s.cred = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
		if err := os.Chown(s.dir, uid, gid); err != nil {
			return err
		}
	}
	if out, err := s.command(ctx, s.kind.init).CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", s.kind.init[0], err, out)
	}
	return nil
}

// command is one of the kind's programs, run as its user in the server's directory. If we are killed, it is too.
func (s *Server) command(ctx context.Context, args []string) *exec.Cmd {
	binary := args[0]
	dirs, _ := filepath.Glob(s.kind.binaries)
	for _, dir := range slices.Backward(dirs) { // the newest version
		if _, err := os.Stat(filepath.Join(dir, binary)); err == nil {
			binary = filepath.Join(dir, binary)
			break
		}
	}
	args = slices.Clone(args[1:])
	for i := range args {
		args[i] = strings.ReplaceAll(args[i], "DIR", s.dir)
	}
	cmd := exec.CommandContext(ctx, binary, args...)
	cmd.Dir = s.dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: s.cred, Setpgid: true}
	return cmd
}

// Restart starts the server that is stopped and waits until it answers.
func (s *Server) Restart(ctx context.Context) error {
	logFile, err := os.OpenFile(filepath.Join(s.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer logFile.Close()
	deadline, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for {
		s.cmd = s.command(context.WithoutCancel(ctx), s.kind.run)
		s.cmd.Stdout, s.cmd.Stderr = logFile, logFile
		if err := s.cmd.Start(); err != nil {
			return err
		}
		gone := make(chan struct{})
		go func(cmd *exec.Cmd) {
			defer close(gone)
			_ = cmd.Wait() // killed, or told in the log
		}(s.cmd)
		err := s.answers(deadline, gone)
		if err == nil || deadline.Err() != nil {
			return err
		}
		// After Kill some process of the old server may have been about to end.
		time.Sleep(100 * time.Millisecond)
	}
}

// answers waits until the server answers, or fails if its process ends.
func (s *Server) answers(ctx context.Context, gone <-chan struct{}) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		select {
		case <-gone:
			cancel()
		case <-ctx.Done():
		}
	}()
	patient := store.DefaultPool()
	patient.Retries, patient.RetryInterval = -1, 20*time.Millisecond
	db, err := store.OpenPool(ctx, s.URL(s.kind.admin), patient, slog.New(slog.DiscardHandler))
	if err != nil {
		tail, _ := os.ReadFile(filepath.Join(s.dir, "log"))
		return fmt.Errorf("starting %s: %w: %s", s.kind.run[0], err, tail[max(0, len(tail)-2000):])
	}
	return db.Close()
}

// URL is the address of one of its databases, as SQLAlchemy spells it.
func (s *Server) URL(database string) string {
	return strings.NewReplacer("DIR", s.dir, "DATABASE", database).Replace(s.kind.url)
}

// Create makes an empty database and returns its URL.
func (s *Server) Create(ctx context.Context, database string) (string, error) {
	return s.URL(database), execute(ctx, s.URL(s.kind.admin), "CREATE DATABASE "+database)
}

// Environment is the variable that makes the tests use this server.
func (s *Server) Environment() string { return Variable + "=" + s.URL(s.kind.admin) }

// Kill ends the server as a crash does.
func (s *Server) Kill() error { return s.end(syscall.SIGKILL) }

// Stop ends the server and removes its files.
func (s *Server) Stop() error {
	return errors.Join(s.end(s.kind.stop), os.RemoveAll(s.dir))
}

func (s *Server) end(signal syscall.Signal) error {
	if s.cmd == nil || s.cmd.Process == nil {
		return nil
	}
	pid := s.cmd.Process.Pid
	s.cmd = nil
	if signal == syscall.SIGKILL {
		pid = -pid // PostgreSQL's helpers too
	}
	if err := syscall.Kill(pid, signal); err != nil && !errors.Is(err, syscall.ESRCH) {
		return err
	}
	for range 1000 {
		if syscall.Kill(pid, 0) != nil {
			return nil
		}
		time.Sleep(10 * time.Millisecond)
	}
	return fmt.Errorf("process %d does not end", pid)
}

// kindOf finds the kind that a URL belongs to.
func kindOf(url string) (kind, error) {
	for name, k := range kinds() {
		if strings.HasPrefix(url, name) {
			return k, nil
		}
	}
	return kind{}, fmt.Errorf("%s must be empty or the URL that a Server's Environment says", Variable)
}
