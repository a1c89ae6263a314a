// Package ovs talks to Open vSwitch: to its database by OVSDB, and to its bridges by flows that are values, compared with
// what is there and sent as one atomic bundle.
package ovs

import (
	"fmt"
	"hash/fnv"
	"slices"
	"strconv"
	"strings"
)

// Flow is a flow of one bridge. Match and Actions are in the language of ovs-ofctl. Two flows of the same Table, Priority
// and Match are the same flow with other actions.
type Flow struct {
	Table    int
	Priority int
	Match    string // "" matches everything
	Actions  string
}

// The upper 16 bits of a cookie are our mark, by which our flows are known; the others tell what the flow is, so that a
// bridge need not be asked for more than its cookies. Learned flows have no such number.
const (
	cookieMark = 0x4e75 << 48
	cookieMask = 0xffff << 48
	// LearnCookie is for the action learn().
	LearnCookie = uint64(cookieMark)
)

// Cookie identifies the flow with its actions.
func (f Flow) Cookie() uint64 {
	text := make([]byte, 0, 512)
	text = append(strconv.AppendInt(text, int64(f.Table), 10), '|')
	text = append(strconv.AppendInt(text, int64(f.Priority), 10), '|')
	text = append(append(append(text, f.Match...), '|'), f.Actions...)
	h := fnv.New64a()
	_, _ = h.Write(text)
	sum := h.Sum64()
	if sum&^cookieMask == 0 {
		sum = 1
	}
	return cookieMark | sum&^cookieMask
}

// String is the flow as ovs-ofctl reads it, without cookie.
func (f Flow) String() string {
	return fmt.Sprintf("table=%d,priority=%d%s,actions=%s", f.Table, f.Priority, comma(f.Match), f.Actions)
}

func comma(match string) string {
	if match == "" {
		return ""
	}
	return "," + match
}

// add and remove are lines of a bundle.
func (f Flow) add(cookie uint64) string {
	return fmt.Sprintf("add cookie=%#x,%s\n", cookie, f)
}

func remove(cookie uint64) string { return fmt.Sprintf("delete cookie=%#x/-1\n", cookie) }

// Flows are the flows of a bridge that are wanted and those that are there. Those wanted come in sets, each with an owner
// by whose name it is replaced. It costs what changes, however many flows there are. The zero value is not ready.
type Flows struct {
	owners  map[string][]uint64
	wanted  map[uint64]*wantedFlow
	actual  map[uint64]bool
	changed map[uint64]bool // whether it is there may differ from whether it is wanted
	foreign map[uint64]bool // there before we started, and never wanted yet
	loaded  bool

	entrances []int // tables
}

type wantedFlow struct {
	Flow
	owners int
}

// NewFlows makes an empty table of the flows of a bridge. Packets reach no flow but through those in the tables that are entrances.
// Nothing is written before Saw has been called.
func NewFlows(entrances ...int) *Flows {
	return &Flows{entrances: entrances, owners: map[string][]uint64{}, wanted: map[uint64]*wantedFlow{}, actual: map[uint64]bool{}, changed: map[uint64]bool{},
		foreign: map[uint64]bool{}}
}

// Want replaces the flows of an owner; none for nothing.
func (t *Flows) Want(owner string, flows ...Flow) {
	before := t.owners[owner]
	after := make([]uint64, 0, len(flows))
	for _, f := range flows {
		c := f.Cookie()
		after = append(after, c)
		w := t.wanted[c]
		if w == nil {
			w = &wantedFlow{Flow: f}
			t.wanted[c] = w
			t.changed[c] = true
			delete(t.foreign, c)
		}
		w.owners++
	}
	for _, c := range before {
		w := t.wanted[c]
		if w.owners--; w.owners == 0 {
			delete(t.wanted, c)
			t.changed[c] = true
		}
	}
	if t.owners[owner] = after; len(after) == 0 {
		delete(t.owners, owner)
	}
}

// Owned tells whether the owner has flows.
func (t *Flows) Owned(owner string) bool { return len(t.owners[owner]) > 0 }

// Saw says which of our flows the bridge has, and returns how many are gone that it had and should have.
func (t *Flows) Saw(cookies map[uint64]bool) (lost int) {
	t.loaded = true
	for c := range t.actual {
		if !cookies[c] {
			t.changed[c] = true
			if t.wanted[c] != nil {
				lost++
			}
		}
	}
	clear(t.foreign)
	for c := range cookies {
		if t.wanted[c] == nil {
			t.foreign[c] = true
		}
	}
	for c := range t.wanted {
		if !cookies[c] {
			t.changed[c] = true
		}
	}
	t.actual = cookies
	return lost
}

// Loaded tells whether Saw has been called.
func (t *Flows) Loaded() bool { return t.loaded }

// ovs-vswitchd takes at most 50 messages of a connection in each of its turns (ofproto/connmgr.c), and with a thousand ports on the
// userspace datapath a turn takes 10 ms. Flows by one connection are slow there, by sixteen six times as fast.
const (
	manyFlows = 2000 // are spread over several connections
	abreast   = 16
)

// Bundles are what brings the bridge in line, in stages: those of one stage may be carried out side by side. Mostly it is one bundle of
// removals, then additions. Very many additions are spread over several, those by which packets enter after all others, so that no
// packet meets a half. With all, flows go too that were there before and have not been wanted since. Done must follow when all is carried out.
func (t *Flows) Bundles(all bool) (stages [][]string) {
	if !t.loaded {
		return nil
	}
	var del, enter, add []string
	for c := range t.changed {
		w := t.wanted[c]
		switch {
		case w != nil && !t.actual[c] && slices.Contains(t.entrances, w.Table):
			enter = append(enter, w.add(c))
		case w != nil && !t.actual[c]:
			add = append(add, w.add(c))
		case w == nil && t.actual[c] && !t.foreign[c]:
			del = append(del, remove(c))
		}
	}
	if all {
		for c := range t.foreign {
			del = append(del, remove(c))
		}
	}
	if len(del) == 0 && len(add) >= manyFlows {
		stages, add = append(stages, spread(add)), nil
	}
	if last := sorted(del) + sorted(append(enter, add...)); last != "" {
		stages = append(stages, []string{last})
	}
	return stages
}

// spread makes bundles of about the same length.
func spread(lines []string) (bundles []string) {
	for part := range slices.Chunk(lines, (len(lines)+abreast-1)/abreast) {
		bundles = append(bundles, sorted(part))
	}
	return bundles
}

// Done says that the bundles, made with the same all, have been carried out.
func (t *Flows) Done(all bool) {
	for c := range t.changed {
		if t.wanted[c] != nil {
			t.actual[c] = true
		} else if !t.foreign[c] {
			delete(t.actual, c)
		}
	}
	clear(t.changed)
	if all {
		for c := range t.foreign {
			delete(t.actual, c)
		}
		clear(t.foreign)
	}
}

// All are the wanted flows as text, in order.
func (t *Flows) All() string {
	var out []string
	for _, w := range t.wanted {
		out = append(out, fmt.Sprintf("table=%03d priority=%05d %s -> %s\n", w.Table, w.Priority, w.Match, w.Actions))
	}
	return sorted(out)
}

// Len is the number of wanted flows.
func (t *Flows) Len() int { return len(t.wanted) }

func ownCookie(text string) (uint64, bool) {
	text, _, _ = strings.Cut(text, ",")
	c, err := strconv.ParseUint(strings.TrimSpace(text), 0, 64)
	return c, err == nil && c&cookieMask == cookieMark && c != LearnCookie
}

// Ours tells whether a line of dump-flows is a flow of ours that was not learned.
func Ours(line string) bool {
	_, rest, ok := strings.Cut(line, "cookie=")
	if !ok {
		return false
	}
	_, ok = ownCookie(rest)
	return ok
}
