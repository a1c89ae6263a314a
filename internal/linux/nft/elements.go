package nft

import (
	"fmt"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
)

// Element is one element of a set or map that exists, in the kernel's form.
type Element struct {
	Set string
	Key []byte // parts of concatenations are padded to four bytes
	// End, for elements of interval sets, is the first key after the interval.
	End []byte
	// Verdict, for elements of verdict maps to add, is "drop", "accept", "jump x" or "goto x".
	Verdict string
}

// families are those that our tables may have.
var families = map[string]nftables.TableFamily{
	"bridge": nftables.TableFamilyBridge, "inet": nftables.TableFamilyINet, "ip": nftables.TableFamilyIPv4,
	"ip6": nftables.TableFamilyIPv6, "arp": nftables.TableFamilyARP, "netdev": nftables.TableFamilyNetdev,
}

// Change is elements to delete and then to add, of one family's table.
type Change struct {
	Family, Table string
	Delete, Add   []Element
}

// ChangeElements does the same as a script of "delete element" and "add element", as one atomic batch, without the
// process that parses it and reads the kernel's tables first: a millisecond instead of ten or more. It is meant for a
// few hundred elements; the batch must fit the socket's buffer.
func ChangeElements(changes []Change) error {
	err := Batch(func(conn *nftables.Conn) error {
		for _, c := range changes {
			table := &nftables.Table{Family: families[c.Family], Name: c.Table}
			for _, e := range c.Delete {
				e.Verdict = ""
				if err := conn.SetDeleteElements(e.set(table), e.encode()); err != nil {
					return fmt.Errorf("delete element of %s: %w", e.Set, err)
				}
			}
			for _, e := range c.Add {
				if err := conn.SetAddElements(e.set(table), e.encode()); err != nil {
					return fmt.Errorf("add element to %s: %w", e.Set, err)
				}
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("change elements: %w", err)
	}
	return nil
}

func (e *Element) set(t *nftables.Table) *nftables.Set { return &nftables.Set{Table: t, Name: e.Set} }

func (e *Element) encode() []nftables.SetElement {
	x := nftables.SetElement{Key: e.Key}
	if e.Verdict != "" {
		word, chain, _ := strings.Cut(e.Verdict, " ")
		x.VerdictData = &expr.Verdict{Kind: verdicts[word], Chain: chain}
	}
	if e.End == nil {
		return []nftables.SetElement{x}
	}
	return []nftables.SetElement{x, {Key: e.End, IntervalEnd: true}}
}

var verdicts = map[string]expr.VerdictKind{
	"drop": expr.VerdictDrop, "accept": expr.VerdictAccept, "jump": expr.VerdictJump, "goto": expr.VerdictGoto,
}
