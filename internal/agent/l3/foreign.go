package l3

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// What upstream's agent makes by iptables (neutron/agent/linux/iptables_manager.py): chains that begin with its name, and
// two that it shares with other agents, such as the metering agent.
const upstreamChains = "neutron-l3-agent-"

var (
	iptablesTables = []string{"raw", "mangle", "nat", "filter"}
	sharedChains   = []string{"neutron-filter-top", "neutron-postrouting-bottom"}
)

// foreignRules returns the nft script that removes what upstream's agent made, a command a line. What others made in the
// same tables stays.
func foreignRules(tables, chains, rules []object) (script []string) {
	for _, t := range tables {
		name := t.text(unix.NFTA_TABLE_NAME)
		if !slices.Contains(iptablesTables, name) || t.family != familyIPv4 && t.family != familyIPv6 {
			continue
		}
		in := func(o object, table uint16) bool { return o.family == t.family && o.text(table) == name }
		table := fmt.Sprintf("%s %s", t.family, name)
		var jumps, gone []string
		others := false
		for _, r := range rules {
			chain := r.text(unix.NFTA_RULE_CHAIN)
			switch {
			case !in(r, unix.NFTA_RULE_TABLE) || strings.HasPrefix(chain, upstreamChains):
			case bytes.Contains(r.attributes[unix.NFTA_RULE_EXPRESSIONS], []byte(upstreamChains)):
				jumps = append(jumps, fmt.Sprintf("delete rule %s %s handle %d", table, chain,
					binary.BigEndian.Uint64(r.attributes[unix.NFTA_RULE_HANDLE])))
			case !slices.ContainsFunc(sharedChains, func(s string) bool {
				return bytes.Contains(r.attributes[unix.NFTA_RULE_EXPRESSIONS], []byte(s))
			}):
				others = true
			}
		}
		for _, c := range chains {
			chain := c.text(unix.NFTA_CHAIN_NAME)
			switch {
			case !in(c, unix.NFTA_CHAIN_TABLE) || c.attributes[unix.NFTA_CHAIN_HOOK] != nil || slices.Contains(sharedChains, chain):
			case strings.HasPrefix(chain, upstreamChains):
				gone = append(gone, fmt.Sprintf("%s %s", table, chain))
			default:
				others = true
			}
		}
		if len(jumps)+len(gone) == 0 { // such as what `iptables -L` makes
			continue
		}
		if !others {
			script = append(script, "delete table "+table)
			continue
		}
		script = append(script, jumps...)
		for _, command := range []string{"flush chain ", "delete chain "} { // they jump to each other
			for _, chain := range gone {
				script = append(script, command+chain)
			}
		}
	}
	return script
}
