package store

import (
	"database/sql"
	"errors"
)

// All reads the rows of a Query with scan and closes them; err is the error of that Query.
func All[T any](rows *sql.Rows, err error, scan func(*sql.Rows) (T, error)) ([]T, error) {
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var all []T
	for rows.Next() {
		v, err := scan(rows)
		if err != nil {
			return nil, err
		}
		all = append(all, v)
	}
	return all, rows.Err()
}

// Strings reads rows of one column, which must not be NULL: Strings(tx.Query(...)).
func Strings(rows *sql.Rows, err error) ([]string, error) {
	return All(rows, err, func(r *sql.Rows) (s string, err error) {
		err = r.Scan(&s)
		return s, err
	})
}

// One reads a row of one column, such as a count; found is false if there is no row: One[int](tx.QueryRow(...)).
func One[T any](row *sql.Row) (v T, found bool, err error) {
	switch err = row.Scan(&v); {
	case errors.Is(err, sql.ErrNoRows):
		return v, false, nil
	case err != nil:
		return v, false, err
	}
	return v, true, nil
}
