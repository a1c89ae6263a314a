package l3

import (
	"errors"
	"fmt"
	"log/slog"
	"testing"

	"neutrino/internal/rpc"

	"github.com/google/go-cmp/cmp"
)

func manyRouters(n int) *server {
	s := newServer()
	for i := range n {
		id := fmt.Sprintf("0a0a0a0a-0000-4000-8000-%012d", i)
		s.routers[id] = rpc.Router{ID: id, AdminStateUp: true}
	}
	return s
}

func TestFullSyncAsksForChunks(t *testing.T) {
	for _, c := range []struct {
		name     string
		routers  int
		maxChunk int
		asked    []int
		next     int
	}{
		{"none", 0, 0, nil, 256},
		{"a full chunk and a bit", 300, 0, []int{256, 44}, 256},
		{"a slow server", 300, 100, []int{256, 128, 64, 64, 64, 64, 44}, 96},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := manyRouters(c.routers)
			s.maxChunk = c.maxChunk
			a := New(Config{Host: "host"}, s, slog.New(slog.DiscardHandler), nil)
			if err := a.fullSync(t.Context()); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.asked, s.asked); diff != "" {
				t.Error(diff)
			}
			if len(a.queue.entries) != c.routers {
				t.Errorf("%d routers queued", len(a.queue.entries))
			}
			if a.chunk != c.next {
				t.Errorf("next chunk %d, want %d", a.chunk, c.next)
			}
		})
	}
}

func TestFullSyncFailsAsAWhole(t *testing.T) {
	for _, method := range []string{"get_router_ids", "sync_routers"} {
		s := manyRouters(3)
		s.fail[method] = errors.New("away")
		a := New(Config{Host: "host"}, s, slog.New(slog.DiscardHandler), nil)
		if err := a.fullSync(t.Context()); err == nil {
			t.Error(method, "failed and the sync did not")
		}
		if len(a.queue.entries) != 0 || a.Healthy() == nil {
			t.Error(method, "failed and something is done")
		}
	}
}

func TestSlowestServer(t *testing.T) {
	s := manyRouters(300)
	s.maxChunk = 1
	a := New(Config{Host: "host"}, s, slog.New(slog.DiscardHandler), nil)
	if err := a.fullSync(t.Context()); err == nil || a.chunk != minChunk {
		t.Errorf("chunk %d, error %v", a.chunk, err)
	}
}
