package qos

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"neutrino/internal/identity"
	"neutrino/internal/model"
	"neutrino/internal/resource"
	"neutrino/internal/store"

	"github.com/google/uuid"
)

// Resource classes of Placement for the directions of rules (os_resource_classes).
var (
	bandwidthClasses = map[string]string{"egress": "NET_BW_EGR_KILOBIT_PER_SEC", "ingress": "NET_BW_IGR_KILOBIT_PER_SEC"}
	packetClasses    = map[string]string{"egress": "NET_PACKET_RATE_EGR_KILOPACKET_PER_SEC", "ingress": "NET_PACKET_RATE_IGR_KILOPACKET_PER_SEC",
		"any": "NET_PACKET_RATE_KILOPACKET_PER_SEC"}
)

// WithRequests adds to the logic of ports what they need of Placement: a group of resources for the rules of each kind
// that guarantees something (upstream _extend_port_resource_request).
func (s *Service) WithRequests(ports resource.Logic[model.Port]) resource.Logic[model.Port] {
	load := ports.Load
	ports.Load = func(tx *store.Tx, caller *identity.Caller, set resource.Set, list []*model.Port) error {
		if load != nil {
			if err := load(tx, caller, set, list); err != nil {
				return err
			}
		}
		if set&s.catalog.Ports.Bit("resource_request") == 0 {
			return nil
		}
		return loadRequests(tx, list)
	}
	return ports
}

func loadRequests(tx *store.Tx, ports []*model.Port) error {
	var policies, networks []string
	for _, p := range ports {
		p.ResourceRequest = nil
		if id := policyOf(p); id != "" {
			policies, networks = append(policies, id), append(networks, p.NetworkID)
		}
	}
	if len(policies) == 0 {
		return nil
	}
	kinds := slices.DeleteFunc(model.QosRuleKinds(), func(k *model.QosRuleKind) bool { return !strings.HasPrefix(k.Type, "minimum_") })
	rules, err := readRules(tx, kinds, unique(policies)...)
	if err != nil || len(rules) == 0 {
		return err
	}
	physical, err := physicalNetworks(tx, unique(networks))
	if err != nil {
		return err
	}
	for _, p := range ports {
		p.ResourceRequest = request(p, rules[policyOf(p)], physical)
	}
	return nil
}

// policyOf is the policy that counts for a port: its own or else its network's.
func policyOf(p *model.Port) string {
	for _, id := range []*string{p.QosPolicyID, p.QosNetworkPolicyID} {
		if id != nil {
			return *id
		}
	}
	return ""
}

func unique(ids []string) []string {
	slices.Sort(ids)
	return slices.Compact(ids)
}

// physicalNetworks finds the physical network of the first segment of networks; nil for overlays.
func physicalNetworks(tx *store.Tx, networks []string) (map[string]*string, error) {
	found := map[string]*string{}
	for some := range slices.Chunk(networks, chunk) {
		in := resource.In("network_id", some)
		rows, err := tx.Query("SELECT network_id, physical_network FROM networksegments WHERE "+in.SQL+" ORDER BY segment_index DESC", in.Args...)
		_, err = store.All(rows, err, func(rows *store.Rows) (struct{}, error) {
			var network string
			var physical *string
			err := rows.Scan(&network, &physical)
			found[network] = physical
			return struct{}{}, err
		})
		if err != nil {
			return nil, fmt.Errorf("read segments of networks: %w", err)
		}
	}
	return found, nil
}

// request makes the request of a port with some rules; nil if it needs nothing.
func request(p *model.Port, rules []model.QosRule, physical map[string]*string) *model.ResourceRequest {
	r := &model.ResourceRequest{}
	vnic := trait("CUSTOM_VNIC_TYPE_" + p.VNICType)
	if segment, ok := physical[p.NetworkID]; ok {
		network := "CUSTOM_NETWORK_TUNNEL_PROVIDER"
		if segment != nil && *segment != "" {
			network = trait("CUSTOM_PHYSNET_" + *segment)
		}
		add(r, p, rules, "minimum_bandwidth", bandwidthClasses, network, vnic)
	}
	add(r, p, rules, "minimum_packet_rate", packetClasses, vnic)
	if len(r.RequestGroups) == 0 {
		return nil
	}
	return r
}

// add adds the group for the rules of a kind, if there are any. Its id is made from the port and the rules, so that it
// stays the same as long as they do (neutron_lib/placement/utils.py, resource_request_group_uuid).
func add(r *model.ResourceRequest, p *model.Port, rules []model.QosRule, kind string, classes map[string]string, traits ...string) {
	resources := map[string]int{}
	var ids []string
	for _, x := range rules {
		if x.Kind.Type == kind {
			resources[classes[x.Direction]] = x.Value
			ids = append(ids, x.ID)
		}
	}
	port, err := uuid.Parse(p.ID)
	if len(ids) == 0 || err != nil {
		return
	}
	id := uuid.NewSHA1(port, []byte(strings.Join(ids, ","))).String()
	r.RequestGroups = append(r.RequestGroups, model.RequestGroup{ID: id, Required: traits, Resources: resources})
	r.SameSubtree = append(r.SameSubtree, id)
}

var notInTraits = regexp.MustCompile("[^0-9A-Z_]+")

// trait is a name as Placement takes it (os_traits.normalize_name).
func trait(name string) string { return notInTraits.ReplaceAllString(strings.ToUpper(name), "_") }
