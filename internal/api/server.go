// Package api is the HTTP API (Networking API v2.0): routes made from the resource tables, bodies, policy, paging, tags,
// versions, extensions and errors. It knows no networking; what is not uniform comes in as resource.Logic or as functions.
package api

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"neutrino/internal/health"
	"neutrino/internal/identity"
	"neutrino/internal/policy"
	"neutrino/internal/store"
)

// Config says how the API presents itself. The zero value works.
type Config struct {
	// MaxBody bounds request bodies, in bytes; 0 = 4 MiB. Upstream's deployment has no limit; oslo.middleware's default of
	// 112 KiB would refuse bulk requests of a few hundred ports.
	MaxBody int64
	MaxPage int // pagination_max_limit: longest page of a list, and the default one; 0 = no limit
	// Timeout bounds the work on one request; 0 = 60 s.
	Timeout time.Duration
	// LinkPrefix replaces scheme and host in links (network_link_prefix).
	LinkPrefix string
	// TrustProxy believes the Forwarded and X-Forwarded headers (enable_proxy_headers_parsing).
	TrustProxy bool
	// CORS says which web sites may use the API; the zero value: none.
	CORS CORS
	// Metrics serves /metrics beside the API, to everybody who reaches it. Without it see Server.Metrics.
	Metrics bool
}

// Deps are what the API works with.
type Deps struct {
	DB         *store.DB
	Log        *slog.Logger
	Auth       Authenticator
	Rules      func() *policy.Rules // the rules now in force
	Quota      Quota                // nil: no limits
	Extensions Extensions
	Listeners  []Listener
}

// Quota limits how many objects a project may have.
type Quota interface {
	// Check makes sure, inside the transaction that will create them, that the project may have count more objects of the
	// named resource ("port"). The error is the 409 for the caller.
	Check(tx *store.Tx, caller *identity.Caller, resource, project string, count int) error
	// Known tells whether objects of the kind are counted.
	Known(resource string) bool
}

// Server is the API. Mount and Handle add routes to it before Handler is called.
type Server struct {
	cfg       Config
	db        *store.DB
	log       *slog.Logger
	auth      Authenticator
	rules     func() *policy.Rules
	quota     Quota
	exts      Extensions
	judges    judges
	listeners []Listener
	metrics   *metrics
	limits    *limits
	routes    map[string]methods
	core      []coreResource
}

// New makes an API that so far has only versions, extensions and the health check.
func New(cfg Config, deps Deps) *Server {
	if cfg.MaxBody == 0 {
		cfg.MaxBody = 4 << 20
	}
	if cfg.Timeout == 0 {
		cfg.Timeout = time.Minute
	}
	s := &Server{cfg: cfg, db: deps.DB, log: deps.Log, auth: deps.Auth, rules: deps.Rules, quota: deps.Quota,
		exts: deps.Extensions, listeners: deps.Listeners, metrics: newMetrics(deps.DB), limits: newLimits(cfg.MaxBody), routes: map[string]methods{}}
	s.addVersions()
	return s
}

// Handler gives the routes added so far.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	for path, m := range s.routes {
		mux.Handle(path, s.endpoint(m, false))
		for _, other := range otherSpellings(path) {
			if s.routes[other] == nil {
				mux.Handle(other, s.endpoint(m, true))
			}
		}
	}
	mux.Handle("/v2.0/", s.endpoint(nil, false)) // asks for authentication before it says that there is nothing
	mux.HandleFunc("/{$}", s.versions)
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		if garbled(r) {
			errRootGarbled.write(w, r)
			return
		}
		errRootMissing.write(w, r)
	})
	operator := s.Metrics()
	mux.Handle(healthPath, operator)
	if s.cfg.Metrics {
		mux.Handle("/metrics", operator)
	}
	return s.outer(mux)
}

// otherSpellings are the paths of a route without the prefix of its service, and with the other separator between the
// words of its collection, which upstream's first framework serves too: security-groups and security_groups.
func otherSpellings(path string) []string {
	parts := strings.Split(path, "/") // "", "v2.0", collection, ...
	if len(parts) < 3 {
		return nil
	}
	at := 2
	if parts[at] == "metering" && len(parts) > 3 {
		at = 3
	}
	swap := strings.NewReplacer("-", "_", "_", "-")
	other := slices.Clone(parts)
	other[at] = swap.Replace(parts[at])
	if at == 2 {
		return []string{strings.Join(other, "/")}
	}
	return []string{strings.Join(other, "/"), strings.Join(slices.Delete(slices.Clone(parts), 2, 3), "/"), strings.Join(slices.Delete(other, 2, 3), "/")}
}

// Metrics serves /metrics and /healthcheck, for a listener that only the operator reaches.
func (s *Server) Metrics() http.Handler { return health.Handler(s.metrics.registry, s.databaseInReach) }

// databaseInReach is the health check.
func (s *Server) databaseInReach() error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	err := s.db.Read(ctx, func(tx *store.Tx) error {
		_, _, err := store.One[int](tx.QueryRow("SELECT 1"))
		return err
	})
	if err != nil {
		s.log.Error("health check: database out of reach", "error", err)
		return errors.New("database out of reach")
	}
	return nil
}

// The limits protect against clients that are slow on purpose. Writing takes longest: a list of everything over a poor line.
const (
	headerTimeout  = 10 * time.Second
	readTimeout    = time.Minute
	writeTimeout   = 5 * time.Minute
	idleTimeout    = 75 * time.Second
	maxHeaderBytes = 64 << 10
	drainTimeout   = 10 * time.Second
)

// Serve answers requests on l until ctx ends, then lets the running ones finish.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	srv := &http.Server{
		Handler:           s.Handler(),
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug), // noise of broken clients
	}
	failed := make(chan error, 1)
	go func() { failed <- srv.Serve(l) }()
	select {
	case err := <-failed:
		return fmt.Errorf("serve the API on %s: %w", l.Addr(), err)
	case <-ctx.Done():
	}
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTimeout)
	defer cancel()
	err := srv.Shutdown(drain)
	if errors.Is(err, context.DeadlineExceeded) {
		err = srv.Close()
	}
	<-failed
	return err
}

// DefaultListen is where the API listens unless told otherwise.
const DefaultListen = "127.0.0.1:9696"

// CheckListen refuses to serve without authentication on an address that other machines reach, unless forced.
func CheckListen(addr, strategy string, force bool) error {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return fmt.Errorf("address to listen on: %w", err)
	}
	ip := net.ParseIP(host)
	if strategy != "noauth" || force || host == "localhost" || ip != nil && ip.IsLoopback() {
		return nil
	}
	return fmt.Errorf("auth_strategy noauth makes everybody who reaches %s an administrator: listen on 127.0.0.1, or force it", addr)
}
