package model

import (
	"database/sql/driver"
	"encoding/json"
)

// Scan reads JSON text.
func (z *ZoneHints) Scan(v any) error { *z = nil; return jsonText(v, z) }

// Value writes JSON text, "" for none as upstream does.
func (z ZoneHints) Value() (driver.Value, error) {
	if len(z) == 0 {
		return "", nil
	}
	b, err := json.Marshal([]string(z))
	return string(b), err
}

// Scan reads JSON text.
func (d *Dict) Scan(v any) error { *d = nil; return jsonText(v, d) }

// Value writes JSON text, "" for the empty one.
func (d Dict) Value() (driver.Value, error) {
	if len(d) == 0 {
		return "", nil
	}
	b, err := json.Marshal(map[string]any(d))
	return string(b), err
}
