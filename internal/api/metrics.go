package api

import (
	"strconv"
	"strings"
	"time"

	"neutrino/internal/health"
	"neutrino/internal/store"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are the server's figures for Prometheus.
type metrics struct {
	registry *prometheus.Registry
	requests *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
}

func newMetrics(db *store.DB) *metrics {
	m := &metrics{
		registry: health.Registry(),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "neutrino_api_requests_total",
			Help: "Requests answered."}, []string{"method", "route", "status"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "neutrino_api_request_seconds",
			Help: "Time to answer.", Buckets: prometheus.ExponentialBuckets(0.0005, 4, 9)}, []string{"method", "route"}),
	}
	m.registry.MustRegister(m.requests, m.seconds,
		prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "neutrino_db_statements_total", Help: "SQL statements executed."},
			func() float64 { return float64(db.Statements()) }))
	return m
}

// observe counts one request. The labels come from short lists, whatever clients send.
func (m *metrics) observe(method, route string, status int, took time.Duration) {
	if !strings.Contains(" GET HEAD POST PUT DELETE PATCH OPTIONS ", " "+method+" ") {
		method = "other"
	}
	if route == "" {
		route = "other"
	}
	m.requests.WithLabelValues(method, route, strconv.Itoa(status)).Inc()
	m.seconds.WithLabelValues(method, route).Observe(took.Seconds())
}
