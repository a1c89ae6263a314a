package servers

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"slices"
	"strconv"
	"sync"
	"testing"
)

// rounds is how often a test that looks for races does its work: NEUTRINO_ROUNDS, or a few times.
func rounds(t *testing.T) int {
	t.Helper()
	text := os.Getenv("NEUTRINO_ROUNDS")
	if text == "" {
		return 5
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// scarce is something of which there is a limited number: who makes an object gets one, who deletes it gives it back.
type scarce struct {
	what       string
	collection string
	name       string
	body       map[string]any
	refusal    string // when none is left
	total      int
	value      func(a answer, name string) string
}

// holders knows which object has which value, as far as the servers have told.
type holders struct {
	mu   sync.Mutex
	has  map[string]string // value to object
	most int
}

func (h *holders) take(t *testing.T, value, id string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if other, taken := h.has[value]; taken || value == "" {
		t.Errorf("%q was given to %s and to %s", value, other, id)
	}
	h.has[value] = id
	h.most = max(h.most, len(h.has))
}

// release forgets a value. It is called before the request that gives it back: after that, another may get it.
func (h *holders) release(value string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.has, value)
}

// struggle lets clients take all of something through both servers, and again and again give some back and take again. In
// the end each has given back what it had, and the full number can be taken once more.
func (s scarce) struggle(t *testing.T, both [2]*server) {
	h := &holders{has: map[string]string{}}
	n := rounds(t)
	var all sync.WaitGroup
	for i := range clients {
		all.Go(func() {
			random := rand.New(rand.NewPCG(uint64(i), 1))
			var mine []string
			for round := range n + 1 {
				for s.take(t, both[random.IntN(2)], h, &mine) {
				}
				for len(mine) > 0 && (round == n || random.IntN(3) > 0) {
					s.giveBack(t, both[random.IntN(2)], h, &mine)
				}
			}
		})
	}
	all.Wait()
	if h.most != s.total {
		t.Errorf("at most %d of %d were in use", h.most, s.total)
	}
	if len(h.has) > 0 {
		t.Errorf("still in use: %v", h.has)
	}
	var mine []string
	for s.take(t, both[len(mine)%2], h, &mine) {
	}
	if len(mine) != s.total {
		t.Errorf("%d of %d are left at the end", len(mine), s.total)
	}
	for len(mine) > 0 {
		s.giveBack(t, both[0], h, &mine)
	}
}

// take makes an object; false means that it was refused in the right way.
func (s scarce) take(t *testing.T, at *server, h *holders, mine *[]string) bool {
	a, err := at.send("POST", s.collection, map[string]any{s.name: s.body})
	if err != nil {
		t.Error(err)
		return false
	}
	if a.status != http.StatusCreated {
		if got := fmt.Sprint(a.status, " ", a.fault()); got != s.refusal {
			t.Errorf("refused with %s %s", got, a.body["NeutronError"])
		}
		return false
	}
	id := object[idOf](a, s.name).ID
	value := s.value(a, s.name)
	h.take(t, value, id)
	*mine = append(*mine, id+" "+value)
	return true
}

// giveBack deletes the last object made.
func (s scarce) giveBack(t *testing.T, at *server, h *holders, mine *[]string) {
	var id, value string
	last := len(*mine) - 1
	if _, err := fmt.Sscan((*mine)[last], &id, &value); err != nil {
		t.Error(err)
	}
	*mine = slices.Delete(*mine, last, last+1)
	h.release(value)
	if a, err := at.send("DELETE", s.collection+"/"+id, nil); err != nil || a.status != http.StatusNoContent {
		t.Errorf("delete of %s: %v, %d %s", s.what, err, a.status, a.body)
	}
}

func attribute(key string) func(answer, string) string {
	return func(a answer, name string) string { return fmt.Sprint(object[map[string]any](a, name)[key]) }
}

// struggles are over addresses, floating addresses, segmentation ids and a quota.
func struggles(t *testing.T, both [2]*server) {
	network := func(cidr string, attributes map[string]any) string {
		id := both[0].create("networks", "network", attributes)
		both[0].create("subnets", "subnet", map[string]any{"network_id": id, "cidr": cidr, "ip_version": 4, "enable_dhcp": false})
		return id
	}
	quota := func(name string, limit int) {
		a, err := both[0].send("PUT", "quotas/p", map[string]any{"quota": map[string]any{name: limit}})
		if err != nil || a.status != http.StatusOK {
			t.Fatalf("quota: %v, %d %s", err, a.status, a.body)
		}
	}
	quota("port", -1)
	quota("floatingip", -1)
	small, outside := network("10.1.0.0/28", map[string]any{}), network("10.2.0.0/28", map[string]any{"router:external": true})
	firstAddress := func(a answer, name string) string {
		p := object[port](a, name)
		if len(p.FixedIPs) != 1 {
			return ""
		}
		return p.FixedIPs[0].IPAddress
	}
	for _, s := range []scarce{
		{"address", "ports", "port", map[string]any{"network_id": small}, "409 IpAddressGenerationFailure", 13, firstAddress},
		{"floating address", "floatingips", "floatingip", map[string]any{"floating_network_id": outside}, "409 IpAddressGenerationFailure", 13,
			attribute("floating_ip_address")},
		{"segmentation id", "networks", "network", map[string]any{"provider:network_type": "geneve"}, "503 NoNetworkAvailable", 10,
			attribute("provider:segmentation_id")},
	} {
		t.Run(s.what, func(t *testing.T) { s.struggle(t, both) })
	}
	quota("router", 7)
	scarce{"quota", "routers", "router", map[string]any{"name": "r"}, "409 OverQuota", 7, attribute("id")}.struggle(t, both)
}
