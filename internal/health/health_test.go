package health

import (
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestHandler(t *testing.T) {
	well := func() error { return nil }
	ill := func(reason string) Check { return func() error { return errors.New(reason) } }
	tests := []struct {
		method, path string
		checks       []Check
		status       int
		body         string
	}{
		{"GET", "/healthcheck", nil, 200, "OK"},
		{"GET", "/healthcheck", []Check{well, well}, 200, "OK"},
		{"GET", "/healthcheck", []Check{well, ill("bus is down"), ill("no sync yet")}, 503, "bus is down\nno sync yet"},
		{"HEAD", "/healthcheck", []Check{well}, 204, ""},
		{"HEAD", "/healthcheck", []Check{ill("x")}, 503, "x"}, // the server leaves the body away
		{"POST", "/healthcheck", nil, 200, "OK"},
		{"GET", "/", nil, 404, "404 page not found\n"},
	}
	for _, tt := range tests {
		w := httptest.NewRecorder()
		Handler(Registry(), tt.checks...).ServeHTTP(w, httptest.NewRequest(tt.method, tt.path, nil))
		if w.Code != tt.status || w.Body.String() != tt.body {
			t.Errorf("%s %s: %d %q, want %d %q", tt.method, tt.path, w.Code, w.Body, tt.status, tt.body)
		}
	}
}

func TestMetrics(t *testing.T) {
	w := httptest.NewRecorder()
	Handler(Registry()).ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	for _, want := range []string{"go_goroutines ", "process_resident_memory_bytes "} {
		if !strings.Contains(w.Body.String(), "\n"+want) {
			t.Errorf("%s is missing", want)
		}
	}
}

func TestStart(t *testing.T) {
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	addr, stop, err := Start(t.Context(), "127.0.0.1:0", Handler(Registry()), log)
	if err != nil {
		t.Fatal(err)
	}
	defer http.DefaultClient.CloseIdleConnections()
	resp, err := http.Get("http://" + addr + "/healthcheck")
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(resp.Body)
	resp.Body.Close()
	if string(body) != "OK" {
		t.Errorf("body %q", body)
	}
	if _, _, err := Start(t.Context(), addr, nil, log); err == nil {
		t.Error("two servers on one address")
	}
	stop()
	if _, err := http.Get("http://" + addr + "/healthcheck"); err == nil {
		t.Error("it answers after stop")
	}
	if addr, stop, err := Start(t.Context(), "", nil, log); addr != "" || err != nil {
		t.Errorf("off: %q, %v", addr, err)
	} else {
		stop()
	}
}
