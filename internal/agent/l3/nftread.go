package l3

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"net/netip"
	"slices"
	"strings"

	"neutrino/internal/linux/netns"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// foundRules is what a namespace has of our rules, and of those that iptables made for upstream's agent. It is read by
// netlink, which takes no process: an agent that restarts reads that of every router.
type foundRules struct {
	generation uint32 // of all rules of the namespace: any commit by anybody changes it
	mark       string // name of the chain that says what the rules are; "" = none
	hash       string // of the rules that are there, without the elements of the two maps
	floating   []element
	fixed      []element
	tables     []family // in which we have a table
	foreign    []string // nft commands that remove the rules of upstream's agent
}

// family is an address family of nftables.
type family byte

const (
	familyIPv4 family = unix.NFPROTO_IPV4
	familyIPv6 family = unix.NFPROTO_IPV6
)

func (f family) String() string {
	switch f {
	case familyIPv4:
		return "ip"
	case familyIPv6:
		return "ip6"
	}
	return "other"
}

// rulesConn reads rules inside a namespace.
type rulesConn struct{ *netlink.Conn }

// withRules opens a rulesConn in the namespace.
func withRules(namespace string, f func(rulesConn) error) error {
	var conn *netlink.Conn
	err := netns.Do(namespace, func() (err error) {
		conn, err = netlink.Dial(unix.NETLINK_NETFILTER, nil)
		return err
	})
	if err != nil {
		return fmt.Errorf("read nft rules: %w", err)
	}
	defer conn.Close()
	if err := f(rulesConn{conn}); err != nil {
		return fmt.Errorf("read nft rules: %w", err)
	}
	return nil
}

// maxReads is how often rules are read that somebody changes at the same time.
const maxReads = 5

// readRules reads all, or returns known if nothing was committed since.
func readRules(namespace string, known *foundRules) (*foundRules, error) {
	var found *foundRules
	err := withRules(namespace, func(c rulesConn) error {
		before, err := c.generation()
		for range maxReads {
			if err != nil {
				return err
			}
			if known != nil && known.generation == before {
				found = known
				return nil
			}
			found, err = c.read()
			after, gerr := c.generation()
			if err == nil && gerr == nil && after == before {
				found.generation = after
				return nil
			}
			before, err = after, errors.Join(ignoreChanges(err), gerr)
		}
		return errors.New("somebody changes them all the time")
	})
	return found, err
}

// ignoreChanges drops errors that come from a change while a list was read.
func ignoreChanges(err error) error {
	if errors.Is(err, unix.EINTR) || errors.Is(err, unix.ENOENT) {
		return nil
	}
	return err
}

// generationOf returns the generation of the namespace's rules.
func generationOf(namespace string) (generation uint32, err error) {
	err = withRules(namespace, func(c rulesConn) (err error) {
		generation, err = c.generation()
		return err
	})
	return generation, err
}

// attributes are those of one message by type. Values stay in the kernel's form.
type attributes map[uint16][]byte

func (a attributes) text(t uint16) string { return string(bytes.TrimRight(a[t], "\x00")) }

func parseAttributes(b []byte) (attributes, error) {
	list, err := netlink.UnmarshalAttributes(b)
	out := attributes{}
	for _, x := range list {
		out[x.Type&^(netlink.Nested|netlink.NetByteOrder)] = x.Data
	}
	return out, err
}

// object is a table, chain, rule, set or list of elements.
type object struct {
	family family
	attributes
}

// get sends a request of nf_tables. Each message begins with family, version and resource (struct nfgenmsg).
func (c rulesConn) get(message int, flags netlink.HeaderFlags, f family, attrs ...netlink.Attribute) ([]object, error) {
	body, err := netlink.MarshalAttributes(attrs)
	if err != nil {
		return nil, err
	}
	replies, err := c.Execute(netlink.Message{
		Header: netlink.Header{Type: netlink.HeaderType(unix.NFNL_SUBSYS_NFTABLES<<8 | message), Flags: netlink.Request | flags},
		Data:   append([]byte{byte(f), unix.NFNETLINK_V0, 0, 0}, body...)})
	if err != nil {
		return nil, err
	}
	var out []object
	for _, m := range replies {
		if len(m.Data) < 4 {
			continue
		}
		a, err := parseAttributes(m.Data[4:])
		if err != nil {
			return nil, err
		}
		out = append(out, object{family(m.Data[0]), a})
	}
	return out, nil
}

func (c rulesConn) list(message int, f family, attrs ...netlink.Attribute) ([]object, error) {
	return c.get(message, netlink.Dump, f, attrs...)
}

func (c rulesConn) generation() (uint32, error) {
	replies, err := c.get(unix.NFT_MSG_GETGEN, 0, 0)
	if err != nil {
		return 0, err
	}
	for _, r := range replies {
		if id := r.attributes[unix.NFTA_GEN_ID]; len(id) == 4 {
			return binary.BigEndian.Uint32(id), nil
		}
	}
	return 0, errors.New("the kernel does not tell the generation")
}

func (c rulesConn) read() (*foundRules, error) {
	found, sum := &foundRules{}, sha256.New()
	tables, err := c.list(unix.NFT_MSG_GETTABLE, 0)
	if err != nil {
		return nil, err
	}
	chains, err := c.list(unix.NFT_MSG_GETCHAIN, 0)
	if err != nil {
		return nil, err
	}
	rules, err := c.list(unix.NFT_MSG_GETRULE, 0)
	if err != nil {
		return nil, err
	}
	for _, t := range tables {
		if t.text(unix.NFTA_TABLE_NAME) == tableName {
			found.tables = append(found.tables, t.family)
			sumUp(sum, t, unix.NFTA_TABLE_NAME, unix.NFTA_TABLE_FLAGS)
		}
	}
	slices.SortStableFunc(chains, func(a, b object) int {
		return cmp.Or(cmp.Compare(a.family, b.family), strings.Compare(a.text(unix.NFTA_CHAIN_NAME), b.text(unix.NFTA_CHAIN_NAME)))
	})
	for _, x := range chains {
		name := x.text(unix.NFTA_CHAIN_NAME)
		switch {
		case x.text(unix.NFTA_CHAIN_TABLE) != tableName:
		case strings.HasPrefix(name, markPrefix):
			found.mark = name
		default:
			sumUp(sum, x, unix.NFTA_CHAIN_NAME, unix.NFTA_CHAIN_TYPE, unix.NFTA_CHAIN_HOOK, unix.NFTA_CHAIN_POLICY)
		}
	}
	for _, x := range rules { // those of a chain are in order
		if x.text(unix.NFTA_RULE_TABLE) == tableName {
			sumUp(sum, x, unix.NFTA_RULE_CHAIN, unix.NFTA_RULE_EXPRESSIONS)
		}
	}
	if err := c.readSets(found, sum); err != nil {
		return nil, err
	}
	found.hash = hex.EncodeToString(sum.Sum(nil)[:8])
	found.foreign = foreignRules(tables, chains, rules)
	return found, nil
}

// sumUp adds some attributes to the hash. Handles and counters are not among them: they do not change what rules do.
func sumUp(sum hash.Hash, x object, types ...uint16) {
	sum.Write([]byte{byte(x.family)})
	for _, t := range types {
		fmt.Fprintf(sum, "%d:%d:", t, len(x.attributes[t]))
		sum.Write(x.attributes[t])
	}
}

// readSets reads the maps, and adds the other sets to the hash.
func (c rulesConn) readSets(found *foundRules, sum hash.Hash) error {
	for _, f := range found.tables {
		sets, err := c.list(unix.NFT_MSG_GETSET, f, netlink.Attribute{Type: unix.NFTA_SET_TABLE, Data: []byte(tableName + "\x00")})
		if err != nil {
			return err
		}
		for _, s := range sets {
			name := s.text(unix.NFTA_SET_NAME)
			elements, err := c.readElements(f, name)
			if err != nil {
				return err
			}
			switch name {
			case floatingMap:
				found.floating = pairsOf(elements)
			case fixedMap:
				found.fixed = pairsOf(elements)
			default:
				fmt.Fprintf(sum, "set %s %s", f, name)
				for _, e := range elements {
					sumUp(sum, object{f, e}, unix.NFTA_SET_ELEM_KEY, unix.NFTA_SET_ELEM_DATA, unix.NFTA_SET_ELEM_FLAGS)
				}
			}
		}
	}
	return nil
}

// readElements returns the elements of a set by key.
func (c rulesConn) readElements(f family, set string) ([]attributes, error) {
	lists, err := c.list(unix.NFT_MSG_GETSETELEM, f,
		netlink.Attribute{Type: unix.NFTA_SET_ELEM_LIST_TABLE, Data: []byte(tableName + "\x00")},
		netlink.Attribute{Type: unix.NFTA_SET_ELEM_LIST_SET, Data: []byte(set + "\x00")})
	if err != nil {
		return nil, err
	}
	var out []attributes
	for _, l := range lists {
		list, err := netlink.UnmarshalAttributes(l.attributes[unix.NFTA_SET_ELEM_LIST_ELEMENTS])
		if err != nil {
			return nil, err
		}
		for _, e := range list {
			a, err := parseAttributes(e.Data)
			if err != nil {
				return nil, err
			}
			out = append(out, a)
		}
	}
	slices.SortFunc(out, func(a, b attributes) int {
		return bytes.Compare(a[unix.NFTA_SET_ELEM_KEY], b[unix.NFTA_SET_ELEM_KEY])
	})
	return out, nil
}

// pairsOf reads elements of a map of IPv4 addresses. They are in order because their keys are.
func pairsOf(elements []attributes) (out []element) {
	for _, e := range elements {
		key, err1 := addressOf(e[unix.NFTA_SET_ELEM_KEY])
		value, err2 := addressOf(e[unix.NFTA_SET_ELEM_DATA])
		if err1 == nil && err2 == nil {
			out = append(out, element{key, value})
		}
	}
	return out
}

func addressOf(data []byte) (netip.Addr, error) {
	a, err := parseAttributes(data)
	if err != nil {
		return netip.Addr{}, err
	}
	addr, ok := netip.AddrFromSlice(a[unix.NFTA_DATA_VALUE])
	if !ok {
		return addr, errors.New("no address")
	}
	return addr, nil
}
