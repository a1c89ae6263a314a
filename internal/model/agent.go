package model

import (
	"strings"

	"neutrino/internal/resource"
)

// Agent is a process on a host that reports to the servers.
type Agent struct {
	ID               string
	AgentType        string
	Binary           string
	Topic            string
	Host             string
	AvailabilityZone *string
	AdminStateUp     bool
	CreatedAt        resource.Time
	StartedAt        resource.Time
	HeartbeatAt      resource.Time
	Description      *string
	Configurations   Dict
	ResourceVersions Dict
	Load             int
	Alive            bool // filled by the service
	ResourcesSynced  *bool
}

// agentTime is how agents' times look in the API: the database's form.
var agentTime = resource.Type[resource.Time]{Name: "time", Append: func(b []byte, t resource.Time) []byte {
	return t.UTC().AppendFormat(b, `"2006-01-02 15:04:05"`)
}, Parse: resource.Timestamp.Parse}

// ofAgentType finds agents whatever the case of the letters. Clients, tempest among them, ask for "DHCP Agent", which finds
// "DHCP agent" in the collations of MariaDB that most clouds have.
func ofAgentType(values []string) (resource.Cond, error) {
	lower := make([]string, len(values))
	for i, v := range values {
		lower[i] = strings.ToLower(v)
	}
	return resource.In("LOWER(t.agent_type)", lower), nil
}

// Agents describes agents. Rows are made by their reports.
func Agents(enabled func(string) bool) *resource.Resource[Agent] {
	return resource.New("agent", "agents", "agents", resource.Table[Agent]{Name: "agents", OneByOne: true, ID: func(a *Agent) *string { return &a.ID }}, enabled,
		resource.Ext("agent",
			resource.Field("id", resource.UUID, filter|sort, func(a *Agent) *string { return &a.ID }),
			resource.Field("agent_type", resource.String(255), filter|sort, func(a *Agent) *string { return &a.AgentType },
				resource.Matching(ofAgentType)),
			resource.Field("binary", resource.String(255), filter|sort, func(a *Agent) *string { return &a.Binary }),
			resource.Field("topic", resource.String(255), filter|sort, func(a *Agent) *string { return &a.Topic }),
			resource.Field("host", resource.String(255), filter|sort, func(a *Agent) *string { return &a.Host }),
			resource.Field("admin_state_up", resource.Bool, put|filter|sort, func(a *Agent) *bool { return &a.AdminStateUp }),
			resource.Field("created_at", agentTime, sort, func(a *Agent) *resource.Time { return &a.CreatedAt }),
			resource.Field("started_at", agentTime, sort, func(a *Agent) *resource.Time { return &a.StartedAt }),
			resource.Field("heartbeat_timestamp", agentTime, sort, func(a *Agent) *resource.Time { return &a.HeartbeatAt }),
			resource.Field("alive", resource.Bool, filter|sort, func(a *Agent) *bool { return &a.Alive }, resource.Unstored()),
			resource.Field("configurations", Dictionary, 0, func(a *Agent) *Dict { return &a.Configurations }),
			resource.Field("resource_versions", Dictionary, inner, func(a *Agent) *Dict { return &a.ResourceVersions }),
			resource.Field("load", resource.Int, inner, func(a *Agent) *int { return &a.Load }),
			resource.Field("description", resource.Nullable(resource.String(255)), put|filter|sort, func(a *Agent) **string { return &a.Description })),
		resource.Ext("agent-resources-synced",
			resource.Field("resources_synced", resource.Nullable(resource.Bool), 0, func(a *Agent) **bool { return &a.ResourcesSynced })),
		resource.Ext("availability_zone",
			resource.Field("availability_zone", resource.Nullable(resource.String(255)), filter, func(a *Agent) **string { return &a.AvailabilityZone })),
	)
}
