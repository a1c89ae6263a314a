package resource

import (
	"time"

	"neutrino/internal/store"
)

// Time is a point in time: naive UTC in the database, ISO 8601 with a Z in the API.
type Time = store.Time

// Now is the current time, cut to seconds as upstream stores it.
func Now() Time { return Time{Time: time.Now().UTC().Truncate(time.Second)} }

// Timestamp is the API's form of a Time.
var Timestamp = Type[Time]{Name: "time", Append: func(b []byte, t Time) []byte {
	if t.IsZero() {
		return append(b, "null"...)
	}
	return t.UTC().AppendFormat(b, `"2006-01-02T15:04:05Z"`)
}, Parse: func(v any) (Time, error) { return Time{}, Reasonf("'%s' is not a time that can be set", Py(v)) }}
