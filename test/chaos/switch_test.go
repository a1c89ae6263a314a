package chaos

import (
	"fmt"
	"net/netip"
	"regexp"
	"strconv"
	"strings"

	"neutrino/test/lab"
)

// vswitch is what a host's Open vSwitch has, with names instead of the numbers that the host chose: of ports their ids, of
// local VLANs their networks. What refers to a number that means nothing is a fact that nobody wants.
type vswitch struct {
	host      *lab.Host
	ports     map[string]map[int]string // names by bridge and number
	ids       map[string]string         // of ports, by name
	endpoints map[string]string         // of tunnels, by name
	vlans     map[int]string            // networks
	networks  map[string]string         // of ports, by id
}

// Where a userspace datapath has hosts' bridges.
const (
	integration = "br-int"
	tunnels     = "br-tun"
	external    = "br-ex"
)

// ovsRows are rows of the database; maps and sets are Go's.
func ovsRows(h *lab.Host, table string, columns ...string) ([]map[string]any, error) {
	var all struct {
		Headings []string
		Data     [][]any
	}
	err := query(h, &all, "ovs-vsctl --timeout=10 --format=json --columns="+strings.Join(columns, ",")+" list "+table)
	var rows []map[string]any
	for _, data := range all.Data {
		row := map[string]any{}
		for i, name := range all.Headings {
			row[name] = data[i]
		}
		rows = append(rows, row)
	}
	return rows, err
}

// entries are those of a map in OVSDB's JSON: ["map", [[key, value], …]].
func entries(value any) map[string]string {
	out := map[string]string{}
	pair, _ := value.([]any)
	if len(pair) != 2 || pair[0] != "map" {
		return out
	}
	list, _ := pair[1].([]any)
	for _, e := range list {
		if kv, ok := e.([]any); ok && len(kv) == 2 {
			out[fmt.Sprint(kv[0])] = fmt.Sprint(kv[1])
		}
	}
	return out
}

// deadVLAN is upstream's for ports that reach nobody.
const deadVLAN = 4095

// readSwitch reads the database, and adds facts of ports.
func readSwitch(f facts, h *lab.Host) (*vswitch, error) {
	v := &vswitch{host: h, ports: map[string]map[int]string{}, ids: map[string]string{}, endpoints: map[string]string{}, vlans: map[int]string{},
		networks: map[string]string{}}
	bridgeOf := map[string]string{}
	for _, bridge := range []string{integration, tunnels, external} {
		out, err := h.Exec("ovs-vsctl", "--timeout=10", "list-ports", bridge)
		if err != nil {
			return nil, err
		}
		v.ports[bridge] = map[int]string{}
		for _, name := range strings.Fields(out) {
			bridgeOf[name] = bridge
		}
	}
	interfaces, err := ovsRows(h, "Interface", "name", "ofport", "type", "options", "external_ids")
	if err != nil {
		return nil, err
	}
	for _, i := range interfaces {
		name := fmt.Sprint(i["name"])
		if n, ok := i["ofport"].(float64); ok && n > 0 && bridgeOf[name] != "" {
			v.ports[bridgeOf[name]][int(n)] = name
		}
		if id := entries(i["external_ids"])["iface-id"]; id != "" && bridgeOf[name] == integration {
			v.ids[name] = id
		}
		if to := entries(i["options"])["remote_ip"]; to != "" {
			v.endpoints[name] = to
		}
	}
	rows, err := ovsRows(h, "Port", "name", "tag", "other_config")
	for _, dead := range []bool{false, true} {
		for _, row := range rows {
			if tag, _ := row["tag"].(float64); (int(tag) == deadVLAN) == dead {
				v.port(f, fmt.Sprint(row["name"]), row["tag"], entries(row["other_config"]))
			}
		}
	}
	return v, err
}

// port notes the local VLAN of a port, which must be that of one network only. A dead port may keep the VLAN that its network had when
// it lived, and another network may have that by now.
func (v *vswitch) port(f facts, name string, tag any, note map[string]string) {
	id := v.ids[name]
	if id == "" {
		return
	}
	vlan, _ := strconv.Atoi(note["tag"])
	network := note["net_uuid"]
	v.networks[id] = network
	other := v.vlans[vlan]
	if n, _ := tag.(float64); int(n) == deadVLAN && other != "" && other != network {
		f.add("port %s dead", id)
		return
	}
	if other != "" && other != network {
		f.add("VLAN %d is that of %s and of %s", vlan, other, network)
	}
	for n, other := range v.vlans {
		if other == network && n != vlan {
			f.add("network %s has VLANs %d and %d", network, n, vlan)
		}
	}
	v.vlans[vlan] = network
	switch n, _ := tag.(float64); int(n) {
	case vlan:
		f.add("port %s in %s", id, network)
	case deadVLAN:
		f.add("port %s dead", id)
	default:
		f.add("port %s in VLAN %v instead of %d", id, tag, vlan)
	}
}

// flow is one of `ovs-ofctl dump-flows`.
type flow struct {
	table, priority int
	match           map[string]string // "tcp": "" for words
	actions         string
	text            string // without the cookie
}

var flowLine = regexp.MustCompile(`^cookie=0x([0-9a-f]+), (?:table=(\d+), )?(?:hard_timeout=\d+, )?priority=(\d+)(\S*) actions=(.*)$`)

// flowsOf reads a bridge's flows, without those that it learned, which come and go by themselves.
func flowsOf(h *lab.Host, bridge string) (all []flow, err error) {
	out, err := h.Exec("ovs-ofctl", "-O", "OpenFlow14", "--no-stats", "dump-flows", bridge)
	for line := range strings.Lines(out) {
		line = strings.TrimSpace(line)
		m := flowLine.FindStringSubmatch(line)
		if m == nil || strings.Contains(line, "hard_timeout=300, priority=1,vlan_tci") {
			continue
		}
		x := flow{match: map[string]string{}, actions: m[5], text: line[strings.Index(line, ", ")+2:]}
		x.table, _ = strconv.Atoi(m[2])
		x.priority, _ = strconv.Atoi(m[3])
		for _, word := range strings.Split(strings.Trim(m[4], ","), ",") {
			if key, value, _ := strings.Cut(word, "="); key != "" {
				x.match[key] = value
			}
		}
		all = append(all, x)
	}
	return all, err
}

// number reads a match of decimal or hexadecimal digits; 0: there is none.
func (x flow) number(key string) int {
	n, _ := strconv.ParseInt(x.match[key], 0, 64)
	return int(n)
}

var (
	setVLAN   = regexp.MustCompile(`set_field:(\d+)->vlan_vid`)
	setTunnel = regexp.MustCompile(`set_field:(0x[0-9a-f]+)->tun_id`)
	setSource = regexp.MustCompile(`set_field:([0-9a-f:]{17})->eth_src`)
	outputs   = regexp.MustCompile(`output:(\d+)`)
)

// vlanOf is what an action puts into the VLAN field; there bit 12 says that there is one.
func (x flow) vlanOf() int {
	if m := setVLAN.FindStringSubmatch(x.actions); m != nil {
		n, _ := strconv.Atoi(m[1])
		return n &^ 0x1000
	}
	return 0
}

// switches are the facts about a host with Open vSwitch.
func (w *world) switches(f facts, h *lab.Host) error {
	v, err := readSwitch(f, h)
	if err != nil {
		return err
	}
	for bridge, read := range map[string]func(facts, flow) bool{integration: v.readIntegration, tunnels: v.readTunnels, external: v.readExternal} {
		flows, err := flowsOf(h, bridge)
		if err != nil {
			return err
		}
		rules := newRuleBook(v)
		for _, x := range flows {
			if w.baseFlows[h][bridge+" "+x.text] || bridge == integration && rules.read(x) || read(f, x) {
				continue
			}
			f.add("flow of nobody in %s: %s", bridge, x.text)
		}
		for base := range w.baseFlows[h] {
			if strings.HasPrefix(base, bridge+" ") && !hasText(flows, strings.TrimPrefix(base, bridge+" ")) {
				f.add("flow missing: %s", base)
			}
		}
		rules.facts(f)
	}
	return nil
}

func hasText(flows []flow, text string) bool {
	for _, x := range flows {
		if x.text == text {
			return true
		}
	}
	return false
}

// rememberFlows notes those that there are before there is a port.
func (w *world) rememberFlows() {
	w.t.Helper()
	w.baseFlows = map[*lab.Host]map[string]bool{}
	for _, h := range w.Hosts() {
		w.baseFlows[h] = map[string]bool{}
		for _, bridge := range []string{integration, tunnels, external} {
			flows, err := flowsOf(h, bridge)
			if err != nil {
				w.t.Fatal(err)
			}
			for _, x := range flows {
				w.baseFlows[h][bridge+" "+x.text] = true
			}
		}
	}
}

// portNumbered is the id of a port of the integration bridge; "" if there is none with the number.
func (v *vswitch) portNumbered(n int) string { return v.ids[v.ports[integration][n]] }

// readIntegration takes a flow that is a port's or a network's, and false if it is nobody's.
func (v *vswitch) readIntegration(f facts, x flow) bool {
	id := v.portNumbered(max(x.number("reg5"), x.number("in_port")))
	switch {
	case x.table == 0 && x.priority == 3: // from outside
		network := v.vlans[x.vlanOf()]
		f.add("from outside: tag %d is %s", x.number("dl_vlan"), network)
		return network != ""
	case x.table == 60 && x.priority == 90, x.table == 73 && x.priority == 100:
		return v.readReceiver(f, x)
	case x.table == 73 && x.priority == 101: // of a stateless port
		return v.vlans[x.number("reg6")] != ""
	case id == "":
		return false
	case x.table == 60:
		f.add("port %s %s", id, map[bool]string{true: "filtered", false: "open"}[strings.HasSuffix(x.actions, "resubmit(,71)")])
	case x.table == 71:
		v.readSender(f, id, x)
	}
	zone := x.number("ct_zone")
	return zone == 0 || v.vlans[zone] == v.networks[id]
}

var setPort = regexp.MustCompile(`set_field:(0x[0-9a-f]+)->reg5`)

// readReceiver is about the MAC addresses by which a port is reached.
func (v *vswitch) readReceiver(f facts, x flow) bool {
	vlan := max(x.number("dl_vlan"), x.number("reg6"))
	m := setPort.FindStringSubmatch(x.actions)
	if m == nil {
		return false
	}
	n, _ := strconv.ParseInt(m[1], 0, 32)
	id := v.portNumbered(int(n))
	f.add("port %s is reached by %s in %s, table %d", id, x.match["dl_dst"], v.vlans[vlan], x.table)
	return id != "" && v.vlans[vlan] != ""
}

// readSender is about what a port may use as its own.
func (v *vswitch) readSender(f facts, id string, x flow) {
	mac, has := x.match["dl_src"], func(word string) bool { _, ok := x.match[word]; return ok }
	source := x.match["nw_src"] + x.match["ipv6_src"]
	switch {
	case x.priority == 95 && has("arp"):
		f.add("port %s may claim %s for %s", id, prefix(x.match["arp_spa"]), mac)
	case x.priority == 95 && x.match["icmp_type"] == "136":
		f.add("port %s may advertise %s", id, prefix(x.match["nd_target"]))
	case x.priority == 65:
		f.add("port %s may send from %s %s", id, mac, prefix(source))
	}
}

// readTunnels takes flows of the tunnel bridge. The facts are those of a bridge's forwarding entries.
func (v *vswitch) readTunnels(f facts, x flow) bool {
	network := v.vlans[x.number("dl_vlan")]
	tunnel := 0
	if m := setTunnel.FindStringSubmatch(x.actions); m != nil {
		n, _ := strconv.ParseInt(m[1], 0, 32)
		tunnel = int(n)
	}
	switch {
	case x.table == 0:
		return v.endpoints[v.ports[tunnels][x.number("in_port")]] != ""
	case x.table == 4:
		network = v.vlans[x.vlanOf()]
		f.add("tunnel %d is %s", x.number("tun_id"), network)
	case network == "":
	case x.table == 20 || x.table == 22:
		mac := x.match["dl_dst"]
		if x.table == 22 {
			mac = "00:00:00:00:00:00"
		}
		for _, m := range outputs.FindAllStringSubmatch(x.actions, -1) {
			n, _ := strconv.Atoi(m[1])
			f.add("forward vxlan-%d %s to %s", tunnel, mac, v.endpoints[v.ports[tunnels][n]])
		}
	case x.table == 21 && x.match["icmp_type"] == "136": // completes the answer of the other flow
	case x.table == 21:
		if m := setSource.FindStringSubmatch(x.actions); m != nil {
			f.add("neighbour %s %s %s", named("brq", network), x.match["arp_tpa"]+x.match["nd_target"], m[1])
		}
	default:
		return false
	}
	return network != ""
}

// readExternal takes flows of a physical network's bridge.
func (v *vswitch) readExternal(f facts, x flow) bool {
	network := v.vlans[x.number("dl_vlan")]
	f.add("to outside: %s has tag %d", network, x.vlanOf())
	return network != "" && x.priority == 4
}

// wantSwitch are the facts about Open vSwitch that the API implies for a host.
func (w *world) wantSwitch(f facts, s *snapshot, h *lab.Host) {
	for _, p := range w.portsOn(s, h) {
		n := s.networks[p.network]
		switch n.kind {
		case "vxlan":
			f.add("tunnel %d is %s", n.segment, n.id)
			w.wantForwarding(f, s, n, h)
		case "flat", "vlan":
			f.add("from outside: tag %d is %s", n.segment, n.id)
			f.add("to outside: %s has tag %d", n.id, n.segment)
		}
		if !p.up {
			f.add("port %s dead", p.id)
			continue
		}
		f.add("port %s in %s", p.id, n.id)
		if !p.security || service(p) {
			f.add("port %s open", p.id)
			continue
		}
		f.add("port %s filtered", p.id)
		s.wantSender(f, p)
		s.wantRules(f, p)
	}
}

func (s *snapshot) wantSender(f facts, p port) {
	for _, table := range []int{60, 73} {
		f.add("port %s is reached by %s in %s, table %d", p.id, p.mac, p.network, table)
	}
	sources, six := s.sources(p), false
	for _, x := range sources {
		six = six || x.Addr().Is6()
	}
	if six {
		sources = append(sources, single(linkLocal(p.mac)))
	}
	for _, x := range sources {
		f.add("port %s may send from %s %s", p.id, p.mac, x)
		if x.Addr().Is4() {
			f.add("port %s may claim %s for %s", p.id, x, p.mac)
		} else {
			f.add("port %s may advertise %s", p.id, x)
		}
	}
}

// anywhere is what a rule without a remote prefix is about.
var anywhere = netip.Prefix{}
