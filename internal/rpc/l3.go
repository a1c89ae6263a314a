package rpc

import "encoding/json"

// L3 agent to server (upstream L3RpcCallback 1.13) and server to L3 agent (L3AgentNotifyAPI 1.4).

// GatewayInfo is external_gateway_info.
type GatewayInfo struct {
	NetworkID        string    `json:"network_id"`
	EnableSNAT       bool      `json:"enable_snat"`
	ExternalFixedIPs []FixedIP `json:"external_fixed_ips"`
}

// FloatingIP is the floating IP dictionary in router data.
type FloatingIP struct {
	ID                string  `json:"id"`
	FloatingNetworkID string  `json:"floating_network_id"`
	FloatingIPAddress string  `json:"floating_ip_address"`
	FixedIPAddress    *string `json:"fixed_ip_address"`
	PortID            *string `json:"port_id"`
	RouterID          *string `json:"router_id"`
	Status            string  `json:"status"`
	FixedIPScope      *string `json:"fixed_ip_address_scope"` // address scope of the fixed address, nil = none
}

// Router is the router dictionary of sync_routers.
type Router struct {
	ID           string       `json:"id"`
	Name         string       `json:"name"`
	ProjectID    string       `json:"project_id"`
	AdminStateUp bool         `json:"admin_state_up"`
	Status       string       `json:"status"`
	Distributed  bool         `json:"distributed"`
	HA           bool         `json:"ha"`
	EnableSNAT   bool         `json:"enable_snat"`
	Routes       []Route      `json:"routes"`
	GatewayInfo  *GatewayInfo `json:"external_gateway_info"`
	GatewayPort  *Port        `json:"gw_port,omitempty"`
	Interfaces   []Port       `json:"_interfaces,omitempty"`
	FloatingIPs  []FloatingIP `json:"_floatingips,omitempty"`
	Revision     int64        `json:"revision_number"`
}

// RouterIDsArgs ask which routers a host has.
type RouterIDsArgs struct {
	Host string `json:"host"`
}

// SyncRoutersArgs ask for routers of a host; nil RouterIDs means all.
type SyncRoutersArgs struct {
	Host      string   `json:"host"`
	RouterIDs []string `json:"router_ids,omitempty"`
	// FloatingIPs are the only floating IPs that the agent wants to be told of; without, all. Upstream's servers ignore it.
	FloatingIPs []string `json:"floatingip_ids,omitempty"`
}

// FloatingIPStatusArgs report the state of floating IPs: ACTIVE, DOWN or ERROR by id.
type FloatingIPStatusArgs struct {
	RouterID string            `json:"router_id"`
	Statuses map[string]string `json:"fip_statuses"`
}

// RoutersArgs name routers.
type RoutersArgs struct {
	Routers []string
	// FloatingIPs are by router the only floating IPs that changed; nothing else did. A router without may have changed
	// altogether. Upstream's servers do not tell that.
	FloatingIPs map[string][]string
}

// routerRef is the long form of a router's id in RoutersArgs. Upstream's agents take it and read the id.
type routerRef struct {
	ID          string   `json:"id"`
	FloatingIPs []string `json:"floatingip_ids,omitempty"`
}

// MarshalJSON writes ids alone unless there is more to tell: upstream's agents want all of a list to be alike.
func (a RoutersArgs) MarshalJSON() ([]byte, error) {
	if len(a.FloatingIPs) == 0 {
		return json.Marshal(map[string][]string{"routers": a.Routers})
	}
	refs := make([]routerRef, len(a.Routers))
	for i, id := range a.Routers {
		refs[i] = routerRef{id, a.FloatingIPs[id]}
	}
	return json.Marshal(map[string][]routerRef{"routers": refs})
}

// UnmarshalJSON reads both forms.
func (a *RoutersArgs) UnmarshalJSON(text []byte) error {
	var args struct{ Routers []json.RawMessage }
	if err := json.Unmarshal(text, &args); err != nil {
		return err
	}
	*a = RoutersArgs{}
	for _, raw := range args.Routers {
		var r routerRef
		if json.Unmarshal(raw, &r.ID) != nil {
			if err := json.Unmarshal(raw, &r); err != nil {
				return err
			}
		}
		a.Routers = append(a.Routers, r.ID)
		if len(r.FloatingIPs) > 0 {
			if a.FloatingIPs == nil {
				a.FloatingIPs = map[string][]string{}
			}
			a.FloatingIPs[r.ID] = r.FloatingIPs
		}
	}
	return nil
}

// RouterIDArgs name one router.
type RouterIDArgs struct {
	RouterID string `json:"router_id"`
}

// RouterPayload is router_removed_from_agent's argument.
type RouterPayload struct {
	Payload RouterIDArgs `json:"payload"`
}

// RoutersPayload is router_added_to_agent's argument.
type RoutersPayload struct {
	Payload []string `json:"payload"`
}

var (
	// GetRouterIDs returns the routers of a host (scheduling unhosted ones to it).
	GetRouterIDs = Method[RouterIDsArgs, []string]{TopicL3Plugin, "get_router_ids", "1.10"}
	// SyncRouters returns routers with everything their namespaces need, and binds their ports to the host.
	SyncRouters = Method[SyncRoutersArgs, []Router]{TopicL3Plugin, "sync_routers", "1.0"}
	// UpdateFloatingIPStatuses reports floating IPs of one router.
	UpdateFloatingIPStatuses = Method[FloatingIPStatusArgs, None]{TopicL3Plugin, "update_floatingip_statuses", "1.1"}
	// GetServicePluginList names the server's service plug-ins.
	GetServicePluginList = Method[None, []string]{TopicL3Plugin, "get_service_plugin_list", "1.3"}

	RoutersUpdated         = Method[RoutersArgs, None]{TopicL3Agent, "routers_updated", "1.1"}
	RouterDeleted          = Method[RouterIDArgs, None]{TopicL3Agent, "router_deleted", "1.0"}
	RouterRemovedFromAgent = Method[RouterPayload, None]{TopicL3Agent, "router_removed_from_agent", "1.0"}
	RouterAddedToAgent     = Method[RoutersPayload, None]{TopicL3Agent, "router_added_to_agent", "1.0"}
	L3NetworkUpdate        = Method[NetworkArgs, None]{TopicL3Agent, "network_update", "1.4"}
	L3AgentUpdated         = Method[AgentUpdatedArgs, None]{TopicL3Agent, "agent_updated", "1.0"}
)
