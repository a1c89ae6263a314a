package store

import (
	"fmt"
	"slices"
	"strings"
)

// rowsPerInsert keeps the arguments of one INSERT below every database's limit.
const rowsPerInsert = 500

// InsertRows writes many rows of a table with few statements; each row has a value for each column.
func (tx *Tx) InsertRows(table string, columns []string, rows [][]any) error {
	one := In(len(columns))
	for chunk := range slices.Chunk(rows, rowsPerInsert) {
		args := make([]any, 0, len(chunk)*len(columns))
		for _, r := range chunk {
			args = append(args, r...)
		}
		_, err := tx.Exec("INSERT INTO "+tx.Dialect().Quote(table)+" ("+quoteAll(tx.Dialect(), columns)+") VALUES "+
			strings.Repeat(one+", ", len(chunk)-1)+one, args...)
		if err != nil {
			return fmt.Errorf("insert into %s: %w", table, err)
		}
	}
	return nil
}
