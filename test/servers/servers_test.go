package servers

import (
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"neutrino/internal/store/dbtest"
)

const clients = 8

// port is what the tests look at.
type port struct {
	ID       string `json:"id"`
	FixedIPs []struct {
		IPAddress string `json:"ip_address"`
	} `json:"fixed_ips"`
}

func TestServers(t *testing.T) {
	neutrino := binary
	for _, kind := range dbtest.Kinds() {
		t.Run(kind, func(t *testing.T) {
			database, url := startDatabase(t, kind)
			// Both find the database empty at once.
			var both [2]*server
			var started sync.WaitGroup
			for i := range both {
				started.Go(func() { both[i] = start(t, neutrino, url, "quota_port = 100\nquota_network = -1") })
			}
			started.Wait()
			t.Run("fill a subnet", func(t *testing.T) { fillSubnet(t, both) })
			t.Run("use up a quota", func(t *testing.T) { useUpQuota(t, both) })
			t.Run("struggles", func(t *testing.T) { struggles(t, both) })
			t.Run("database dies", func(t *testing.T) { databaseDies(t, both, database) })
			both[0].consistent(neutrino)
		})
	}
}

// untilRefused has clients create ports through both servers until each is refused, and returns the ports and the
// refusals.
func untilRefused(t *testing.T, both [2]*server, network string) (ports []port, refusals []string) {
	t.Helper()
	var mu sync.Mutex
	var all sync.WaitGroup
	for i := range clients {
		all.Go(func() {
			for {
				a, err := both[i%2].send("POST", "ports", map[string]any{"port": map[string]any{"network_id": network}})
				mu.Lock()
				if err == nil && a.status == http.StatusCreated {
					ports = append(ports, object[port](a, "port"))
					mu.Unlock()
					continue
				}
				refusals = append(refusals, fmt.Sprint(a.status, " ", a.fault()))
				mu.Unlock()
				if err != nil {
					t.Error(err)
				}
				return
			}
		})
	}
	all.Wait()
	return ports, refusals
}

func allAre(t *testing.T, refusals []string, want string) {
	t.Helper()
	for _, r := range refusals {
		if r != want {
			t.Errorf("refused with %s instead of %s", r, want)
		}
	}
}

// fillSubnet: every address of a /26 is given once.
func fillSubnet(t *testing.T, both [2]*server) {
	network := both[0].create("networks", "network", map[string]any{})
	both[0].create("subnets", "subnet", map[string]any{"network_id": network, "cidr": "10.0.0.0/26", "ip_version": 4, "enable_dhcp": false})
	ports, refusals := untilRefused(t, both, network)
	allAre(t, refusals, "409 IpAddressGenerationFailure")
	given := map[string]bool{}
	for _, p := range ports {
		if len(p.FixedIPs) != 1 || given[p.FixedIPs[0].IPAddress] {
			t.Fatalf("port with the addresses %v", p.FixedIPs)
		}
		given[p.FixedIPs[0].IPAddress] = true
	}
	if len(given) != 61 { // without network, broadcast and gateway
		t.Errorf("%d addresses were given", len(given))
	}
}

// useUpQuota: the 61 ports of before count too.
func useUpQuota(t *testing.T, both [2]*server) {
	network := both[1].create("networks", "network", map[string]any{})
	ports, refusals := untilRefused(t, both, network)
	allAre(t, refusals, "409 OverQuota")
	if len(ports) != 39 {
		t.Errorf("%d ports were created", len(ports))
	}
	for i, p := range ports {
		if a, err := both[i%2].send("DELETE", "ports/"+p.ID, nil); err != nil || a.status != http.StatusNoContent {
			t.Errorf("delete: %v, %d %s", err, a.status, a.body)
		}
	}
}

// databaseDies: requests are answered with 503 while the database is away. Both servers go on when it is back, with all
// that was acknowledged.
func databaseDies(t *testing.T, both [2]*server, database *dbtest.Server) {
	network := both[0].create("networks", "network", map[string]any{})
	if a, err := both[0].send("PUT", "quotas/p", map[string]any{"quota": map[string]any{"port": -1}}); err != nil || a.status != http.StatusOK {
		t.Fatalf("set quota: %v, %d %s", err, a.status, a.body)
	}
	stop := make(chan struct{})
	var mu sync.Mutex
	var acknowledged []string
	var all sync.WaitGroup
	for i := range clients {
		all.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				a, err := both[i%2].send("POST", "ports", map[string]any{"port": map[string]any{"network_id": network}})
				switch {
				case err != nil:
					t.Error(err)
				case a.status == http.StatusServiceUnavailable:
					if a.header.Get("Retry-After") == "" || a.fault() != "ServiceUnavailable" {
						t.Errorf("503 with Retry-After %q: %s", a.header.Get("Retry-After"), a.body)
					}
				case a.status != http.StatusCreated:
					t.Errorf("%d %s", a.status, a.body)
				default:
					mu.Lock()
					acknowledged = append(acknowledged, object[port](a, "port").ID)
					mu.Unlock()
				}
			}
		})
	}
	both[0].await(http.StatusOK)
	time.Sleep(time.Second) // of traffic
	if err := database.Kill(); err != nil {
		t.Fatal(err)
	}
	for _, s := range both {
		s.await(http.StatusServiceUnavailable)
	}
	if err := database.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, s := range both {
		s.await(http.StatusOK)
	}
	close(stop)
	all.Wait()
	if len(acknowledged) == 0 {
		t.Error("no port was created")
	}
	a, err := both[1].send("GET", "ports?fields=id&network_id="+network, nil)
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]bool{}
	for _, p := range object[[]port](a, "ports") {
		found[p.ID] = true
	}
	for _, id := range acknowledged {
		if !found[id] {
			t.Errorf("the acknowledged port %s is lost", id)
		}
	}
}
