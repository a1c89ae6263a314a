package ovs

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
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
	if got := flows.Bundles(true); got != nil {
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
		got := strings.Join(slices.Concat(flows.Bundles(step.all)...), "")
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

// A load of many flows is spread, and packets enter when all the rest is there.
func TestManyFlows(t *testing.T) {
	flows, all := NewFlows(60, 0), map[string]bool{}
	flows.Saw(map[uint64]bool{})
	var wanted []Flow
	for i := range manyFlows + 1 {
		wanted = append(wanted, Flow{Table: 1, Match: fmt.Sprintf("in_port=%d", i), Actions: "drop"})
	}
	first, second := Flow{Table: 0, Actions: "resubmit(,60)"}, Flow{Table: 60, Actions: "resubmit(,1)"}
	flows.Want("x", append(wanted, first, second)...)
	stages := flows.Bundles(true)
	if len(stages) != 2 || len(stages[0]) != abreast {
		t.Fatalf("stages: %v", stages)
	}
	if diff := cmp.Diff([]string{sorted([]string{first.add(first.Cookie()), second.add(second.Cookie())})}, stages[1]); diff != "" {
		t.Errorf("entrances (-want +got):\n%s", diff)
	}
	for _, bundle := range stages[0] {
		for line := range strings.Lines(bundle) {
			all[line] = true
		}
	}
	for _, f := range wanted {
		if !all[f.add(f.Cookie())] {
			t.Fatalf("missing: %s", f)
		}
	}
	flows.Done(true)
	flows.Want("x", append(wanted[1:], first, second)...)
	if diff := cmp.Diff([][]string{{remove(wanted[0].Cookie())}}, flows.Bundles(true)); diff != "" {
		t.Errorf("one flow less (-want +got):\n%s", diff)
	}
	flows.Done(true)
	flows.Want("y", Flow{Table: 2, Actions: "drop"})
	flows.Want("x")
	if stages := flows.Bundles(true); len(stages) != 1 || len(stages[0]) != 1 {
		t.Errorf("removals are spread: %d stages", len(stages))
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

// A bridge answers in parts, which are read; it wants to know meanwhile whether we are there.
func TestSurvey(t *testing.T) {
	f := Flow{Table: 22, Priority: 1, Match: "dl_vlan=1", Actions: "drop"}
	bridge := Switch{RunDir: t.TempDir()}
	l, err := net.Listen("unix", bridge.socket("br"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	answer := func(more byte, flows ...Flow) message {
		body := []byte{0, multipartFlows, 0, more, 0, 0, 0, 0}
		for _, f := range flows {
			cookie, _ := strconv.ParseUint(f.Actions, 0, 64)
			entry := make([]byte, flowMatch+8*len(f.Match)) // of different sizes
			binary.BigEndian.PutUint16(entry, uint16(len(entry)))
			entry[flowTable] = byte(f.Table)
			binary.BigEndian.PutUint64(entry[flowCookie:], cookie)
			body = append(body, entry...)
		}
		return message{typeAnswer, 1, body}
	}
	echoed := make(chan message, 1)
	go func() {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		c, buffer := &connection{conn, bufio.NewReader(conn)}, make([]byte, 1<<16)
		_ = c.send(message{kind: typeHello})
		for m := (message{}); m.kind != typeAsk; {
			if m, err = c.receive(buffer); err != nil {
				return
			}
		}
		_ = c.send(message{typeEchoAsk, 7, []byte("there?")})
		if _, err := io.ReadFull(c.in, buffer[:14]); err == nil {
			echoed <- message{buffer[1], uint32(buffer[7]), buffer[8:14]}
		}
		_ = c.send(answer(multipartMore, Flow{Table: 22, Actions: fmt.Sprint(f.Cookie()), Match: "ab"}, Flow{Actions: "0"}, Flow{Table: 20, Actions: fmt.Sprint(LearnCookie)}))
		_ = c.send(answer(0, Flow{Table: 2, Actions: "0x77"}, Flow{Table: 222, Actions: "0x77"}, Flow{Actions: "0x77", Match: "a"}))
	}()
	v, err := bridge.Survey(t.Context(), "br")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[uint64]bool{f.Cookie(): true}, v.Own); diff != "" {
		t.Error(diff)
	}
	if got, want := v.Removals([]int{0, 2, 20, 22}), "delete cookie=0x0/-1,table=0\ndelete cookie=0x77/-1,table=0\ndelete cookie=0x77/-1,table=2\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if m := <-echoed; m.kind != typeEchoBack || m.xid != 7 || string(m.body) != "there?" {
		t.Errorf("echo: %v", m)
	}
}

func TestSurveyOfBrokenAnswers(t *testing.T) {
	entry := make([]byte, flowMatch)
	for _, size := range []uint16{0, flowMatch - 1, flowMatch + 1} {
		binary.BigEndian.PutUint16(entry, size)
		if err := (&Survey{}).read(entry); err == nil {
			t.Errorf("a flow of %d bytes is read", size)
		}
	}
	if err := (&Survey{}).read(entry[:8]); err == nil {
		t.Error("half a flow is read")
	}
}

func TestAdd(t *testing.T) {
	f := Flow{Table: 22, Priority: 1, Match: "dl_vlan=1", Actions: "drop"}
	if got, want := f.add(f.Cookie()), fmt.Sprintf("add cookie=%#x,table=22,priority=1,dl_vlan=1,actions=drop\n", f.Cookie()); got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

// What an earlier version wrote must be known again.
func TestCookieStays(t *testing.T) {
	f := Flow{Table: 72, Priority: 74, Match: "ct_state=+new-est,ip,reg5=0x2af", Actions: "resubmit(,73)"}
	if got, want := f.Cookie(), uint64(0x4e75d75440ef5903); got != want {
		t.Errorf("%#x, want %#x", got, want)
	}
}
