package resource

import (
	"database/sql"
	"fmt"

	"neutrino/internal/store"
)

// scanner reads a column into the field that ref finds. NULL is the zero value: upstream's schema allows it in most
// columns, such as names.
func scanner[P, T any](ref func(P) *T) func(P, *store.Row, int) error {
	switch ref := any(ref).(type) {
	case func(P) *string:
		return func(r P, row *store.Row, i int) error { *ref(r) = row.Text(i); return nil }
	case func(P) *bool:
		return func(r P, row *store.Row, i int) error { *ref(r) = row.Int(i) != 0; return nil }
	case func(P) *int:
		return func(r P, row *store.Row, i int) error { *ref(r) = int(row.Int(i)); return nil }
	case func(P) *int64:
		return func(r P, row *store.Row, i int) error { *ref(r) = row.Int(i); return nil }
	case func(P) **string:
		return nullable(ref, (*store.Row).Text)
	case func(P) **bool:
		return nullable(ref, func(row *store.Row, i int) bool { return row.Int(i) != 0 })
	case func(P) **int:
		return nullable(ref, func(row *store.Row, i int) int { return int(row.Int(i)) })
	case func(P) *Time:
		return func(r P, row *store.Row, i int) (err error) { *ref(r), err = row.Time(i); return err }
	}
	return func(r P, row *store.Row, i int) error { return scanInto(ref(r), row, i) }
}

// scanInto is the same for a pointer to a field.
func scanInto(field any, row *store.Row, i int) error {
	switch p := field.(type) {
	case *string:
		*p = row.Text(i)
	case **string:
		*p = nil
		if !row.Null(i) {
			s := row.Text(i)
			*p = &s
		}
	case *int:
		*p = int(row.Int(i))
	case sql.Scanner:
		return p.Scan(row.Value(i))
	default:
		return fmt.Errorf("a column cannot be read into a %T", field)
	}
	return nil
}

func nullable[P, T any](ref func(P) **T, value func(*store.Row, int) T) func(P, *store.Row, int) error {
	return func(r P, row *store.Row, i int) error {
		*ref(r) = nil
		if !row.Null(i) {
			v := value(row, i)
			*ref(r) = &v
		}
		return nil
	}
}

// scanStandard reads the standard attributes from column i on, in the order of standardColumns.
func scanStandard(std *StandardAttr, row *store.Row, i int) (err error) {
	std.RowID, std.Description, std.Revision = row.Int(i), nil, row.Int(i+2)
	if !row.Null(i + 1) {
		text := row.Text(i + 1)
		std.Description = &text
	}
	if std.CreatedAt, err = row.Time(i + 3); err != nil {
		return err
	}
	std.UpdatedAt, err = row.Time(i + 4)
	return err
}

const (
	standardColumns = "sa.id, sa.description, sa.revision_number, sa.created_at, sa.updated_at"
	standardCount   = 5
)
