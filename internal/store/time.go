package store

import (
	"database/sql/driver"
	"fmt"
	"time"
)

// sqlTime is the text that SQLAlchemy stores in SQLite for a DATETIME; the other databases read it as well.
const sqlTime = "2006-01-02 15:04:05.000000"

// Time is a point in time as upstream stores it: UTC without a zone, microseconds. The zero Time is NULL.
type Time struct{ time.Time }

// Now is the current time in whole seconds, as upstream stores it: MySQL's DATETIME would round a fraction up.
func Now() Time { return Time{time.Now().UTC().Truncate(time.Second)} }

// Value implements driver.Valuer.
func (t Time) Value() (driver.Value, error) {
	if t.IsZero() {
		return nil, nil
	}
	return t.UTC().Format(sqlTime), nil
}

// Scan implements sql.Scanner.
func (t *Time) Scan(src any) error {
	switch v := src.(type) {
	case nil:
		*t = Time{}
	case time.Time:
		// Drivers attach some zone to a column that has none: only the wall clock counts.
		*t = Time{time.Date(v.Year(), v.Month(), v.Day(), v.Hour(), v.Minute(), v.Second(), v.Nanosecond(), time.UTC)}
	case string:
		return t.parse(v)
	case []byte:
		return t.parse(string(v))
	default:
		return fmt.Errorf("cannot read a time from %T", src)
	}
	return nil
}

func (t *Time) parse(s string) error {
	parsed, err := time.Parse("2006-01-02 15:04:05.999999999", s)
	if err != nil {
		return fmt.Errorf("reading a time: %w", err)
	}
	t.Time = parsed
	return nil
}
