package dhcp

import (
	"context"
	"errors"
	"maps"
	"reflect"
	"slices"
	"time"

	"neutrino/internal/agent/records"
	"neutrino/internal/linux/memory"
	"neutrino/internal/rpc"
)

// record is what the disk has of a network: first the network without its ports, then ports, then whatever changed, each by itself.
type record struct {
	Network *rpc.DHCPNetwork `json:"network,omitempty"`
	Port    *rpc.Port        `json:"port,omitempty"`
	Gone    string           `json:"gone,omitempty"` // the id of a port
}

// recorded is what the records of a network hold.
type recorded struct {
	network *network
	values  int // 0: nothing, or what cannot be added to
}

// crowded is how many more records than twice its ports a network has before they are written anew.
const crowded = 100

// record notes what changed of the network. A disk that takes nothing keeps nobody from getting an address.
func (a *Agent) record(s *service, n *network, changed map[string]*rpc.Port) {
	if a.cfg.Records == "" {
		return
	}
	was := s.recorded
	var more []record
	if was.values == 0 || !reflect.DeepEqual(was.network.DHCPNetwork, n.DHCPNetwork) {
		more = append(more, record{Network: &n.DHCPNetwork})
	}
	for id, p := range changed {
		if p == nil {
			more = append(more, record{Gone: id})
		} else {
			more = append(more, record{Port: p})
		}
	}
	s.recorded = recorded{n, was.values + len(more)}
	if was.values > 0 && s.recorded.values <= 2*len(s.served)+crowded && records.Append(a.cfg.Records, s.id, more...) == nil {
		return
	}
	if err := a.recordAll(s); err != nil {
		s.recorded.values = 0
		a.log.Warn("what is known of a network is not on disk; the agent will not serve it if it is started while no server is there",
			"network", s.id, "error", err)
	}
}

func (a *Agent) recordAll(s *service) error {
	all := []record{{Network: &s.recorded.network.DHCPNetwork}}
	for _, is := range s.served {
		all = append(all, record{Port: is.port})
	}
	s.recorded.values = len(all)
	return records.Write(a.cfg.Records, s.id, all...)
}

// recall serves what was served when the records were written, where the namespace is still there, until the server says what
// there is now. The kernel stays as it is.
func (a *Agent) recall(ctx context.Context) {
	start := time.Now()
	ids, err := a.cfg.Records.IDs()
	if err != nil {
		a.log.Warn("nothing is served before the server answers", "error", err)
	}
	if len(ids) == 0 {
		return
	}
	others := predecessors()
	count := 0
	for _, id := range ids {
		if !a.exists(id) || len(others[id]) > 0 {
			continue
		}
		if err := a.recallNetwork(ctx, a.service(id)); err != nil {
			a.log.Info("a network is not served before the server answers", "network", id, "error", err)
			continue
		}
		count++
	}
	if err := memory.Release(); err != nil {
		a.log.Debug("memory is not given back", "error", err)
	}
	a.log.Info("networks are served as they were until the server answers", "count", count, "took", time.Since(start))
}

// errIncomplete says that records do not describe a network that was served from this host.
var errIncomplete = errors.New("its records are incomplete")

func (a *Agent) recallNetwork(ctx context.Context, s *service) error {
	n, err := a.readRecords(s)
	if err != nil {
		return err
	}
	own := n.port(rpc.DHCPDeviceID(a.cfg.Host, n.ID))
	if own == nil || !n.served() {
		return errIncomplete
	}
	withMetadata := a.cfg.Metadata != nil && n.servesMetadata(&a.cfg)
	if s.device, err = newDevice(n, own, withMetadata, a.cfg.Plug); err != nil {
		return err
	}
	s.translate(a.translator, maps.Clone(n.ports.byID))
	if err = a.answer(ctx, s, n, own, withMetadata); err != nil {
		err = errors.Join(err, s.stop())
	}
	// When the server has told of the network the kernel is looked at, and the ports are reported.
	s.device, s.pending = device{}, nil
	return err
}

// readRecords makes the network of its records. Those that are damaged are written anew when the network is served.
func (a *Agent) readRecords(s *service) (*network, error) {
	var info rpc.DHCPNetwork
	ports, values := map[string]rpc.Port{}, 0
	err := records.Read(a.cfg.Records, s.id, func(r record) {
		values++
		switch {
		case r.Network != nil:
			info = *r.Network
		case r.Port != nil:
			ports[r.Port.ID] = *r.Port
		default:
			delete(ports, r.Gone)
		}
	})
	if info.ID != s.id {
		return nil, errors.Join(err, errIncomplete)
	}
	if err != nil {
		a.log.Warn("the last changes of a network are not known", "network", s.id, "error", err)
		values = 0
	}
	info.Ports = slices.Collect(maps.Values(ports))
	repeated{}.compact(&info)
	n := newNetwork(info, nil)
	s.recorded = recorded{n, values}
	return n, nil
}
