// Package nats is the bus on NATS: a server embedded in neutron-server, and connections to it or to any other NATS.
package nats

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"neutrino/internal/bus"
)

// maxPayload bounds one message. A full sync of thousands of ports is one answer and exceeds NATS' default of 1 MB.
const maxPayload = 64 << 20

// pingInterval decides how fast a dead peer is noticed: two unanswered pings end the connection.
const pingInterval = 10 * time.Second

// startTimeout bounds the wait for the listeners when StartServer's context has no deadline.
const startTimeout = 10 * time.Second

var errOpenBus = errors.New("bus: listening beyond this machine needs a token or a user and password")

// ServerConfig describes the embedded server. The zero value serves this process only.
type ServerConfig struct {
	Listen   string // host:port for agents on other hosts; "" = in-process connections only; port 0 = any free one
	User     string
	Password string
	Token    string // instead of User and Password
	TLS      TLS

	ClusterListen string   // host:port for the other servers of the cluster; "" = no cluster
	Routes        []string // host:port of some of them
}

// Server is an embedded NATS server.
type Server struct {
	nats   *server.Server
	config ServerConfig
	log    *slog.Logger
}

// StartServer starts the server and waits, no longer than ctx, until it listens. The caller must Close it.
func StartServer(ctx context.Context, c ServerConfig, log *slog.Logger) (*Server, error) {
	opts, err := c.options()
	if err != nil {
		return nil, err
	}
	n, err := server.NewServer(opts)
	if err != nil {
		return nil, fmt.Errorf("bus: configure the NATS server: %w", err)
	}
	l := &serverLog{log: log}
	n.SetLoggerV2(l, false, false, false)
	n.Start()
	s := &Server{nats: n, config: c, log: log}
	if err := s.waitReady(ctx, l); err != nil {
		s.Close()
		return nil, err
	}
	if c.Listen != "" {
		log.Info("bus listens", "address", s.Addr(), "tls", c.TLS.enabled())
	}
	return s, nil
}

func (s *Server) waitReady(ctx context.Context, l *serverLog) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for !s.nats.ReadyForConnections(10 * time.Millisecond) {
		if m := l.fatal.Load(); m != nil {
			return fmt.Errorf("bus: start the NATS server: %s", *m)
		}
		if ctx.Err() != nil {
			return fmt.Errorf("bus: the NATS server did not get ready: %w", ctx.Err())
		}
	}
	return nil
}

// Addr is the address agents connect to; "" if the server is in-process only.
func (s *Server) Addr() string {
	if a := s.nats.Addr(); a != nil && s.config.Listen != "" {
		return a.String()
	}
	return ""
}

// Connect makes a connection within this process. name is for the log and NATS' own diagnostics.
func (s *Server) Connect(name string) (bus.Transport, error) {
	return connect(Config{
		Name: name, User: s.config.User, Password: s.config.Password, Token: s.config.Token, inProcess: s.nats,
	}, s.log)
}

// Close ends all connections and waits until the server is down.
func (s *Server) Close() {
	s.nats.Shutdown()
	s.nats.WaitForShutdown()
}

func (c ServerConfig) options() (*server.Options, error) {
	o := &server.Options{
		DontListen:      c.Listen == "",
		Username:        c.User,
		Password:        c.Password,
		Authorization:   c.Token,
		MaxPayload:      maxPayload,
		MaxPending:      2 * maxPayload, // a client is cut off beyond this, so it must hold at least one message
		PingInterval:    pingInterval,
		MaxPingsOut:     2,
		NoSigs:          true, // signals belong to the daemon
		NoSystemAccount: true, // saves its periodic statistics
	}
	var err error
	if c.Listen != "" {
		if o.Host, o.Port, err = listenAddress(c.Listen); err != nil {
			return nil, err
		}
		if c.Token == "" && c.User == "" && !isLoopback(o.Host) {
			return nil, fmt.Errorf("%w: %s", errOpenBus, c.Listen)
		}
	}
	if c.TLS.enabled() {
		if o.TLSConfig, err = c.TLS.config(); err != nil {
			return nil, err
		}
		o.TLS, o.TLSVerify, o.TLSTimeout = true, c.TLS.CAFile != "", 5
	}
	if c.ClusterListen != "" {
		return o, c.cluster(o)
	}
	return o, nil
}

// cluster lets servers find each other. They authenticate with the same secret as the agents.
func (c ServerConfig) cluster(o *server.Options) error {
	user := url.UserPassword(c.User, c.Password)
	if c.Token != "" {
		user = url.UserPassword("neutron", c.Token)
	}
	host, port, err := listenAddress(c.ClusterListen)
	if err != nil {
		return err
	}
	if user.Username() == "" && !isLoopback(host) {
		return fmt.Errorf("%w: %s", errOpenBus, c.ClusterListen)
	}
	password, _ := user.Password()
	o.Cluster = server.ClusterOpts{
		Name: "neutron", Host: host, Port: port, Username: user.Username(), Password: password,
		TLSConfig: o.TLSConfig, TLSTimeout: o.TLSTimeout, PingInterval: pingInterval, MaxPingsOut: 2,
	}
	for _, r := range c.Routes {
		if _, _, err := net.SplitHostPort(r); err != nil {
			return fmt.Errorf("bus: route %q must be host:port: %w", r, err)
		}
		o.Routes = append(o.Routes, &url.URL{Scheme: "nats-route", User: user, Host: r})
	}
	return nil
}

// listenAddress splits host:port. NATS takes 0 for its default port and -1 for any free one.
func listenAddress(s string) (string, int, error) {
	host, text, err := net.SplitHostPort(s)
	if err != nil {
		return "", 0, fmt.Errorf("bus: address %q must be host:port: %w", s, err)
	}
	port, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return "", 0, fmt.Errorf("bus: port of %q: %w", s, err)
	}
	if port == 0 {
		return host, server.RANDOM_PORT, nil
	}
	return host, int(port), nil
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// serverLog passes the server's messages on and keeps the one that explains a failed start.
type serverLog struct {
	log   *slog.Logger
	fatal atomic.Pointer[string]
}

// Two warnings at every start are about what we chose: the payload limit, and secrets that come from a config file.
func (l *serverLog) Warnf(format string, v ...any) {
	level := slog.LevelWarn
	if strings.HasPrefix(format, "Maximum payloads") || strings.HasPrefix(format, "Plaintext passwords") {
		level = slog.LevelDebug
	}
	l.log.Log(context.Background(), level, "NATS server: "+fmt.Sprintf(format, v...))
}

func (l *serverLog) Fatalf(format string, v ...any) {
	m := fmt.Sprintf(format, v...)
	l.fatal.CompareAndSwap(nil, &m)
	l.log.Error("NATS server: " + m)
}

func (l *serverLog) Errorf(format string, v ...any) {
	l.log.Error("NATS server: " + fmt.Sprintf(format, v...))
}
func (l *serverLog) Noticef(format string, v ...any) {
	l.log.Debug("NATS server: " + fmt.Sprintf(format, v...))
}
func (l *serverLog) Debugf(format string, v ...any) {
	l.log.Debug("NATS server: " + fmt.Sprintf(format, v...))
}
func (l *serverLog) Tracef(format string, v ...any) {
	l.log.Debug("NATS server: " + fmt.Sprintf(format, v...))
}
