// Package servers tests several `neutrino server` processes on one database server, and what they do when it dies.
package servers

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"neutrino/internal/store/dbtest"
	"neutrino/test/lab"
)

// binary is what the tests start.
var binary string

func TestMain(m *testing.M) {
	os.Exit(lab.WithBinary(func(path string) int {
		binary = path
		return m.Run()
	}))
}

// startDatabase starts a server with an empty database, whose URL it returns.
func startDatabase(t *testing.T, kind string) (*dbtest.Server, string) {
	t.Helper()
	s, err := dbtest.StartServer(t.Context(), kind)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
	})
	url, err := s.Create(t.Context(), "neutron")
	if err != nil {
		t.Fatal(err)
	}
	return s, url
}

// server is a process and its API.
type server struct {
	t    *testing.T
	conf string
	url  string
}

// start starts a server with the [quotas] given and waits for its API.
func start(t *testing.T, binary, database, quotas string) *server {
	t.Helper()
	dir := t.TempDir()
	api := freeAddress(t)
	s := &server{t: t, conf: filepath.Join(dir, "neutron.conf"), url: fmt.Sprintf("http://%s/v2.0/", api)}
	conf := fmt.Sprintf(`[DEFAULT]
auth_strategy = noauth
core_plugin = ml2
service_plugins = router
bind_host = %s
bind_port = %d
state_path = %s
[database]
connection = %s
[quotas]
%s
[ml2]
type_drivers = vxlan,geneve
project_network_types = vxlan
[ml2_type_vxlan]
vni_ranges = 1:100
[ml2_type_geneve]
vni_ranges = 1:10
[neutrino]
bus_listen =
`, api.IP, api.Port, dir, database, quotas)
	if err := os.WriteFile(s.conf, []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(binary, "server", "--config-file", s.conf)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Error(err)
		}
		if err := cmd.Wait(); err != nil {
			t.Errorf("the server ended with %v", err)
		}
		log.Close()
		if t.Failed() {
			text, _ := os.ReadFile(log.Name())
			t.Logf("log of the server:\n%s", text[max(0, len(text)-4000):])
		}
	})
	s.await(http.StatusOK)
	return s
}

// freeAddress is one that nobody listens on at the moment, nor will: it belongs to this process, and no other takes its port for one of
// its own connections.
func freeAddress(t *testing.T) *net.TCPAddr {
	t.Helper()
	pid := os.Getpid()
	l, err := net.Listen("tcp", fmt.Sprintf("127.%d.%d.%d:0", 1+pid>>16&0x7f, pid>>8&0xff, pid&0xff))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr)
}

// await waits until a list of networks is answered with the status.
func (s *server) await(status int) {
	s.t.Helper()
	last := "nothing"
	for range 600 {
		a, err := s.send("GET", "networks?limit=1", nil)
		if err == nil && a.status == status {
			return
		}
		last = fmt.Sprint(a.status, " ", err)
		time.Sleep(100 * time.Millisecond)
	}
	s.t.Fatalf("the server does not answer with %d; last was %s", status, last)
}

// answer is a response of the API.
type answer struct {
	status int
	header http.Header
	body   map[string]json.RawMessage
}

// fault is the type of the error in an answer.
func (a answer) fault() string {
	var e struct{ Type string }
	_ = json.Unmarshal(a.body["NeutronError"], &e)
	return e.Type
}

// object reads what is under key.
func object[T any](a answer, key string) (v T) {
	_ = json.Unmarshal(a.body[key], &v)
	return v
}

// send is safe for concurrent use.
func (s *server) send(method, path string, body any) (a answer, err error) {
	var in io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return a, err
		}
		in = bytes.NewReader(text)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, s.url+path, in)
	if err != nil {
		return a, err
	}
	req.Header.Set("X-Roles", "admin,manager,member,reader")
	req.Header.Set("X-Project-Id", "p")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return a, err
	}
	defer resp.Body.Close()
	a.status, a.header = resp.StatusCode, resp.Header
	if resp.StatusCode != http.StatusNoContent {
		err = json.NewDecoder(resp.Body).Decode(&a.body)
	}
	return a, err
}

type idOf struct {
	ID string `json:"id"`
}

// create makes an object and returns its id.
func (s *server) create(collection, name string, attributes map[string]any) string {
	s.t.Helper()
	a, err := s.send("POST", collection, map[string]any{name: attributes})
	if err != nil || a.status != http.StatusCreated {
		s.t.Fatalf("create %s: %v, %d %s", name, err, a.status, a.body)
	}
	return object[idOf](a, name).ID
}

// consistent asks `neutrino db check` whether all rows belong together.
func (s *server) consistent(binary string) {
	s.t.Helper()
	if out, err := exec.Command(binary, "db", "check", "--config-file", s.conf).CombinedOutput(); err != nil {
		s.t.Errorf("db check: %v\n%s", err, out)
	}
}
