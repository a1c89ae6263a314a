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
	year, month, day := t.Date()
	hour, minute, second := t.Clock()
	if year < 1000 || year > 9999 || t.Location() != time.UTC {
		return t.UTC().AppendFormat(b, `"2006-01-02T15:04:05Z"`)
	}
	b = append(append(b, '"'), byte('0'+year/1000), byte('0'+year/100%10)) // a quarter of the time that a layout takes
	for i, n := range [...]int{year % 100, int(month), day, hour, minute, second} {
		b = append(b, byte('0'+n/10), byte('0'+n%10), "--T::Z"[i])
	}
	return append(b, '"')
}, Parse: func(v any) (Time, error) { return Time{}, Reasonf("'%s' is not a time that can be set", Py(v)) }}
