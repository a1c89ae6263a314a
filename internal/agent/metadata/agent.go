// Package metadata is the metadata agent: it answers the metadata proxies of its host at a unix socket. In a process
// that holds all agents the proxies use its Backend directly.
package metadata

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"time"

	"neutrino/internal/agent"
	"neutrino/internal/bus"
	"neutrino/internal/metadata"
	"neutrino/internal/rpc"
)

// Config are the settings of metadata_agent.ini; the zero values mean upstream's defaults.
type Config struct {
	Host           string // of this agent
	Nova           metadata.NovaConfig
	Socket         string        // metadata_proxy_socket; "" means no socket: only the Backend is used
	SocketMode     string        // metadata_proxy_socket_mode: deduce (the default), user, group, all
	ProxyUser      string        // metadata_proxy_user, for deduce
	ProxyGroup     string        // metadata_proxy_group, for deduce
	ReportInterval time.Duration // report_interval; 0 means 30 s
	LogHeartbeats  bool          // log_agent_heartbeats
}

// Agent is the metadata agent.
type Agent struct {
	cfg      Config
	nova     *metadata.Nova
	reporter *agent.Reporter
	log      *slog.Logger
}

// New makes the agent. It fails if the configuration is wrong.
func New(cfg Config, t bus.Transport, log *slog.Logger) (*Agent, error) {
	nova, err := metadata.NewNova(cfg.Nova, t, log)
	if err != nil {
		return nil, err
	}
	if _, err := cfg.mode(); err != nil {
		return nil, err
	}
	shown := cfg.Nova.WithDefaults()
	return &Agent{cfg: cfg, nova: nova, log: log, reporter: &agent.Reporter{
		Transport: t,
		Interval:  cfg.ReportInterval,
		Resync:    func(string) {}, // it keeps nothing that could be out of date
		Log:       log,
		State: rpc.AgentState{
			Binary:    "neutron-metadata-agent",
			Host:      cfg.Host,
			AgentType: rpc.AgentTypeMetadata,
			Topic:     "N/A",
			Configurations: map[string]any{
				"metadata_proxy_socket": cfg.Socket,
				"nova_metadata_host":    shown.Host,
				"nova_metadata_port":    shown.Port,
				"log_agent_heartbeats":  cfg.LogHeartbeats,
			},
		},
	}}, nil
}

// Backend is what proxies in the same process use instead of the socket. It works without Run.
func (a *Agent) Backend() metadata.Backend { return a.nova }

// Healthy tells what keeps the agent from working.
func (a *Agent) Healthy() error {
	if !a.reporter.Alive() {
		return errors.New("metadata agent: the last state report did not get through")
	}
	return nil
}

// Run serves the socket and reports until ctx ends. It fails if the socket cannot be made.
func (a *Agent) Run(ctx context.Context) error {
	defer a.nova.Close()
	if a.cfg.Socket == "" {
		a.reporter.Run(ctx)
		return nil
	}
	l, err := a.listen()
	if err != nil {
		return err
	}
	server := &http.Server{
		Handler:           metadata.Handler(a.nova),
		ReadHeaderTimeout: 30 * time.Second,
		WriteTimeout:      90 * time.Second,
		IdleTimeout:       30 * time.Second,
		ErrorLog:          slog.NewLogLogger(a.log.Handler(), slog.LevelDebug),
	}
	stopped := make(chan error, 1)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		stopped <- server.Serve(l)
		cancel()
	}()
	a.reporter.Run(ctx)
	grace, done := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer done()
	if err := server.Shutdown(grace); err != nil {
		server.Close()
	}
	if err := <-stopped; !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("metadata socket: %w", err)
	}
	return nil
}

// listen makes the socket under another name and moves it into place, so that requests always find one and an agent
// that is just ending does not remove its successor's.
func (a *Agent) listen() (net.Listener, error) {
	mode, err := a.cfg.mode()
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Dir(a.cfg.Socket), 0o755); err != nil {
		return nil, fmt.Errorf("metadata socket: %w", err)
	}
	fresh := a.cfg.Socket + "." + strconv.Itoa(os.Getpid())
	_ = os.Remove(fresh)
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: fresh, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("metadata socket: %w", err)
	}
	l.SetUnlinkOnClose(false)
	if err := errors.Join(os.Chmod(fresh, mode), os.Rename(fresh, a.cfg.Socket)); err != nil {
		return nil, errors.Join(fmt.Errorf("metadata socket: %w", err), l.Close(), os.Remove(fresh))
	}
	return l, nil
}

// mode is upstream's rule: as few may write as the proxy's user allows (agent/metadata/proxy_base.py).
func (c Config) mode() (os.FileMode, error) {
	modes := map[string]os.FileMode{"user": 0o644, "group": 0o664, "all": 0o666}
	how := c.SocketMode
	if how == "" || how == "deduce" {
		switch {
		case c.ProxyUser == "" || c.ProxyUser == "root" || c.ProxyUser == "0" || isMe(c.ProxyUser, os.Geteuid(), userID):
			how = "user"
		case c.ProxyGroup == "" || isMe(c.ProxyGroup, os.Getegid(), groupID):
			how = "group"
		default:
			how = "all"
		}
	}
	mode, ok := modes[how]
	if !ok {
		return 0, fmt.Errorf("metadata_proxy_socket_mode %q is none of deduce, user, group, all", how)
	}
	return mode, nil
}

func isMe(name string, id int, lookup func(string) (string, error)) bool {
	mine := strconv.Itoa(id)
	if name == mine {
		return true
	}
	found, err := lookup(name)
	return err == nil && found == mine
}

func userID(name string) (string, error) {
	u, err := user.Lookup(name)
	if err != nil {
		return "", err
	}
	return u.Uid, nil
}

func groupID(name string) (string, error) {
	g, err := user.LookupGroup(name)
	if err != nil {
		return "", err
	}
	return g.Gid, nil
}
