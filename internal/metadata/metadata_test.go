package metadata

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"neutrino/internal/bus/bustest"
	"neutrino/internal/linux/netns"
	"neutrino/internal/linux/sandbox"
	"neutrino/internal/rpc"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { sandbox.Main(m) }

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

var quiet = slog.New(slog.DiscardHandler)

const secret = "s3cret"

// server answers get_ports from a list, with upstream's filters.
type server struct {
	mu    sync.Mutex
	ports []rpc.Port
	calls int
}

func (s *server) serve(t *testing.T) *bustest.Bus {
	t.Helper()
	b := bustest.New()
	x := rpc.NewMux(quiet)
	rpc.Handle(x, rpc.GetPorts, func(_ context.Context, args rpc.PortFilters) ([]rpc.Port, error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.calls++
		f := args.Filters
		var out []rpc.Port
		for _, p := range s.ports {
			if has(f.NetworkID, p.NetworkID) && has(f.DeviceID, p.DeviceID) && has(f.DeviceOwner, p.DeviceOwner) &&
				has(f.MACAddress, p.MACAddress) && hasIP(f.FixedIPs["ip_address"], p) {
				out = append(out, p)
			}
		}
		return out, nil
	})
	stop, err := x.Serve(b, "server")
	must(t, err)
	t.Cleanup(stop)
	return b
}

func has(list []string, v string) bool {
	for _, x := range list {
		if x == v {
			return true
		}
	}
	return len(list) == 0
}

func hasIP(list []string, p rpc.Port) bool {
	for _, ip := range p.FixedIPs {
		if len(list) > 0 && has(list, ip.IPAddress) {
			return true
		}
	}
	return len(list) == 0
}

func port(network, owner, device, project, mac string, ips ...string) rpc.Port {
	p := rpc.Port{NetworkID: network, DeviceOwner: owner, DeviceID: device, ProjectID: project, MACAddress: mac}
	for _, ip := range ips {
		p.FixedIPs = append(p.FixedIPs, rpc.FixedIP{IPAddress: ip})
	}
	return p
}

func testPorts() []rpc.Port {
	return []rpc.Port{
		port("net1", "compute:nova", "vm1", "p1", "fa:16:3e:00:00:01", "10.0.0.5"),
		port("net2", "compute:nova", "vm2", "p2", "fa:16:3e:00:00:02", "10.0.0.5", "2001:db8::5"),
		port("net1", "compute:nova", "twin1", "p1", "fa:16:3e:00:00:03", "10.0.0.9"),
		port("net1", "compute:nova", "twin2", "p1", "fa:16:3e:00:00:04", "10.0.0.9"),
		port("net1", "compute:nova", "", "p1", "fa:16:3e:00:00:05", "10.0.0.7"),
		port("net2", "network:router_interface", "router1", "p2", "fa:16:3e:00:00:06", "10.0.0.1"),
	}
}

// nova is Nova's metadata API; it answers with what it saw, or with the status that the path names.
func nova(t *testing.T) NovaConfig {
	t.Helper()
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if status, err := strconv.Atoi(strings.TrimPrefix(r.URL.Path, "/status/")); err == nil {
			w.WriteHeader(status)
			fmt.Fprint(w, "details for the operator only")
			return
		}
		if got, want := r.Header.Get("X-Instance-ID-Signature"), Sign(secret, r.Header.Get("X-Instance-ID")); got != want {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("Content-Type", "text/x-test")
		fmt.Fprintf(w, "%s %s for=%s instance=%s tenant=%s cookie=%q body=%q", r.Method, r.URL.RequestURI(),
			strings.Join(r.Header.Values("X-Forwarded-For"), "+"), r.Header.Get("X-Instance-ID"), r.Header.Get("X-Tenant-ID"),
			r.Header.Get("Cookie"), body)
	})
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	host, port, err := net.SplitHostPort(s.Listener.Addr().String())
	must(t, err)
	n, err := strconv.Atoi(port)
	must(t, err)
	return NovaConfig{Host: host, Port: n, Secret: secret}
}

func newNova(t *testing.T, cfg NovaConfig, s *server) *Nova {
	t.Helper()
	n, err := NewNova(cfg, s.serve(t), quiet)
	must(t, err)
	t.Cleanup(func() { n.Close() })
	return n
}

func TestSign(t *testing.T) {
	// The well-known test value of HMAC-SHA256.
	if got := Sign("key", "The quick brown fox jumps over the lazy dog"); got !=
		"f7bc83f430538424b13298e6aa6fb143ef4d59a14946175997479dbc2d1a3cd8" {
		t.Errorf("signature %s", got)
	}
}

func TestNova(t *testing.T) {
	defer goleak.VerifyNone(t)
	t.Run("requests", func(t *testing.T) {
		backend := newNova(t, nova(t), &server{ports: testPorts()})
		net1, net2, router1 := Source{NetworkID: "net1"}, Source{NetworkID: "net2"}, Source{RouterID: "router1"}
		for _, c := range []struct {
			name, method, path, body string
			from                     Source
			client                   string
			status                   int
			want                     string
		}{
			{"by network", "GET", "/latest/meta-data/?a=b%20c", "", net1, "10.0.0.5", 200,
				`GET /latest/meta-data/?a=b%20c for=10.0.0.5 instance=vm1 tenant=p1 cookie="" body=""`},
			{"same address elsewhere", "GET", "/x%2Fy", "", net2, "10.0.0.5", 200,
				`GET /x%2Fy for=10.0.0.5 instance=vm2 tenant=p2 cookie="" body=""`},
			{"by router", "GET", "/", "", router1, "10.0.0.5", 200, `GET / for=10.0.0.5 instance=vm2 tenant=p2 cookie="" body=""`},
			{"IPv6", "GET", "/", "", net2, "2001:db8::5", 200, `GET / for=2001:db8::5 instance=vm2 tenant=p2 cookie="" body=""`},
			{"link-local", "GET", "/", "", net2, "fe80::f816:3eff:fe00:2", 200,
				`GET / for=fe80::f816:3eff:fe00:2 instance=vm2 tenant=p2 cookie="" body=""`},
			{"body", "POST", "/password", "hush", net1, "10.0.0.5", 200,
				`POST /password for=10.0.0.5 instance=vm1 tenant=p1 cookie="" body="hush"`},
			{"nobody", "GET", "/", "", net1, "10.0.0.77", 404, "Not Found\n"},
			{"two ports", "GET", "/", "", net1, "10.0.0.9", 404, "Not Found\n"},
			{"no device", "GET", "/", "", net1, "10.0.0.7", 404, "Not Found\n"},
			{"unknown router", "GET", "/", "", Source{RouterID: "router9"}, "10.0.0.5", 404, "Not Found\n"},
			{"403", "GET", "/status/403", "", net1, "10.0.0.5", 403, "Forbidden\n"},
			{"404", "GET", "/status/404", "", net1, "10.0.0.5", 404, "Not Found\n"},
			{"409", "GET", "/status/409", "", net1, "10.0.0.5", 409, "Conflict\n"},
			{"500", "GET", "/status/500", "", net1, "10.0.0.5", 500, "Internal Server Error\n"},
			{"503", "GET", "/status/503", "", net1, "10.0.0.5", 503, "Service Unavailable\n"},
			{"unexpected", "GET", "/status/418", "", net1, "10.0.0.5", 500, "Internal Server Error\n"},
		} {
			t.Run(c.name, func(t *testing.T) {
				r := httptest.NewRequest(c.method, c.path, strings.NewReader(c.body))
				for _, h := range []string{"X-Forwarded-For", "X-Instance-ID", "X-Tenant-ID", "X-Instance-ID-Signature", "Cookie"} {
					r.Header.Set(h, "forged")
				}
				w := httptest.NewRecorder()
				backend.ServeMetadata(w, r, c.from, netip.MustParseAddr(c.client))
				if w.Code != c.status || w.Body.String() != c.want {
					t.Errorf("got %d %s\nwant %d %s", w.Code, w.Body, c.status, c.want)
				}
				if c.status == 200 && w.Header().Get("Content-Type") != "text/x-test" {
					t.Errorf("content type %q", w.Header().Get("Content-Type"))
				}
			})
		}
	})
	t.Run("wrong secret", func(t *testing.T) {
		cfg := nova(t)
		cfg.Secret = "other"
		w := httptest.NewRecorder()
		newNova(t, cfg, &server{ports: testPorts()}).ServeMetadata(w, httptest.NewRequest("GET", "/", nil),
			Source{NetworkID: "net1"}, netip.MustParseAddr("10.0.0.5"))
		if w.Code != 403 {
			t.Errorf("status %d", w.Code)
		}
	})
	t.Run("Nova is down", func(t *testing.T) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		must(t, err)
		cfg := NovaConfig{Port: l.Addr().(*net.TCPAddr).Port}
		l.Close()
		w := httptest.NewRecorder()
		newNova(t, cfg, &server{ports: testPorts()}).ServeMetadata(w, httptest.NewRequest("GET", "/", nil),
			Source{NetworkID: "net1"}, netip.MustParseAddr("10.0.0.5"))
		if w.Code != 503 {
			t.Errorf("status %d", w.Code)
		}
	})
}

// A new owner of an address must not get the former one's data once Nova says that the former is gone.
func TestNewOwner(t *testing.T) {
	s := &server{ports: testPorts()}
	var gone sync.Map
	h := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id := r.Header.Get("X-Instance-ID")
		if _, is := gone.Load(id); is {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		fmt.Fprint(w, id)
	}))
	defer h.Close()
	backend := newNova(t, NovaConfig{Port: h.Listener.Addr().(*net.TCPAddr).Port}, s)
	ask := func() string {
		w := httptest.NewRecorder()
		backend.ServeMetadata(w, httptest.NewRequest("GET", "/", nil), Source{NetworkID: "net1"}, netip.MustParseAddr("10.0.0.5"))
		return w.Body.String()
	}
	got := []string{ask(), ask()}
	if s.calls != 1 {
		t.Errorf("%d lookups for two requests", s.calls)
	}
	s.mu.Lock()
	s.ports[0].DeviceID = "vm9"
	s.mu.Unlock()
	gone.Store("vm1", true)
	got = append(got, ask())
	if diff := cmp.Diff([]string{"vm1", "vm1", "vm9"}, got); diff != "" {
		t.Errorf("instances (-want +got):\n%s", diff)
	}
}

func TestCacheBounds(t *testing.T) {
	var c cache
	now := time.Now()
	for i := range cacheSize + 10 {
		c.put(cacheKey{client: netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})}, Instance{ID: "x"}, now)
	}
	if len(c.entries) > cacheSize {
		t.Errorf("%d entries", len(c.entries))
	}
	k := cacheKey{client: netip.MustParseAddr("192.0.2.1")}
	c.put(k, Instance{ID: "x"}, now)
	if _, ok := c.get(k, now.Add(cacheTTL)); ok {
		t.Error("an entry outlived its time")
	}
}

// A request from a namespace goes through the proxy, a unix socket and the agent's handler to Nova.
func TestProxyThroughSocket(t *testing.T) {
	sandbox.Need(t)
	defer goleak.VerifyNone(t)
	t.Run("request", func(t *testing.T) {
		const ns = "qdhcp-net1"
		_, err := netns.Ensure(ns)
		must(t, err)
		defer netns.Delete(ns)
		socket := filepath.Join(t.TempDir(), "metadata_proxy")
		l, err := net.Listen("unix", socket)
		must(t, err)
		ports := append(testPorts(), port("net1", "compute:nova", "local", "p1", "fa:16:3e:00:00:44", "127.0.0.1"))
		agent := &http.Server{Handler: Handler(newNova(t, nova(t), &server{ports: ports}))}
		go agent.Serve(l)
		defer agent.Close()
		proxy := NewProxy(NewSocket(socket, quiet), ProxyConfig{}, quiet)
		defer proxy.Close()
		one, err := proxy.Listen(t.Context(), ns, "127.0.0.1:8080", Source{NetworkID: "net1"})
		must(t, err)
		client := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, network, addr string) (c net.Conn, err error) {
			err = netns.Do(ns, func() error { c, err = (&net.Dialer{}).DialContext(ctx, network, addr); return err })
			return c, err
		}}}
		get := func() (string, error) {
			r, _ := http.NewRequest("GET", "http://127.0.0.1:8080/openstack", nil)
			for h, v := range map[string]string{"X-Forwarded-For": "10.0.0.5", "X-Neutron-Router-ID": "router1",
				"X-Neutron-Network-ID": "net2", "X-Instance-ID": "vm2"} {
				r.Header.Set(h, v)
			}
			resp, err := client.Do(r)
			if err != nil {
				return "", err
			}
			defer resp.Body.Close()
			b, err := io.ReadAll(resp.Body)
			return string(b), err
		}
		body, err := get()
		must(t, err)
		if want := `GET /openstack for=127.0.0.1 instance=local tenant=p1 cookie="" body=""`; body != want {
			t.Errorf("got %s\nwant %s", body, want)
		}
		must(t, one.Close())
		if body, err := get(); err == nil {
			t.Errorf("a closed proxy answered %s", body)
		}
	})
}

func TestHandlerHeaders(t *testing.T) {
	backend := newNova(t, nova(t), &server{ports: testPorts()})
	for name, c := range map[string]struct {
		headers map[string]string
		status  int
	}{
		"network":        {map[string]string{"X-Neutron-Network-ID": "net1", "X-Forwarded-For": "10.0.0.5"}, 200},
		"haproxy append": {map[string]string{"X-Neutron-Network-ID": "net1", "X-Forwarded-For": "10.0.0.9, 10.0.0.5"}, 200},
		"mapped":         {map[string]string{"X-Neutron-Router-ID": "router1", "X-Forwarded-For": "::ffff:10.0.0.5"}, 200},
		"both":           {map[string]string{"X-Neutron-Network-ID": "net1", "X-Neutron-Router-ID": "router1", "X-Forwarded-For": "10.0.0.5"}, 404},
		"neither":        {map[string]string{"X-Forwarded-For": "10.0.0.5"}, 404},
		"no address":     {map[string]string{"X-Neutron-Network-ID": "net1"}, 500},
	} {
		t.Run(name, func(t *testing.T) {
			r := httptest.NewRequest("GET", "/", nil)
			for k, v := range c.headers {
				r.Header.Set(k, v)
			}
			w := httptest.NewRecorder()
			Handler(backend).ServeHTTP(w, r)
			if w.Code != c.status {
				t.Errorf("status %d, want %d", w.Code, c.status)
			}
		})
	}
}
