// Package health is the small HTTP server of a daemon: /healthcheck as oslo.middleware answers it, and /metrics for
// Prometheus.
package health

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

const stopTimeout = 2 * time.Second // for answers that are being written

// Check gives the reason why the daemon is not healthy, or nil. It must be fast and safe for concurrent use.
type Check func() error

// Registry makes a registry with the collectors of the Go runtime and of the process.
func Registry() *prometheus.Registry {
	r := prometheus.NewRegistry()
	r.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return r
}

// Handler serves both paths.
func Handler(metrics *prometheus.Registry, checks ...Check) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(metrics, promhttp.HandlerOpts{Registry: metrics}))
	mux.HandleFunc("/healthcheck", func(w http.ResponseWriter, r *http.Request) { answer(w, r, checks) })
	return mux
}

// answer is oslo_middleware/healthcheck: 200 "OK" whatever the method (204 to HEAD), or 503 with one reason a line.
func answer(w http.ResponseWriter, r *http.Request, checks []Check) {
	var reasons []string
	for _, check := range checks {
		if err := check(); err != nil {
			reasons = append(reasons, err.Error())
		}
	}
	w.Header().Set("Content-Type", "text/plain; charset=UTF-8")
	switch {
	case len(reasons) > 0:
		w.WriteHeader(http.StatusServiceUnavailable)
		fmt.Fprint(w, strings.Join(reasons, "\n"))
	case r.Method == http.MethodHead:
		w.Header().Del("Content-Type")
		w.WriteHeader(http.StatusNoContent)
	default:
		fmt.Fprint(w, "OK")
	}
}

// Start serves h on a host:port until stop is called; addr is the address in use. An empty listen serves nothing.
func Start(ctx context.Context, listen string, h http.Handler, log *slog.Logger) (addr string, stop func(), err error) {
	if listen == "" {
		return "", func() {}, nil
	}
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", listen)
	if err != nil {
		return "", nil, fmt.Errorf("listen for health checks: %w", err)
	}
	server := &http.Server{Handler: h, ReadTimeout: 10 * time.Second, WriteTimeout: 30 * time.Second, IdleTimeout: time.Minute}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			log.Error("health checks are no longer answered", "error", err)
		}
	}()
	log.Info("health checks are answered", "address", l.Addr().String())
	stop = func() {
		ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
		defer cancel()
		if server.Shutdown(ctx) != nil {
			server.Close()
		}
		<-done
	}
	return l.Addr().String(), stop, nil
}
