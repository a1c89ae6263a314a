package resource

import (
	"database/sql"
	"fmt"
	"strings"

	"neutrino/internal/store"
)

// order writes ORDER BY and LIMIT. The key comes last so that the order is total.
func (r *engine[P]) order(s *statement, q *Query) {
	if len(q.Sort) == 0 && q.Limit == 0 && q.Marker == "" {
		return
	}
	sep := " ORDER BY "
	for _, k := range r.keys(q) {
		s.WriteString(sep)
		s.expr(k.expr)
		if k.desc {
			s.WriteString(" DESC")
		}
		sep = ", "
	}
	if q.Limit > 0 {
		s.WriteString(" LIMIT ?")
		s.args = append(s.args, q.Limit)
	}
}

type orderKey struct {
	expr string
	desc bool
}

func (r *engine[P]) keys(q *Query) []orderKey {
	var keys []orderKey
	id := "t." + r.table.IDColumn
	byID := false
	for _, k := range q.Sort {
		a := &r.Attrs[k.Attr]
		if a.column == nil {
			continue
		}
		e := a.column.text()
		byID = byID || e == id
		if strings.HasSuffix(a.Type, " or null") {
			e = "COALESCE(" + e + ", " + a.least(r.create()) + ")"
		}
		keys = append(keys, orderKey{e, k.Desc != q.Reverse})
	}
	if !byID {
		keys = append(keys, orderKey{id, q.Reverse})
	}
	return keys
}

// least is a literal of the attribute's type that comes before its values.
func (a *attr[P]) least(of P) string {
	switch a.ptr(of).(type) {
	case **int:
		return "-1"
	case **bool:
		return "false"
	}
	return "''"
}

// after is the condition for the rows that follow the marker (keyset paging). ok is false if there is
// no such object and the list is to be read without.
func (r *engine[P]) after(tx *store.Tx, q *Query) (c Cond, ok bool, err error) {
	s := &statement{}
	if q.Caller != nil {
		s.project = q.Caller.ProjectID
	}
	keys := r.keys(q)
	s.WriteString("SELECT ")
	for i, k := range keys {
		if i > 0 {
			s.WriteString(", ")
		}
		s.expr(k.expr)
	}
	r.from(s, 0, false, q)
	r.where(s, &Query{Caller: q.Caller}, Cond{"t." + r.table.IDColumn + " = ?", []any{q.Marker}})
	values := make([]any, len(keys))
	dst := make([]any, len(keys))
	for i := range values {
		dst[i] = &values[i]
	}
	if err := tx.QueryRow(s.String(), s.args...).Scan(dst...); err == sql.ErrNoRows {
		if r.table.StrictMarker {
			err = r.NotFound(q.Marker)
		} else {
			err = nil
		}
		return Cond{}, false, err
	} else if err != nil {
		return Cond{}, false, fmt.Errorf("read marker: %w", err)
	}
	for i, v := range values {
		if text, ok := v.([]byte); ok { // as which MySQL would compare byte by byte
			values[i] = string(text)
		}
	}
	return r.beyond(keys, values, s.project), true, nil
}

// beyond is the condition for the rows after that with these values of the keys.
func (r *engine[P]) beyond(keys []orderKey, values []any, project string) Cond {
	c := &statement{project: project}
	c.WriteString("(")
	for i, k := range keys {
		if i > 0 {
			c.WriteString(" OR ")
		}
		c.WriteString("(")
		for j := range i {
			c.expr(keys[j].expr)
			c.WriteString(" = ? AND ")
			c.args = append(c.args, values[j])
		}
		c.expr(k.expr)
		c.WriteString(map[bool]string{false: " > ?)", true: " < ?)"}[k.desc])
		c.args = append(c.args, values[i])
	}
	c.WriteString(")")
	return Cond{c.String(), c.args}
}
