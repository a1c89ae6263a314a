package rpc

import (
	"encoding/json"
	"fmt"
)

// L2 population: where addresses of tunnel networks are (upstream ml2/drivers/l2pop/rpc.py 1.0).

// FDBEntry is where a MAC (with an IP) lives. FloodEntry asks that broadcasts be sent to the endpoint too.
type FDBEntry struct{ MAC, IP string }

// FloodEntry is upstream's FLOODING_ENTRY.
var FloodEntry = FDBEntry{MAC: "00:00:00:00:00:00", IP: "0.0.0.0"}

// MarshalJSON writes the pair form of the wire.
func (e FDBEntry) MarshalJSON() ([]byte, error) { return json.Marshal([2]string{e.MAC, e.IP}) }

// UnmarshalJSON reads the pair form.
func (e *FDBEntry) UnmarshalJSON(b []byte) error {
	var p [2]string
	if err := json.Unmarshal(b, &p); err != nil {
		return fmt.Errorf("fdb entry: %w", err)
	}
	e.MAC, e.IP = p[0], p[1]
	return nil
}

// NetworkFDB are the entries of one network by tunnel endpoint address.
type NetworkFDB struct {
	NetworkType string                `json:"network_type"`
	SegmentID   int                   `json:"segment_id"`
	Ports       map[string][]FDBEntry `json:"ports"`
}

// FDBArgs are entries by network id. An update carries only changes of addresses.
type FDBArgs struct {
	Entries map[string]NetworkFDB `json:"fdb_entries"`
}

// FDBChangeArgs tell of changed addresses of ports that stay where they are:
// "chg_ip" → network id → endpoint address → before and after.
type FDBChangeArgs struct {
	Entries struct {
		ChangedIPs map[string]map[string]FDBChange `json:"chg_ip"`
	} `json:"fdb_entries"`
}

// FDBChange lists the entries to replace.
type FDBChange struct {
	Before []FDBEntry `json:"before,omitempty"`
	After  []FDBEntry `json:"after,omitempty"`
}

var (
	AddFDBEntries    = Method[FDBArgs, None]{TopicL2PopulationUpdate, "add_fdb_entries", "1.0"}
	RemoveFDBEntries = Method[FDBArgs, None]{TopicL2PopulationUpdate, "remove_fdb_entries", "1.0"}
	UpdateFDBEntries = Method[FDBChangeArgs, None]{TopicL2PopulationUpdate, "update_fdb_entries", "1.0"}
)
