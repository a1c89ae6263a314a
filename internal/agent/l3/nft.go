package l3

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"time"

	"neutrino/internal/linux/netns"

	"github.com/google/nftables"
)

const nftTimeout = 30 * time.Second

// runNFT applies a script inside the namespace: all of it or nothing.
func runNFT(ctx context.Context, namespace, script string) error {
	ctx, cancel := context.WithTimeout(ctx, nftTimeout)
	defer cancel()
	return netns.Do(namespace, func() error { // the child starts in the namespace of the thread
		cmd := exec.CommandContext(ctx, "nft", "-f", "-")
		cmd.Stdin = strings.NewReader(script)
		var out bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &out
		if err := cmd.Run(); err != nil {
			return fmt.Errorf("nft: %w: %s", err, firstLine(out.String()))
		}
		return nil
	})
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(s), "\n")
	return line
}

// changeElements changes both maps and the mark in one transaction. It goes by netlink, because nft reads all elements
// before it changes one.
func changeElements(namespace string, floating, fixed mapChange, oldMark, newMark string) error {
	return netns.Do(namespace, func() error {
		c, err := nftables.New()
		if err != nil {
			return err
		}
		table := &nftables.Table{Family: nftables.TableFamilyIPv4, Name: tableName}
		for name, change := range map[string]mapChange{floatingMap: floating, fixedMap: fixed} {
			set := &nftables.Set{Table: table, Name: name, IsMap: true, KeyType: nftables.TypeIPAddr, DataType: nftables.TypeIPAddr}
			if len(change.gone) > 0 {
				err = errors.Join(err, c.SetDeleteElements(set, setElements(change.gone)))
			}
			if len(change.added) > 0 {
				err = errors.Join(err, c.SetAddElements(set, setElements(change.added)))
			}
		}
		if err != nil {
			return fmt.Errorf("change nft maps: %w", err)
		}
		c.DelChain(&nftables.Chain{Table: table, Name: oldMark})
		c.AddChain(&nftables.Chain{Table: table, Name: newMark})
		if err := c.Flush(); err != nil {
			return fmt.Errorf("change nft maps: %w", err)
		}
		return nil
	})
}

func setElements(elements []element) (out []nftables.SetElement) {
	for _, e := range elements {
		out = append(out, nftables.SetElement{Key: e.key.AsSlice(), Val: e.value.AsSlice()})
	}
	return out
}

// foundNAT is what a namespace has of address translation.
type foundNAT struct {
	mark    string   // of our table; "" if there is none
	foreign []string // "family name" of tables that iptables made for upstream's agent
}

// findNAT reads by netlink, which takes no process: an agent that restarts asks this for every router.
func findNAT(namespace string) (found foundNAT, err error) {
	err = netns.Do(namespace, func() error {
		c, err := nftables.New()
		if err != nil {
			return err
		}
		chains, err := c.ListChainsOfTableFamily(nftables.TableFamilyIPv4)
		if err != nil {
			return fmt.Errorf("list nft chains: %w", err)
		}
		for _, chain := range chains {
			if chain.Table.Name == tableName && strings.HasPrefix(chain.Name, markPrefix) {
				found.mark = chain.Name
			}
		}
		tables, err := c.ListTables()
		if err != nil {
			return fmt.Errorf("list nft tables: %w", err)
		}
		for _, t := range tables {
			if family := iptablesFamily(t); family != "" {
				found.foreign = append(found.foreign, family+" "+t.Name)
			}
		}
		return nil
	})
	return found, err
}

// iptablesFamily tells the family of a table that iptables-nft made, "" for other tables.
func iptablesFamily(t *nftables.Table) string {
	if !slices.Contains([]string{"raw", "mangle", "nat", "filter"}, t.Name) {
		return ""
	}
	switch t.Family {
	case nftables.TableFamilyIPv4:
		return "ip"
	case nftables.TableFamilyIPv6:
		return "ip6"
	}
	return ""
}
