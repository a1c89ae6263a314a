package metadata

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"neutrino/internal/bus/bustest"
	"neutrino/internal/metadata"
	"neutrino/internal/rpc"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
)

func TestAgent(t *testing.T) {
	defer goleak.VerifyNone(t)
	nova := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, r.Header.Get("X-Instance-ID"))
	}))
	defer nova.Close()
	b := bustest.New()
	x := rpc.NewMux(slog.New(slog.DiscardHandler))
	states := make(chan rpc.AgentState, 10)
	rpc.Handle(x, rpc.ReportState, func(_ context.Context, a rpc.ReportStateArgs) (string, error) {
		states <- a.AgentState.AgentState
		return rpc.AgentNew, nil
	})
	rpc.Handle(x, rpc.GetPorts, func(context.Context, rpc.PortFilters) ([]rpc.Port, error) {
		return []rpc.Port{{DeviceID: "vm1"}}, nil
	})
	stop, err := x.Serve(b, "server")
	if err != nil {
		t.Fatal(err)
	}
	defer stop()

	socket := filepath.Join(t.TempDir(), "run", "metadata_proxy")
	cfg := Config{Host: "h1", Socket: socket, SocketMode: "group",
		Nova: metadata.NovaConfig{Port: nova.Listener.Addr().(*net.TCPAddr).Port}}
	ctx, cancel := context.WithCancel(t.Context())
	a, err := New(cfg, b, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- a.Run(ctx) }()
	state := <-states // the socket is there before the first report
	want := rpc.AgentState{Binary: "neutron-metadata-agent", Host: "h1", AgentType: "Metadata agent", Topic: "N/A", StartFlag: true,
		Configurations: map[string]any{"metadata_proxy_socket": socket, "nova_metadata_host": "127.0.0.1",
			"nova_metadata_port": float64(cfg.Nova.Port), "log_agent_heartbeats": false}}
	if diff := cmp.Diff(want, state); diff != "" {
		t.Errorf("state (-want +got):\n%s", diff)
	}
	if info, err := os.Stat(socket); err != nil || info.Mode().Perm() != 0o664 {
		t.Errorf("socket %v, %v", info, err)
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}}}
	r, _ := http.NewRequest("GET", "http://metadata/", nil)
	r.Header.Set("X-Neutron-Network-ID", "net1")
	r.Header.Set("X-Forwarded-For", "10.0.0.5")
	resp, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(resp.Body)
	resp.Body.Close()
	if err != nil || string(body) != "vm1" {
		t.Errorf("got %q, %v", body, err)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestSocketMode(t *testing.T) {
	for name, c := range map[string]struct {
		cfg  Config
		want os.FileMode
	}{
		"default":    {Config{}, 0o644},
		"root":       {Config{ProxyUser: "root"}, 0o644},
		"user":       {Config{SocketMode: "user", ProxyUser: "nobody"}, 0o644},
		"group":      {Config{SocketMode: "group"}, 0o664},
		"all":        {Config{SocketMode: "all"}, 0o666},
		"other user": {Config{ProxyUser: "no-such-user"}, 0o664},
		"strangers":  {Config{ProxyUser: "no-such-user", ProxyGroup: "no-such-group"}, 0o666},
	} {
		if got, err := c.cfg.mode(); err != nil || got != c.want {
			t.Errorf("%s: %o, %v; want %o", name, got, err, c.want)
		}
	}
	if _, err := New(Config{SocketMode: "x"}, bustest.New(), slog.New(slog.DiscardHandler)); err == nil {
		t.Error("a wrong mode was accepted")
	}
}
