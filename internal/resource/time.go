package resource

import (
	"database/sql/driver"
	"fmt"
	"time"
)

// Time is a point in time with upstream's forms: naive UTC in the database, ISO 8601 with a Z in the API.
type Time struct{ time.Time }

// Now is the current time, cut to seconds as upstream stores it.
func Now() Time { return Time{time.Now().UTC().Truncate(time.Second)} }

// dbForm is how SQLAlchemy writes a DateTime into SQLite; MariaDB and PostgreSQL read it too.
const dbForm = "2006-01-02 15:04:05.000000"

// Value gives the database form.
func (t Time) Value() (driver.Value, error) {
	if t.IsZero() {
		return nil, nil
	}
	return t.UTC().Format(dbForm), nil
}

// Scan reads the database form.
func (t *Time) Scan(v any) error {
	switch x := v.(type) {
	case nil:
		t.Time = time.Time{}
		return nil
	case time.Time:
		t.Time = x.UTC()
		return nil
	case []byte:
		return t.Scan(string(x))
	case string:
		for _, form := range []string{dbForm, "2006-01-02 15:04:05", time.RFC3339Nano} {
			if p, err := time.Parse(form, x); err == nil {
				t.Time = p.UTC()
				return nil
			}
		}
	}
	return fmt.Errorf("not a time: %v", v)
}

// Timestamp is the API's form of a Time.
var Timestamp = Type[Time]{Name: "time", Append: func(b []byte, t Time) []byte {
	if t.IsZero() {
		return append(b, "null"...)
	}
	return t.UTC().AppendFormat(b, `"2006-01-02T15:04:05Z"`)
}, Parse: func(v any) (Time, error) { return Time{}, Reasonf("'%s' is not a time that can be set", Py(v)) }}
