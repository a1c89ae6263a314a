package ovs

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Flows of two owners come and go; what is there already is not written again.
func TestFlows(t *testing.T) {
	a, b := Flow{Table: 1, Priority: 2, Match: "in_port=3", Actions: "drop"}, Flow{Table: 1, Actions: "NORMAL"}
	changed := a
	changed.Actions = "output:4"
	add := func(f Flow) string { return f.add(f.Cookie()) }
	del := func(f Flow) string { return remove(f.Cookie()) }
	flows := NewFlows()
	flows.Want("x", a)
	if got := flows.Bundle(true); got != "" {
		t.Errorf("written before anything was read: %s", got)
	}
	left := Flow{Table: 9, Actions: "drop"}
	flows.Saw(map[uint64]bool{left.Cookie(): true})
	for _, step := range []struct {
		name string
		do   func()
		all  bool
		want []string
	}{
		{"what an earlier run left stays for now", func() { flows.Want("x", a, b) }, false, []string{add(a), add(b)}},
		{"nothing to do", func() { flows.Want("x", b, a) }, false, nil},
		{"once everything is known it goes", func() {}, true, []string{del(left)}},
		{"two owners", func() { flows.Want("y", b) }, true, nil},
		{"one is left", func() { flows.Want("x", a) }, true, nil},
		{"other actions", func() { flows.Want("x", changed) }, true, []string{del(a), add(changed)}},
		{"none is left", func() { flows.Want("y") }, true, []string{del(b)}},
		{"somebody deleted all", func() { flows.Saw(map[uint64]bool{}) }, true, []string{add(changed)}},
	} {
		step.do()
		got := flows.Bundle(step.all)
		if want := strings.Join(step.want, ""); len(got) != len(want) || !sameLines(got, want) {
			t.Errorf("%s: got\n%swant\n%s", step.name, got, want)
		}
		flows.Done(step.all)
	}
	if lost := flows.Saw(map[uint64]bool{left.Cookie(): true}); lost != 1 {
		t.Errorf("%d lost flows", lost)
	}
	if flows.Len() != 1 || flows.Owned("y") || !flows.Owned("x") {
		t.Errorf("wanted: %s", flows.All())
	}
}

func sameLines(a, b string) bool {
	return cmp.Equal(lines(a), lines(b))
}

func lines(s string) map[string]int {
	out := map[string]int{}
	for l := range strings.Lines(s) {
		out[l]++
	}
	return out
}

func TestCookies(t *testing.T) {
	f := Flow{Table: 22, Priority: 1, Match: "dl_vlan=1", Actions: "drop"}
	dump := fmt.Sprintf("OFPST_FLOW reply (OF1.4) (xid=0x2):\n cookie=%#x, table=22, priority=1,dl_vlan=1 actions=drop\n cookie=0x0, table=0, priority=0 actions=NORMAL\n"+
		" cookie=%#x, table=20, hard_timeout=300, priority=1 actions=drop\n", f.Cookie(), LearnCookie)
	if diff := cmp.Diff(map[uint64]bool{f.Cookie(): true}, cookies(dump)); diff != "" {
		t.Error(diff)
	}
	dump += " cookie=0x77, table=2, priority=1 actions=drop\n cookie=0x77, table=222, priority=1 actions=drop\n cookie=0x77, priority=9 actions=drop\n"
	if got, want := strangers(dump, []int{0, 2, 20, 22}), "delete cookie=0x0/-1,table=0\ndelete cookie=0x77/-1,table=0\ndelete cookie=0x77/-1,table=2\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if got, want := f.add(f.Cookie()), fmt.Sprintf("add cookie=%#x,table=22,priority=1,dl_vlan=1,actions=drop\n", f.Cookie()); got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
