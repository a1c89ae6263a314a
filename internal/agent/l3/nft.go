package l3

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"time"

	"neutrino/internal/linux/netns"
	"neutrino/internal/linux/nft"

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

// changeElements changes both maps in one transaction. It goes by netlink, because nft reads all elements before it
// changes one.
func changeElements(namespace string, floating, fixed mapChange) error {
	return changeRules(namespace, func(c *nftables.Conn, table *nftables.Table) (err error) {
		for name, change := range map[string]mapChange{floatingMap: floating, fixedMap: fixed} {
			set := &nftables.Set{Table: table, Name: name, IsMap: true, KeyType: nftables.TypeIPAddr, DataType: nftables.TypeIPAddr}
			if len(change.gone) > 0 {
				err = errors.Join(err, c.SetDeleteElements(set, setElements(change.gone)))
			}
			if len(change.added) > 0 {
				err = errors.Join(err, c.SetAddElements(set, setElements(change.added)))
			}
		}
		return err
	})
}

// setMark adds the chain of this name.
func setMark(namespace, mark string) error {
	return changeRules(namespace, func(c *nftables.Conn, table *nftables.Table) error {
		c.AddChain(&nftables.Chain{Table: table, Name: mark})
		return nil
	})
}

func changeRules(namespace string, collect func(*nftables.Conn, *nftables.Table) error) error {
	err := netns.Do(namespace, func() error {
		return nft.Batch(func(c *nftables.Conn) error {
			return collect(c, &nftables.Table{Family: nftables.TableFamilyIPv4, Name: tableName})
		})
	})
	if err != nil {
		return fmt.Errorf("change nft rules: %w", err)
	}
	return nil
}

func setElements(elements []element) (out []nftables.SetElement) {
	for _, e := range elements {
		out = append(out, nftables.SetElement{Key: e.key.AsSlice(), Val: e.value.AsSlice()})
	}
	return out
}
