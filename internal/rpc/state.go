package rpc

// AgentState is what an agent says of itself (upstream PluginReportStateAPI).
type AgentState struct {
	Binary           string            `json:"binary"`
	Host             string            `json:"host"`
	AgentType        string            `json:"agent_type"`
	Topic            string            `json:"topic"`
	AvailabilityZone string            `json:"availability_zone,omitempty"`
	Configurations   map[string]any    `json:"configurations"`
	ResourceVersions map[string]string `json:"resource_versions,omitempty"`
	StartFlag        bool              `json:"start_flag,omitempty"` // first report of this process only
	UUID             string            `json:"uuid,omitempty"`
}

// Agent types.
const (
	AgentTypeLinuxBridge = "Linux bridge agent"
	AgentTypeOpenVSwitch = "Open vSwitch agent"
	AgentTypeDHCP        = "DHCP agent"
	AgentTypeL3          = "L3 agent"
	AgentTypeMetadata    = "Metadata agent"
	AgentTypeMetering    = "Metering agent"
)

// Answers of ReportState.
const (
	AgentNew     = "new"     // the server did not know the agent: resync
	AgentAlive   = "alive"   // as usual
	AgentRevived = "revived" // the server thought it was dead: resync
)

// ReportStateArgs are the arguments of ReportState.
type ReportStateArgs struct {
	AgentState struct {
		AgentState AgentState `json:"agent_state"`
	} `json:"agent_state"`
	Time string `json:"time"` // TimeFormat, UTC
}

// TimeFormat is how times of day travel in report_state.
const TimeFormat = "2006-01-02T15:04:05.000000"

// ReportState tells that the agent lives; the answer is AgentNew, AgentAlive or AgentRevived.
var ReportState = Method[ReportStateArgs, string]{TopicReports, "report_state", "1.2"}
