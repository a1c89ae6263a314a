package sanity

import (
	"errors"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"neutrino/internal/linux/sandbox"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
)

func TestMain(m *testing.M) { sandbox.Main(m) }

// TestThisMachine: what the tests of the agents need is there, and looking for it leaves nothing behind.
func TestThisMachine(t *testing.T) {
	sandbox.Need(t)
	state := func() (all []string) {
		links, err := netlink.LinkList()
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range links {
			all = append(all, l.Attrs().Name)
		}
		out, err := exec.Command("nft", "list", "ruleset").Output()
		if err != nil {
			t.Fatal(err)
		}
		return append(all, string(out))
	}
	if out, err := exec.Command("nft", "add", "table", "inet", "mine").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	before := state()
	results := Run(t.Context(), Config{OVSDB: "unix:/nowhere", Required: func(c *Check) bool { return strings.HasPrefix(c.Name, "nftables") }})
	for _, r := range results {
		ovs := strings.HasPrefix(r.Name, "Open vSwitch: d") // its database
		if r.Required && r.Err != nil || ovs && r.Err == nil {
			t.Errorf("%s: %v", r.Name, r.Err)
		}
	}
	if n := Failed(results); n != 0 {
		t.Errorf("%d failed", n)
	}
	if diff := cmp.Diff(before, state()); diff != "" {
		t.Errorf("changed: %s", diff)
	}
}

func TestTable(t *testing.T) {
	results := []Result{
		{Check{Name: "wings"}, nil, true},
		{Check{Name: "engine", Without: "no take-off"}, errors.New("not found\nanywhere"), true},
		{Check{Name: "coffee", Without: "bad mood"}, errors.New("empty"), false},
	}
	var b strings.Builder
	if err := Print(&b, results); err != nil {
		t.Fatal(err)
	}
	want := `CAN     RESULT  NEEDED  WITHOUT IT   REASON
wings   yes     needed
engine  no      needed  no take-off  not found
coffee  no              bad mood     empty
`
	var got []string
	for line := range strings.Lines(b.String()) {
		got = append(got, strings.TrimRight(line, " \n"))
	}
	if diff := cmp.Diff(strings.Split(strings.TrimSpace(want), "\n"), got); diff != "" {
		t.Error(diff)
	}
	if n := Failed(results); n != 1 {
		t.Errorf("%d failed", n)
	}
}

// TestFlags: each of upstream's options is asked for once.
func TestFlags(t *testing.T) {
	all := slices.Clone(Obsolete)
	for _, c := range Checks() {
		all = append(all, c.Flags...)
	}
	slices.Sort(all)
	if len(slices.Compact(slices.Clone(all))) != len(all) {
		t.Errorf("twice in %v", all)
	}
}
