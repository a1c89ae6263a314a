package ovs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/go-logr/logr"
	"github.com/ovn-kubernetes/libovsdb/cache"
	"github.com/ovn-kubernetes/libovsdb/client"
	"github.com/ovn-kubernetes/libovsdb/model"
	"github.com/ovn-kubernetes/libovsdb/ovsdb"
)

// The rows of the database Open_vSwitch, as far as they are of use (ovs-vswitchd.conf.db(5)).

// System is the only row of its table.
type System struct {
	UUID          string   `ovsdb:"_uuid"`
	Bridges       []string `ovsdb:"bridges"`
	DatapathTypes []string `ovsdb:"datapath_types"`
	IfaceTypes    []string `ovsdb:"iface_types"`
	Version       *string  `ovsdb:"ovs_version"`
}

// Bridge is a bridge.
type Bridge struct {
	UUID         string            `ovsdb:"_uuid"`
	Name         string            `ovsdb:"name"`
	Ports        []string          `ovsdb:"ports"`
	DatapathType string            `ovsdb:"datapath_type"`
	FailMode     *string           `ovsdb:"fail_mode"`
	Protocols    []string          `ovsdb:"protocols"`
	ExternalIDs  map[string]string `ovsdb:"external_ids"`
}

// Port is a port of a bridge. Tag is its VLAN; nil: it carries all.
type Port struct {
	UUID        string            `ovsdb:"_uuid"`
	Name        string            `ovsdb:"name"`
	Interfaces  []string          `ovsdb:"interfaces"`
	Tag         *int              `ovsdb:"tag"`
	VLANMode    *string           `ovsdb:"vlan_mode"`
	Trunks      []int             `ovsdb:"trunks"`
	OtherConfig map[string]string `ovsdb:"other_config"`
	ExternalIDs map[string]string `ovsdb:"external_ids"`
}

// Interface is the device behind a port. OFPort is nil until ovs-vswitchd has it, and -1 if it cannot.
type Interface struct {
	UUID        string            `ovsdb:"_uuid"`
	Name        string            `ovsdb:"name"`
	Type        string            `ovsdb:"type"`
	OFPort      *int              `ovsdb:"ofport"`
	Options     map[string]string `ovsdb:"options"`
	ExternalIDs map[string]string `ovsdb:"external_ids"`
}

// Number is the interface's number in flows; 0: it has none.
func (i *Interface) Number() int {
	if i == nil || i.OFPort == nil || *i.OFPort < 1 {
		return 0
	}
	return *i.OFPort
}

// DB is the database of an Open vSwitch. It reconnects by itself.
type DB struct {
	client client.Client
	log    *slog.Logger
}

// Open connects to the database at an endpoint such as unix:/run/openvswitch/db.sock. changed is called whenever
// something changed in it; it must not block.
func Open(ctx context.Context, endpoint string, changed func(), log *slog.Logger) (*DB, error) {
	tables, err := model.NewClientDBModel("Open_vSwitch", map[string]model.Model{"Open_vSwitch": &System{}, "Bridge": &Bridge{},
		"Port": &Port{}, "Interface": &Interface{}})
	if err != nil {
		return nil, fmt.Errorf("OVSDB tables: %w", err)
	}
	messages := logr.FromSlogHandler(log.Handler())
	forever := backoff.NewExponentialBackOff(backoff.WithMaxInterval(2*time.Second), backoff.WithMaxElapsedTime(0))
	c, err := client.NewOVSDBClient(tables, client.WithEndpoint(endpoint), client.WithLogger(&messages), client.WithReconnect(10*time.Second, forever))
	if err != nil {
		return nil, fmt.Errorf("OVSDB at %s: %w", endpoint, err)
	}
	if err := c.Connect(ctx); err != nil {
		c.Close()
		return nil, fmt.Errorf("connect to OVSDB at %s: %w", endpoint, err)
	}
	c.Cache().AddEventHandler(&cache.EventHandlerFuncs{
		AddFunc:    func(string, model.Model) { changed() },
		UpdateFunc: func(string, model.Model, model.Model) { changed() },
		DeleteFunc: func(string, model.Model) { changed() },
	})
	// Without the names of columns all are sent, and updates of unknown ones are refused whole.
	var system System
	var br Bridge
	var port Port
	var iface Interface
	if _, err := c.Monitor(ctx, c.NewMonitor(
		client.WithTable(&system, &system.Bridges, &system.DatapathTypes, &system.IfaceTypes, &system.Version),
		client.WithTable(&br, &br.Name, &br.Ports, &br.DatapathType, &br.FailMode, &br.Protocols, &br.ExternalIDs),
		client.WithTable(&port, &port.Name, &port.Interfaces, &port.Tag, &port.VLANMode, &port.Trunks, &port.OtherConfig, &port.ExternalIDs),
		client.WithTable(&iface, &iface.Name, &iface.Type, &iface.OFPort, &iface.Options, &iface.ExternalIDs))); err != nil {
		c.Close()
		return nil, fmt.Errorf("monitor OVSDB at %s: %w", endpoint, err)
	}
	return &DB{client: c, log: log}, nil
}

// Close ends the connection.
func (d *DB) Close() { d.client.Close() }

// State is a picture of the database.
type State struct {
	System     *System
	Bridges    map[string]*Bridge    // by name
	Ports      map[string]*Port      // by name
	Interfaces map[string]*Interface // by the name of their port, whose first they are
	BridgeOf   map[string]string     // by the name of the port
}

// State reads the picture from memory.
func (d *DB) State(ctx context.Context) (*State, error) {
	var systems []*System
	var bridges []*Bridge
	var ports []*Port
	var interfaces []*Interface
	err := errors.Join(d.client.List(ctx, &systems), d.client.List(ctx, &bridges), d.client.List(ctx, &ports), d.client.List(ctx, &interfaces))
	if err != nil {
		return nil, fmt.Errorf("read OVSDB: %w", err)
	}
	if len(systems) != 1 {
		return nil, errors.New("read OVSDB: no row in Open_vSwitch")
	}
	s := &State{System: systems[0], Bridges: map[string]*Bridge{}, Ports: map[string]*Port{}, Interfaces: map[string]*Interface{},
		BridgeOf: map[string]string{}}
	byUUID, interfaceByUUID := map[string]*Port{}, map[string]*Interface{}
	for _, p := range ports {
		byUUID[p.UUID] = p
	}
	for _, i := range interfaces {
		interfaceByUUID[i.UUID] = i
	}
	for _, b := range bridges {
		s.Bridges[b.Name] = b
		for _, id := range b.Ports {
			p := byUUID[id]
			if p == nil || len(p.Interfaces) == 0 || interfaceByUUID[p.Interfaces[0]] == nil {
				continue // the rest comes with the next message
			}
			s.Ports[p.Name], s.Interfaces[p.Name], s.BridgeOf[p.Name] = p, interfaceByUUID[p.Interfaces[0]], b.Name
		}
	}
	return s, nil
}

// Settle waits until ovs-vswitchd has done all that the database asks for now. What is removed and added again without
// that in between stays as it was.
func (d *DB) Settle(ctx context.Context, s *State) error {
	row := []ovsdb.Condition{{Column: "_uuid", Function: ovsdb.ConditionEqual, Value: ovsdb.UUID{GoUUID: s.System.UUID}}}
	read := ovsdb.Operation{Op: ovsdb.OperationSelect, Table: "Open_vSwitch", Where: row, Columns: []string{"next_cfg", "cur_cfg"}}
	ask := ovsdb.Operation{Op: ovsdb.OperationMutate, Table: "Open_vSwitch", Where: row,
		Mutations: []ovsdb.Mutation{{Column: "next_cfg", Mutator: ovsdb.MutateOperationAdd, Value: 1}}}
	numbers := func(ops ...ovsdb.Operation) (next, current float64, err error) {
		results, err := d.client.Transact(ctx, ops...)
		if err == nil {
			_, err = ovsdb.CheckOperationResults(results, ops)
		}
		if err != nil {
			return 0, 0, fmt.Errorf("OVSDB: %w", err)
		}
		rows := results[len(ops)-1].Rows
		if len(rows) != 1 {
			return 0, 0, errors.New("OVSDB: no row in Open_vSwitch")
		}
		return number(rows[0]["next_cfg"]), number(rows[0]["cur_cfg"]), nil
	}
	wanted, _, err := numbers(ask, read)
	for err == nil {
		var now float64
		if _, now, err = numbers(read); err == nil && now >= wanted {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("ovs-vswitchd does not do what it is asked for: %w", ctx.Err())
		case <-time.After(5 * time.Millisecond):
		}
	}
	return err
}

func number(v any) float64 {
	switch n := v.(type) {
	case float64:
		return n
	case int:
		return float64(n)
	}
	return 0
}

// Transaction collects changes that are made together or not at all.
type Transaction struct {
	db    *DB
	state *State
	ops   []ovsdb.Operation
	errs  []error
	added map[string]string // names of rows by bridges that this transaction adds
	n     int
}

// Begin starts a transaction on top of a picture.
func (d *DB) Begin(s *State) *Transaction {
	return &Transaction{db: d, state: s, added: map[string]string{}}
}

func (t *Transaction) put(ops []ovsdb.Operation, err error) {
	t.ops, t.errs = append(t.ops, ops...), append(t.errs, err)
}

// create adds rows, of whatever tables.
func (t *Transaction) create(rows ...model.Model) {
	for _, row := range rows {
		t.put(t.db.client.Create(row))
	}
}

func (t *Transaction) name() string { t.n++; return fmt.Sprintf("row%d", t.n) }

// AddBridge adds a bridge with its own port, of the name that it has.
func (t *Transaction) AddBridge(b Bridge) {
	row, port, iface := t.name(), t.name(), t.name()
	b.UUID, b.Ports = row, []string{port}
	t.create(&Interface{UUID: iface, Name: b.Name, Type: "internal"}, &Port{UUID: port, Name: b.Name, Interfaces: []string{iface}}, &b)
	system := t.state.System
	t.put(t.db.client.Where(system).Mutate(system, model.Mutation{Field: &system.Bridges, Mutator: ovsdb.MutateOperationInsert, Value: []string{row}}))
	t.added[b.Name] = row
}

// AddPort adds a port with one interface to a bridge.
func (t *Transaction) AddPort(bridge string, p Port, i Interface) {
	p.UUID, i.UUID = t.name(), t.name()
	p.Interfaces = []string{i.UUID}
	t.create(&i, &p)
	if row := t.added[bridge]; row != "" {
		t.ops = append(t.ops, ovsdb.Operation{Op: ovsdb.OperationMutate, Table: "Bridge", Where: []ovsdb.Condition{{Column: "name",
			Function: ovsdb.ConditionEqual, Value: bridge}}, Mutations: []ovsdb.Mutation{{Column: "ports", Mutator: ovsdb.MutateOperationInsert,
			Value: ovsdb.OvsSet{GoSet: []any{ovsdb.UUID{GoUUID: p.UUID}}}}}})
		return
	}
	b := t.state.Bridges[bridge]
	if b == nil {
		t.errs = append(t.errs, fmt.Errorf("no bridge %s", bridge))
		return
	}
	t.put(t.db.client.Where(b).Mutate(b, model.Mutation{Field: &b.Ports, Mutator: ovsdb.MutateOperationInsert, Value: []string{p.UUID}}))
}

// RemovePort removes a port from its bridge.
func (t *Transaction) RemovePort(name string) {
	b, p := t.state.Bridges[t.state.BridgeOf[name]], t.state.Ports[name]
	if b == nil || p == nil {
		return
	}
	t.put(t.db.client.Where(b).Mutate(b, model.Mutation{Field: &b.Ports, Mutator: ovsdb.MutateOperationDelete, Value: []string{p.UUID}}))
}

// SetPort changes the VLAN of a port, and what we note of it; it does nothing if both are so already. The port gets no
// other VLAN: upstream's agents plug ports as trunks that carry nothing.
func (t *Transaction) SetPort(name string, tag int, note map[string]string) {
	p := t.state.Ports[name]
	if p == nil {
		return
	}
	noted := true
	for k, v := range note {
		noted = noted && p.OtherConfig[k] == v
	}
	if p.Tag != nil && *p.Tag == tag && p.VLANMode == nil && len(p.Trunks) == 0 && noted {
		return
	}
	config := map[string]string{}
	maps.Copy(config, p.OtherConfig)
	maps.Copy(config, note)
	changed := *p
	changed.Tag, changed.VLANMode, changed.Trunks, changed.OtherConfig = &tag, nil, nil, config
	t.put(t.db.client.Where(p).Update(&changed, &changed.Tag, &changed.VLANMode, &changed.Trunks, &changed.OtherConfig))
}

// SetOptions changes the options of an interface.
func (t *Transaction) SetOptions(name string, options map[string]string) {
	i := t.state.Interfaces[name]
	if i == nil {
		return
	}
	changed := *i
	changed.Options = options
	t.put(t.db.client.Where(i).Update(&changed, &changed.Options))
}

// SetProtocols changes the versions of OpenFlow that a bridge speaks.
func (t *Transaction) SetProtocols(bridge string, protocols ...string) {
	b := t.state.Bridges[bridge]
	if b == nil {
		return
	}
	have := slices.Sorted(slices.Values(b.Protocols))
	if slices.Equal(have, slices.Sorted(slices.Values(protocols))) {
		return
	}
	changed := *b
	changed.Protocols = protocols
	t.put(t.db.client.Where(b).Update(&changed, &changed.Protocols))
}

// Empty tells whether the transaction changes nothing.
func (t *Transaction) Empty() bool { return len(t.ops) == 0 && errors.Join(t.errs...) == nil }

// Commit carries out the transaction.
func (t *Transaction) Commit(ctx context.Context) error {
	if err := errors.Join(t.errs...); err != nil {
		return fmt.Errorf("OVSDB: %w", err)
	}
	if len(t.ops) == 0 {
		return nil
	}
	results, err := t.db.client.Transact(ctx, t.ops...)
	if err != nil {
		return fmt.Errorf("OVSDB transaction: %w", err)
	}
	if failed, err := ovsdb.CheckOperationResults(results, t.ops); err != nil {
		return fmt.Errorf("OVSDB transaction: %w: %v", err, failed)
	}
	return nil
}
