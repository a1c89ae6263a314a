// Package records keeps on disk what an agent must know to go on answering when it is started while no server is there: JSON values, in
// a file for each network or router. Upstream's dnsmasq, radvd and haproxy are processes of their own that go on meanwhile.
//
// Nothing is synced to the disk: a machine that loses power loses the namespaces as well to which the records belong.
package records

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// Dir is the directory of the files; it is there as long as it has any. "" keeps nothing.
type Dir string

const suffix = ".jsonl"

func (d Dir) file(id string) string { return filepath.Join(string(d), id+suffix) }

// IDs names what there are records of.
func (d Dir) IDs() (ids []string, err error) {
	if d == "" {
		return nil, nil
	}
	entries, err := os.ReadDir(string(d))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("records: %w", err)
	}
	for _, e := range entries {
		if id, ours := strings.CutSuffix(e.Name(), suffix); ours && e.Type().IsRegular() {
			ids = append(ids, id)
		}
	}
	return ids, nil
}

// Read hands the values of an id to each one after the other, in the order in which they were written. An error says that the file ends with something
// else, for example because an agent was killed while it wrote; what was written before has been handed over.
func Read[T any](d Dir, id string, each func(T)) error {
	f, err := os.Open(d.file(id))
	if err != nil {
		return fmt.Errorf("records: %w", err)
	}
	defer f.Close()
	for values := json.NewDecoder(f); ; {
		var value T
		switch err := values.Decode(&value); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("records: %s: %w", f.Name(), err)
		}
		each(value)
	}
}

// Write makes values the only ones of the id, at once.
func Write[T any](d Dir, id string, values ...T) error {
	if d == "" {
		return nil
	}
	lines, err := encode(values)
	if err != nil {
		return err
	}
	draft := d.file(id) + ".new"
	err = os.WriteFile(draft, lines, 0o600)
	// The directory is made when it is needed, and the last of the others may be removed meanwhile.
	for tries := 0; (errors.Is(err, os.ErrNotExist) || errors.Is(err, os.ErrExist)) && tries < 100; tries++ {
		if err = os.MkdirAll(string(d), 0o750); err == nil {
			err = os.WriteFile(draft, lines, 0o600)
		}
	}
	if err == nil {
		err = os.Rename(draft, d.file(id))
	}
	if err != nil {
		return fmt.Errorf("records: %w", err)
	}
	return nil
}

// Append adds values to those of the id, of which there must be some.
func Append[T any](d Dir, id string, values ...T) error {
	if d == "" || len(values) == 0 {
		return nil
	}
	lines, err := encode(values)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(d.file(id), os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return fmt.Errorf("records: %w", err)
	}
	_, err = f.Write(lines)
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("records: %w", err)
	}
	return nil
}

func encode[T any](values []T) ([]byte, error) {
	var lines bytes.Buffer
	to := json.NewEncoder(&lines)
	for i := range values {
		if err := to.Encode(&values[i]); err != nil {
			return nil, fmt.Errorf("records: %w", err)
		}
	}
	return lines.Bytes(), nil
}

// Remove forgets all of the id.
func (d Dir) Remove(id string) error {
	if d == "" {
		return nil
	}
	if err := os.Remove(d.file(id)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("records: %w", err)
	}
	_ = os.Remove(string(d)) // unless there are others
	return nil
}
