package nft

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParse(t *testing.T) {
	got, err := parse([]byte(`{"nftables": [{"metainfo": {"version": "1.0.6"}},
		{"table": {"family": "bridge", "name": "p"}},
		{"set": {"name": "pairs", "type": ["ifname", "ipv4_addr"], "elem": [{"concat": ["tap1", "10.0.0.1"]}]}},
		{"set": {"name": "members", "elem": ["10.0.0.1", {"prefix": {"addr": "10.0.1.0", "len": 24}}, {"range": ["1", "2"]}]}},
		{"set": {"name": "none", "type": "ifname"}},
		{"map": {"name": "v", "map": "verdict", "elem": [["a", {"jump": {"target": "c"}}], ["b", {"drop": null}],
			["c", {"goto": {"target": "d"}}], ["d", {"accept": null}]]}},
		{"map": {"name": "zones", "map": "integer", "elem": [["brqaaa", 4097]]}},
		{"chain": {"name": "empty"}}, {"chain": {"name": "c"}},
		{"rule": {"chain": "c", "expr": [{"accept": null}]}}, {"rule": {"chain": "c", "comment": "last"}}]}`))
	if err != nil {
		t.Fatal(err)
	}
	want := &Contents{
		Sets: map[string]map[string]string{
			"pairs":   {"tap1 . 10.0.0.1": ""},
			"members": {"10.0.0.1": "", "10.0.1.0/24": "", `{"range": ["1", "2"]}`: ""},
			"none":    {},
			"v":       {"a": "jump c", "b": "drop", "c": "goto d", "d": "accept"},
			"zones":   {"brqaaa": "4097"},
		},
		Chains: map[string][]string{"empty": nil, "c": {"", "last"}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
