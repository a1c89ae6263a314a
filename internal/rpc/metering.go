package rpc

// Metering agent to server (upstream MeteringRpcCallbacks 1.0) and server to metering agent (MeteringAgentNotifyAPI 1.0).

// MeteringRule says which traffic a label counts. Addresses are those inside the router: a fixed address, never the
// floating IP before it.
type MeteringRule struct {
	ID          string  `json:"id"`
	LabelID     string  `json:"metering_label_id"`
	Direction   string  `json:"direction"`             // ingress comes from outside, egress goes there
	Remote      *string `json:"remote_ip_prefix"`      // the side of the router's networks
	Source      *string `json:"source_ip_prefix"`      // as in the packet
	Destination *string `json:"destination_ip_prefix"` // as in the packet
	Excluded    bool    `json:"excluded"`
}

// MeteringLabel is a label of a router.
type MeteringLabel struct {
	ID     string         `json:"id"`
	Name   string         `json:"name,omitempty"`
	Shared bool           `json:"shared"`
	Rules  []MeteringRule `json:"rules"`
	Rule   *MeteringRule  `json:"rule,omitempty"` // the one that came or goes, in messages about rules
}

// MeteredRouter is a router with the labels that count its traffic.
type MeteredRouter struct {
	ID            string          `json:"id"`
	Name          string          `json:"name"`
	ProjectID     string          `json:"project_id"`
	AdminStateUp  bool            `json:"admin_state_up"`
	Status        string          `json:"status"`
	GatewayPortID *string         `json:"gw_port_id"`
	Distributed   bool            `json:"distributed"`
	Labels        []MeteringLabel `json:"_metering_labels"`
}

// MeteringHostArgs name the host of a metering agent.
type MeteringHostArgs struct {
	Host string `json:"host"`
}

// MeteredRoutersArgs are routers whose labels changed.
type MeteredRoutersArgs struct {
	Routers []MeteredRouter `json:"routers"`
}

var (
	// GetSyncDataMetering returns the routers that the L3 agent of a host has and that labels count.
	GetSyncDataMetering = Method[MeteringHostArgs, []MeteredRouter]{TopicMeteringPlugin, "get_sync_data_metering", "1.0"}

	AddMeteringLabel         = Method[MeteredRoutersArgs, None]{TopicMeteringAgent, "add_metering_label", "1.0"}
	RemoveMeteringLabel      = Method[MeteredRoutersArgs, None]{TopicMeteringAgent, "remove_metering_label", "1.0"}
	AddMeteringLabelRule     = Method[MeteredRoutersArgs, None]{TopicMeteringAgent, "add_metering_label_rule", "1.0"}
	RemoveMeteringLabelRule  = Method[MeteredRoutersArgs, None]{TopicMeteringAgent, "remove_metering_label_rule", "1.0"}
	UpdateMeteringLabelRules = Method[MeteredRoutersArgs, None]{TopicMeteringAgent, "update_metering_label_rules", "1.0"}
	MeteredRoutersUpdated    = Method[MeteredRoutersArgs, None]{TopicMeteringAgent, "routers_updated", "1.0"}
	MeteredRouterDeleted     = Method[RouterIDArgs, None]{TopicMeteringAgent, "router_deleted", "1.0"}
)
