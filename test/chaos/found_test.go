package chaos

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"neutrino/test/lab"
)

// compareHosts compares each host's kernel with what the API says, object by object.
func (w *world) compareHosts() {
	w.t.Helper()
	s := w.look()
	facts := 0
	for _, h := range w.Hosts() {
		var bad []string
		facts += len(w.wanted(s, h))
		_ = lab.Eventually(patience, func() (err error) {
			bad, err = w.difference(s, h)
			if err == nil && len(bad) > 0 {
				err = fmt.Errorf("%d differences", len(bad))
			}
			return err
		})
		if len(bad) > 0 {
			w.fail(h.Name+" is not as the API says (-: missing, +: too much)", bad)
		}
	}
	w.note("compared %d facts about hosts", facts)
	w.facts += facts
}

func (w *world) difference(s *snapshot, h *lab.Host) (bad []string, err error) {
	have, err := w.found(h)
	if err != nil {
		return []string{err.Error()}, err
	}
	want := w.wanted(s, h)
	for _, n := range s.networks {
		if w.active(s, n, h) {
			continue
		}
		about := func(fact string, _ bool) bool {
			return strings.HasPrefix(fact, fmt.Sprintf("forward vxlan-%d ", n.segment)) || strings.HasPrefix(fact, "neighbour "+named("brq", n.id)+" ")
		}
		maps.DeleteFunc(have, about)
	}
	for _, x := range w.ghosts {
		if x.Host == h {
			maps.DeleteFunc(have, s.haunts(x))
			maps.DeleteFunc(want, s.haunts(x))
		}
	}
	for fact := range want {
		if !have[fact] {
			bad = append(bad, "- "+fact)
		}
	}
	for fact := range have {
		if !want[fact] {
			bad = append(bad, "+ "+fact)
		}
	}
	slices.Sort(bad)
	return bad, nil
}

// found are the facts about a host.
func (w *world) found(h *lab.Host) (facts, error) {
	f := facts{}
	readers := []func(facts, *lab.Host) error{namespaces, devices, tags, forwarding, neighbours, filters}
	if w.OpenVSwitch {
		readers = []func(facts, *lab.Host) error{namespaces, w.switches}
	}
	for _, read := range readers {
		if err := read(f, h); err != nil {
			return nil, err
		}
	}
	return f, nil
}

// query runs a command that prints JSON.
func query(h *lab.Host, into any, command string) error {
	words := strings.Fields(command)
	out, err := h.Exec(words[0], words[1:]...)
	if err != nil {
		return err
	}
	if strings.TrimSpace(out) == "" {
		return nil
	}
	return json.Unmarshal([]byte(out), into)
}

var ourDevices = regexp.MustCompile(`^(brq|tap|vxlan-|ext0(\.|$))`)

func devices(f facts, h *lab.Host) error {
	var links []struct {
		Name   string `json:"ifname"`
		Master string `json:"master"`
		MTU    int    `json:"mtu"`
	}
	if err := query(h, &links, "ip -j link show"); err != nil {
		return err
	}
	for _, l := range links {
		switch {
		case !ourDevices.MatchString(l.Name) || l.Name == "ext0" && l.Master == "":
		case l.Master == "":
			f.add("device %s mtu %d", l.Name, l.MTU)
		default:
			f.add("device %s in %s mtu %d", l.Name, l.Master, l.MTU)
		}
	}
	return nil
}

// tagFilter is how tc shows what takes a tag off; its handle is the VLAN, in hexadecimal.
var tagFilter = regexp.MustCompile(`(?m)^filter .* bpf .*handle 0x([0-9a-f]+)`)

// tags are the VLANs that the outside interface takes.
func tags(f facts, h *lab.Host) error {
	out, err := h.Exec("tc", "filter", "show", "dev", "ext0", "ingress")
	for _, m := range tagFilter.FindAllStringSubmatch(out, -1) {
		n, _ := strconv.ParseInt(m[1], 16, 32)
		f.add("tag %d", n)
	}
	return err
}

func forwarding(f facts, h *lab.Host) error {
	var entries []struct {
		MAC    string `json:"mac"`
		Device string `json:"ifname"`
		To     string `json:"dst"`
	}
	if err := query(h, &entries, "bridge -j fdb show"); err != nil {
		return err
	}
	for _, e := range entries {
		if e.To != "" {
			f.add("forward %s %s to %s", e.Device, e.MAC, e.To)
		}
	}
	return nil
}

func neighbours(f facts, h *lab.Host) error {
	for _, family := range []string{"-4", "-6"} {
		var entries []struct {
			Address string `json:"dst"`
			Device  string `json:"dev"`
			MAC     string `json:"lladdr"`
		}
		if err := query(h, &entries, "ip -j "+family+" neigh show nud permanent"); err != nil {
			return err
		}
		for _, e := range entries {
			f.add("neighbour %s %s %s", e.Device, e.Address, e.MAC)
		}
	}
	return nil
}

// nftObject is a line of `nft -j list`.
type nftObject struct {
	Set, Map *struct {
		Name     string `json:"name"`
		Elements []any  `json:"elem"`
	}
	Chain *struct {
		Name string `json:"name"`
	}
	Counter *struct {
		Table string `json:"table"`
		Name  string `json:"name"`
	}
}

// compared are the sets and maps of which each element is a fact.
var compared = regexp.MustCompile(`^(ports|macs|pairs4|pairs6|guard|egress|ingress|wide|loose|members[46]-.*)$`)

func filters(f facts, h *lab.Host) error {
	objects, err := nft(h, "nft -j list table bridge neutrino")
	if err != nil {
		return err
	}
	for _, o := range objects {
		kind, content := "set", o.Set
		if o.Map != nil {
			kind, content = "map", o.Map
		}
		if o.Chain != nil && groupChain.MatchString(o.Chain.Name) {
			f.add("chain %s", o.Chain.Name)
		}
		if content == nil || !compared.MatchString(content.Name) {
			continue
		}
		if strings.HasPrefix(content.Name, "members") {
			f.add("set %s", content.Name)
		}
		for _, e := range content.Elements {
			key := text(e)
			if pair, ok := e.([]any); ok && kind == "map" {
				key = text(pair[0])
			}
			if strings.HasPrefix(content.Name, "members") {
				key = prefix(key).String()
			}
			f.add("%s %s: %s", kind, content.Name, key)
		}
	}
	return nil
}

var groupChain = regexp.MustCompile(`^(in|out)-[0-9a-f-]{36}$`)

func nft(h *lab.Host, command string) ([]nftObject, error) {
	var all struct {
		Nftables []nftObject `json:"nftables"`
	}
	err := query(h, &all, command)
	return all.Nftables, err
}

// text writes an element of nft's JSON.
func text(e any) string {
	switch e := e.(type) {
	case map[string]any:
		if list, ok := e["concat"].([]any); ok {
			parts := []string{}
			for _, x := range list {
				parts = append(parts, text(x))
			}
			return strings.Join(parts, " . ")
		}
		if p, ok := e["prefix"].(map[string]any); ok {
			return fmt.Sprintf("%v/%v", p["addr"], p["len"])
		}
	case []any:
		return text(e[0])
	}
	return fmt.Sprint(e)
}

func namespaces(f facts, h *lab.Host) error {
	out, err := h.Exec("ip", "netns", "list")
	if err != nil {
		return err
	}
	for line := range strings.Lines(out) {
		name := strings.Fields(line)[0]
		f.add("namespace %s", name)
		if err := addresses(f, h, name); err != nil {
			return err
		}
		if !strings.HasPrefix(name, "qrouter-") {
			continue
		}
		if err := routes(f, h, name); err != nil {
			return err
		}
		if err := translation(f, h, name); err != nil {
			return err
		}
		if err := counters(f, h, name); err != nil {
			return err
		}
	}
	return nil
}

// ofMetadata are the addresses of the metadata service, which may or may not be there.
var ofMetadata = netip.MustParsePrefix("169.254.0.0/16")

func addresses(f facts, h *lab.Host, namespace string) error {
	var links []struct {
		Name      string `json:"ifname"`
		Addresses []struct {
			Local string `json:"local"`
			Bits  int    `json:"prefixlen"`
		} `json:"addr_info"`
	}
	if err := query(h, &links, "ip -n "+namespace+" -j addr show"); err != nil {
		return err
	}
	for _, l := range links {
		for _, a := range l.Addresses {
			if p := netip.PrefixFrom(address(a.Local), a.Bits); l.Name != "lo" && !p.Addr().IsLinkLocalUnicast() && !ofMetadata.Contains(p.Addr()) {
				f.add("%s: %s has %s", namespace, l.Name, p)
			}
		}
	}
	return nil
}

func routes(f facts, h *lab.Host, namespace string) error {
	for _, family := range []string{"-4", "-6"} {
		var all []struct {
			To      string `json:"dst"`
			Gateway string `json:"gateway"`
		}
		if err := query(h, &all, "ip -n "+namespace+" -j "+family+" route show table all"); err != nil {
			return err
		}
		for _, r := range all {
			if r.Gateway != "" {
				f.add("%s: route %s via %s", namespace, r.To, r.Gateway)
			}
		}
	}
	return nil
}

// counters are those of metering.
func counters(f facts, h *lab.Host, namespace string) error {
	objects, err := nft(h, "ip netns exec "+namespace+" nft -j list counters")
	for _, o := range objects {
		if o.Counter != nil && o.Counter.Table == "neutrino-metering" {
			f.add("%s: counts %s", namespace, strings.TrimPrefix(o.Counter.Name, "label-"))
		}
	}
	return err
}

var sourceNAT = regexp.MustCompile(`iifname "qr-\*" snat to ([0-9.]+)`)

func translation(f facts, h *lab.Host, namespace string) error {
	objects, err := nft(h, "ip netns exec "+namespace+" nft -j list table ip neutrino")
	if err != nil {
		return err
	}
	for _, o := range objects {
		if o.Map == nil {
			continue
		}
		verb := map[string]string{"floating": "is", "fixed": "goes out as"}[o.Map.Name]
		for _, e := range o.Map.Elements {
			if pair, ok := e.([]any); ok && verb != "" {
				f.add("%s: %s %s %s", namespace, text(pair[0]), verb, text(pair[1]))
			}
		}
	}
	out, err := h.Exec("ip", "netns", "exec", namespace, "nft", "list", "table", "ip", "neutrino")
	for _, m := range sourceNAT.FindAllStringSubmatch(out, -1) {
		f.add("%s: snat to %s", namespace, m[1])
	}
	return err
}
