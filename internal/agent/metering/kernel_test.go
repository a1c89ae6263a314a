package metering

import (
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"

	"neutrino/internal/linux/netns"
	"neutrino/internal/linux/sandbox"
	"neutrino/internal/rpc"

	"github.com/google/go-cmp/cmp"
	"github.com/google/nftables"
)

const (
	label1 = "11111111-0000-4000-8000-000000000001"
	label2 = "22222222-0000-4000-8000-000000000002"
)

func text(s string) *string { return &s }

// rule is "ingress source=… destination=… remote=… excluded".
func rule(direction, source, destination, remote string, excluded bool) rpc.MeteringRule {
	r := rpc.MeteringRule{ID: direction + source + destination + remote, Direction: direction, Excluded: excluded}
	for _, x := range []struct {
		to  **string
		str string
	}{{&r.Source, source}, {&r.Destination, destination}, {&r.Remote, remote}} {
		if x.str != "" {
			*x.to = text(x.str)
		}
	}
	return r
}

func metered(r *router, labels ...rpc.MeteringLabel) rpc.MeteredRouter {
	return rpc.MeteredRouter{ID: r.id, ProjectID: "p" + r.in[3:], AdminStateUp: true, Labels: labels}
}

func label(id string, rules ...rpc.MeteringRule) rpc.MeteringLabel {
	return rpc.MeteringLabel{ID: id, Name: "name of " + id[:4], Rules: rules}
}

// published waits until so much was published, and then a little, in case there is more.
func published(t *testing.T, s *server, key string, want map[string]count) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !cmp.Equal(s.sum(key), want, cmp.AllowUnexported(count{})) && time.Now().Before(deadline); {
		time.Sleep(10 * time.Millisecond)
	}
	time.Sleep(150 * time.Millisecond)
	if diff := cmp.Diff(want, s.sum(key), cmp.AllowUnexported(count{})); diff != "" {
		t.Fatalf("published: -want +got:\n%s", diff)
	}
}

func TestRulesCountWhatTheySay(t *testing.T) {
	sandbox.Need(t)
	r := newRouter(t, 1)
	s := &server{}
	run(t, s, false)
	const in, out, in6, out6 = "10.0.1.5", "203.0.113.1", "fd00:1::5", "2001:db8::1"
	for _, c := range []struct {
		name                       string
		rules                      []rpc.MeteringRule
		toOut, toIn, toOut6, toIn6 int // how often what is sent is counted
	}{
		{"everything in", []rpc.MeteringRule{rule("ingress", "", "0.0.0.0/0", "", false)}, 0, 1, 0, 0},
		{"everything out", []rpc.MeteringRule{rule("egress", "0.0.0.0/0", "", "", false)}, 1, 0, 0, 0},
		{"source and destination", []rpc.MeteringRule{rule("egress", in+"/32", out+"/32", "", false)}, 1, 0, 0, 0},
		{"another source", []rpc.MeteringRule{rule("egress", "10.0.1.6/32", out+"/32", "", false)}, 0, 0, 0, 0},
		{"remote is the inner side", []rpc.MeteringRule{rule("egress", "", "", "10.0.1.77/24", false), rule("ingress", "", "", "10.0.1.0/24", false)}, 1, 1, 0, 0},
		{"remote is not the outer side", []rpc.MeteringRule{rule("egress", "", "", "203.0.113.0/24", false)}, 0, 0, 0, 0},
		{"excluded wins", []rpc.MeteringRule{rule("egress", "10.0.0.0/8", "", "", false), rule("egress", in+"/32", "", "", true)}, 0, 0, 0, 0},
		{"excluded others", []rpc.MeteringRule{rule("egress", "10.0.0.0/8", "", "", false), rule("egress", "10.0.1.6/32", "", "", true)}, 1, 0, 0, 0},
		{"two that match count once", []rpc.MeteringRule{rule("egress", "10.0.0.0/8", "", "", false), rule("egress", "", out+"/32", "", false)}, 1, 0, 0, 0},
		{"IPv6", []rpc.MeteringRule{rule("egress", "fd00:1::/64", "", "", false), rule("ingress", "::/0", "", "", false)}, 0, 0, 1, 1},
		{"mixed versions count nothing", []rpc.MeteringRule{rule("egress", "fd00:1::/64", out+"/32", "", false)}, 0, 0, 0, 0},
		{"no rules", nil, 0, 0, 0, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			s.change(t, "update_metering_label_rules", metered(r, label(label1, c.rules...)))
			want, _ := translate([]rpc.MeteringLabel{label(label1, c.rules...)})
			eventually(t, "the rules are there", func() bool { return hasChain(r, want.mark()) })
			total := s.sum("label_id")["l3.meter "+label1]
			for _, x := range []struct {
				from, to, address string
				packets, size     int
				times             int
			}{{r.in, r.out, out, 3, 100, c.toOut}, {r.out, r.in, in, 5, 1000, c.toIn}, {r.in, r.out, out6, 7, 10, c.toOut6}, {r.out, r.in, in6, 2, 1200, c.toIn6}} {
				sent := send(t, x.from, x.to, x.address, x.packets, x.size)
				for range x.times {
					total = total.plus(sent)
				}
			}
			expected := map[string]count{}
			if total != (count{}) {
				expected["l3.meter "+label1] = total
			}
			published(t, s, "label_id", expected)
		})
	}
}

func hasChain(r *router, chain string) bool {
	found := false
	_ = netns.Do(r.namespace(), func() error {
		found = exec.Command("nft", "list", "chain", "inet", tableName, chain).Run() == nil
		return nil
	})
	return found
}

// egress counts all that leaves.
func egress() rpc.MeteringRule { return rule("egress", "0.0.0.0/0", "", "", false) }

// measured waits until the agent has read all that the counter of the first label has. What is not read goes with its table.
func measured(t *testing.T, a *Agent, r *router) {
	t.Helper()
	eventually(t, "the counter is read", func() bool {
		a.mu.Lock()
		defer a.mu.Unlock()
		m := a.meters[r.id]
		if m == nil {
			return false
		}
		o, err := m.conn.GetObject(m.counter(label1))
		c, ok := o.(*nftables.CounterObj)
		return err == nil && ok && m.read[label1] == count{c.Packets, c.Bytes}
	})
}

// counting waits until a router's traffic is counted under these labels.
func counting(t *testing.T, r *router, labels ...rpc.MeteringLabel) {
	t.Helper()
	want, _ := translate(labels)
	eventually(t, r.id+" counts", func() bool { return hasChain(r, want.mark()) })
}

func TestNothingIsLostOrDoubled(t *testing.T) {
	sandbox.Need(t)
	r := newRouter(t, 1)
	one, both := []rpc.MeteringLabel{label(label1, egress())}, []rpc.MeteringLabel{label(label1, egress()), label(label2, egress())}
	s := &server{routers: []rpc.MeteredRouter{metered(r, one...)}}
	a, stop := run(t, s, false)
	counting(t, r, one...)
	var first, second count
	shoot := func(packets int) count { return send(t, r.in, r.out, "203.0.113.1", packets, 100) }
	check := func(t *testing.T) {
		t.Helper()
		want := map[string]count{"l3.meter " + label1: first}
		if second != (count{}) {
			want["l3.meter "+label2] = second
		}
		published(t, s, "label_id", want)
	}

	t.Run("the bus is away", func(t *testing.T) {
		s.setDown(t)
		first = first.plus(shoot(4))
		time.Sleep(250 * time.Millisecond)
		if got := s.sum("label_id"); len(got) > 0 {
			t.Errorf("published over a bus that is down: %v", got)
		}
		s.setUp()
		check(t)
	})
	whole := t // the agent outlives the part of the test that starts it
	t.Run("agent stops", func(t *testing.T) {
		s.setDown(t)
		first = first.plus(shoot(3))
		stop()
		first = first.plus(shoot(2)) // nobody looks
		s.setUp()
		a, stop = run(whole, s, false)
		check(t)
		if n := a.Writes(); n != 0 {
			t.Errorf("the restarted agent wrote %d times", n)
		}
	})
	t.Run("a label comes", func(t *testing.T) {
		first = first.plus(shoot(1))
		s.change(t, "add_metering_label", metered(r, both...))
		counting(t, r, both...)
		n := shoot(6)
		first, second = first.plus(n), second.plus(n)
		check(t)
	})
	t.Run("a label goes", func(t *testing.T) {
		s.setDown(t)
		n := shoot(5)
		first, second = first.plus(n), second.plus(n)
		s.change(t, "remove_metering_label", metered(r, one...))
		counting(t, r, one...)
		s.setUp()
		first = first.plus(shoot(1))
		check(t)
	})
	t.Run("somebody deletes the table", func(t *testing.T) {
		s.setDown(t)
		first = first.plus(shoot(5))
		measured(t, a, r)
		must(t, netns.Do(r.namespace(), func() error { return exec.Command("nft", "delete", "table", "inet", tableName).Run() }))
		counting(t, r, one...)
		first = first.plus(shoot(3))
		s.setUp()
		check(t)
	})
	t.Run("somebody flushes a chain", func(t *testing.T) {
		must(t, netns.Do(r.namespace(), func() error { return exec.Command("nft", "flush", "chain", "inet", tableName, prefix+label1).Run() }))
		eventually(t, "the rule is back", func() bool {
			var out []byte
			_ = netns.Do(r.namespace(), func() (err error) {
				out, err = exec.Command("nft", "list", "chain", "inet", tableName, prefix+label1).Output()
				return err
			})
			return strings.Contains(string(out), "counter name")
		})
		first = first.plus(shoot(3))
		check(t)
	})
	t.Run("the router is made anew", func(t *testing.T) {
		s.setDown(t)
		first = first.plus(shoot(7))
		measured(t, a, r)
		must(t, netns.Delete(r.namespace()))
		r.rebuild()
		counting(t, r, one...)
		first = first.plus(shoot(2))
		s.setUp()
		check(t)
	})
	t.Run("a label goes, and the agent", func(t *testing.T) {
		s.change(t, "add_metering_label", metered(r, both...))
		counting(t, r, both...)
		n := shoot(3)
		first, second = first.plus(n), second.plus(n)
		s.change(t, "remove_metering_label", metered(r, one...))
		counting(t, r, one...)
		stop() // publishes what only the agent has: the counts of the label that is gone
		a, stop = run(whole, s, false)
		check(t)
	})
	t.Run("the router goes", func(t *testing.T) {
		s.setDown(t)
		first = first.plus(shoot(7))
		measured(t, a, r)
		must(t, netns.Delete(r.namespace()))
		s.change(t, "router_deleted")
		s.setUp()
		check(t)
	})
}

// rebuild makes the namespace of a router again after it was deleted.
func (r *router) rebuild() {
	r.t.Helper()
	for _, ns := range []string{r.in, r.out} {
		must(r.t, netns.Do(ns, func() error {
			_ = exec.Command("ip", "link", "delete", "eth0").Run()
			return nil
		}))
	}
	r.build()
}

func TestRoutersComeAndGo(t *testing.T) {
	sandbox.Need(t)
	s := &server{}
	run(t, s, false)
	r := newRouter(t, 1) // the namespace first, then the label
	s.change(t, "add_metering_label", metered(r, label(label1, egress())))
	counting(t, r, label(label1, egress()))
	s.mu.Lock()
	before := s.asked
	s.mu.Unlock()
	unlabelled := newRouter(t, 2)
	eventually(t, "the server is asked about a new router", func() bool { s.mu.Lock(); defer s.mu.Unlock(); return s.asked > before })
	s.mu.Lock()
	s.routers = append(s.routers, rpc.MeteredRouter{ID: "0a0a0a0a-0000-4000-8000-000000000003", ProjectID: "p3", Labels: []rpc.MeteringLabel{label(label1, egress())}})
	s.mu.Unlock()
	third := newRouter(t, 3) // the label first, then the namespace; nobody tells
	counting(t, third, label(label1, egress()))
	want := send(t, r.in, r.out, "203.0.113.1", 3, 50).plus(send(t, third.in, third.out, "203.0.113.1", 4, 70))
	send(t, unlabelled.in, unlabelled.out, "203.0.113.1", 4, 70)
	published(t, s, "label_id", map[string]count{"l3.meter " + label1: want})
	if hasTable(unlabelled) {
		t.Error("a router without labels has a table")
	}
	must(t, netns.Delete(third.namespace())) // while it is away it gets another label, of which nobody tells
	s.mu.Lock()
	s.routers[len(s.routers)-1].Labels = append(s.routers[len(s.routers)-1].Labels, label(label2, egress()))
	s.mu.Unlock()
	third.rebuild()
	counting(t, third, label(label1, egress()), label(label2, egress()))
	s.change(t, "remove_metering_label", metered(r), metered(third))
	eventually(t, "the tables go with the last label", func() bool { return !hasTable(r) && !hasTable(third) })
}

func hasTable(r *router) bool {
	found := false
	_ = netns.Do(r.namespace(), func() error { found = exec.Command("nft", "list", "table", "inet", tableName).Run() == nil; return nil })
	return found
}

func TestGranular(t *testing.T) {
	sandbox.Need(t)
	r1, r2 := newRouter(t, 1), newRouter(t, 2)
	shared := label(label2, egress())
	shared.Shared = true
	own := label(label1, egress())
	s := &server{routers: []rpc.MeteredRouter{metered(r1, own, shared), metered(r2, shared)}}
	run(t, s, true)
	counting(t, r1, own, shared)
	counting(t, r2, shared)
	a, b := send(t, r1.in, r1.out, "203.0.113.1", 3, 50), send(t, r2.in, r2.out, "203.0.113.1", 4, 70)
	published(t, s, "resource_id", map[string]count{
		"l3.meter.label label-" + label1:                                       a,
		"l3.meter.label label-" + label2:                                       a.plus(b),
		"l3.meter.router router-" + r1.id:                                      a.plus(a),
		"l3.meter.router router-" + r2.id:                                      b,
		"l3.meter.project project-p1":                                          a.plus(a),
		"l3.meter.project project-p2":                                          b,
		fmt.Sprintf("l3.meter.label_router router-%s-label-%s", r1.id, label1): a,
		fmt.Sprintf("l3.meter.label_router router-%s-label-%s", r1.id, label2): a,
		fmt.Sprintf("l3.meter.label_router router-%s-label-%s", r2.id, label2): b,
		"l3.meter.label_project project-p1-label-" + label1:                    a,
		"l3.meter.label_project project-p1-label-" + label2:                    a,
		"l3.meter.label_project project-p2-label-" + label2:                    b,
	})
}
