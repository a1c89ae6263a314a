package resource

import (
	"cmp"
	"errors"
	"maps"
	"math"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"neutrino/internal/fault"
)

// reserved are query parameters that are no filters.
var reserved = []string{"fields", "sort_key", "sort_dir", "limit", "marker", "page_reverse"}

// ParseFields reads ?fields= of a request for a list or for one object. Unknown names are ignored.
func (r *engine[P]) ParseFields(values url.Values, list bool) Set {
	names := values["fields"]
	if len(names) == 0 {
		return r.Shown
	}
	set := r.Bits(names...)
	if r.table.Fields != nil {
		set = r.table.Fields(r, set, list)
	}
	return set & r.Shown
}

// NamedFields is ParseFields without what upstream adds to the fields of some resources: its first framework takes that away again.
func (r *engine[P]) NamedFields(values url.Values) Set {
	if names := values["fields"]; len(names) > 0 {
		return r.Bits(names...) & r.Shown
	}
	return r.Shown
}

// ListFields narrows what a caller wants of a list to what upstream's lists of this resource can leave out.
func (r *engine[P]) ListFields(wanted Set) Set {
	if r.table.WholeLists {
		return wanted | r.Shown&^r.Bits("id", "project_id", "tenant_id")&^r.Bits(r.table.Picked...)
	}
	return wanted
}

// Bulk tells whether one request may create several objects.
func (r *engine[P]) Bulk() bool { return !r.table.OneByOne }

// ParseQuery reads filters, order and page of a list request. maxLimit caps pages; 0 means no cap. pageFirst says that errors of
// the page are told before those of the order. names are the parameters in the order of the request, in which errors name
// them; without, it is that of the alphabet.
func (r *engine[P]) ParseQuery(values url.Values, maxLimit int, pageFirst bool, names ...string) (*Query, error) {
	q := &Query{}
	if len(names) == 0 {
		names = slices.Sorted(maps.Keys(values))
	}
	if err := r.parseFilters(q, values, names); err != nil {
		return nil, err
	}
	var page error
	if !r.table.OnePage {
		page = parsePage(q, values, maxLimit)
	}
	order := r.parseSort(q, values)
	if pageFirst {
		return q, cmp.Or(page, order)
	}
	return q, cmp.Or(order, page)
}

func (r *engine[P]) parseFilters(q *Query, values url.Values, names []string) error {
	var unknown []string
	for _, name := range names {
		given := values[name]
		if slices.Contains(reserved, name) {
			continue
		}
		if r.table.Standard != nil {
			c, ok, err := r.standardFilter(name, given)
			if err != nil {
				return err
			}
			if ok {
				q.Where = append(q.Where, c)
				continue
			}
		}
		a, ok := r.Attr(name)
		if !ok || a.Flags&Filter == 0 {
			unknown = append(unknown, name)
			continue
		}
		c, err := a.match(given, r.table.IDColumn)
		if err != nil {
			return err
		}
		q.Where = append(q.Where, c)
	}
	if len(unknown) > 0 && r.strict {
		return badRequest("%s is invalid attribute for filtering", pyList(unknown))
	}
	return nil
}

// match is the condition for an attribute to have one of the values.
func (a *attr[P]) match(given []string, idColumn string) (Cond, error) {
	if a.condition != nil {
		return a.condition(given)
	}
	values := make([]any, 0, len(given))
	for _, s := range given {
		v, err := a.filter(s)
		if err != nil {
			if reason, ok := err.(Reason); ok {
				return Cond{}, fault.InvalidInput("%s", string(reason))
			}
			return Cond{}, err
		}
		if Fits(v) {
			values = append(values, v)
		}
	}
	switch {
	case a.child != nil:
		return a.child.match(given, idColumn)
	case a.column == nil:
		return Cond{SQL: "1 = 0"}, nil
	}
	return In(a.column.text(), values), nil
}

// Fits tells whether a column can hold a value; PostgreSQL refuses to compare it with larger integers.
func Fits(v any) bool {
	n, isInt := v.(int)
	return !isInt || n >= math.MinInt32 && n <= math.MaxInt32
}

// match finds objects by their list rows. Values may be column=value: kinds are combined with AND, values of a kind
// with OR; column_substr=text looks for a part of the value. What names another column does not count. Elements of one
// column are also found by their value alone.
func (c *child[P]) match(given []string, idColumn string) (Cond, error) {
	byKey := map[string][]string{}
	for _, g := range given {
		key, value, found := strings.Cut(g, "=")
		if !found && len(c.keys) > 1 {
			return Cond{}, fault.InvalidInput("'%s' is not of the form <key>=[value]", g)
		}
		if !found {
			key, value = c.keys[0], g
		}
		byKey[key] = append(byKey[key], value)
	}
	var conds []string
	var args []any
	for _, key := range slices.Sorted(keysOf(byKey)) {
		col, substr := strings.CutSuffix(key, "_substr")
		if !slices.Contains(c.keys, col) {
			continue
		}
		m := In(col, byKey[key])
		if substr {
			var likes []string
			m.Args = nil
			for _, v := range byKey[key] {
				likes = append(likes, col+" LIKE ? ESCAPE '!'")
				m.Args = append(m.Args, "%"+strings.ReplaceAll(v, "!", "!!")+"%") // % and _ count, as upstream
			}
			m.SQL = anyOf(likes)
		}
		conds = append(conds, "t."+idColumn+" IN (SELECT "+c.parent+" FROM "+c.table+" WHERE "+m.SQL+")")
		args = append(args, m.Args...)
	}
	if len(conds) == 0 {
		return Cond{SQL: "1 = 1"}, nil
	}
	return Cond{"(" + strings.Join(conds, " AND ") + ")", args}, nil
}

// anyOf joins conditions with OR, in pairs of pairs: a chain of more than 1000 is too deep for SQLite.
func anyOf(conditions []string) string {
	if len(conditions) == 1 {
		return conditions[0]
	}
	half := len(conditions) / 2
	return "(" + anyOf(conditions[:half]) + " OR " + anyOf(conditions[half:]) + ")"
}

func keysOf[K comparable, V any](m map[K]V) func(yield func(K) bool) {
	return func(yield func(K) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

// standardFilter handles the filters that objects with standard attributes have besides their own attributes. Upstream
// knows changed_since only while it does not validate filters.
func (r *engine[P]) standardFilter(name string, given []string) (Cond, bool, error) {
	switch {
	case name == "changed_since" && !r.strict:
		t, err := parseTime(given[len(given)-1])
		if err != nil {
			return Cond{}, false, fault.InvalidInput("%s", err.Error())
		}
		return Cond{"sa.updated_at >= ?", []any{t}}, true, nil
	case slices.Contains([]string{"tags", "tags-any", "not-tags", "not-tags-any"}, name) && r.Bit("tags") != 0:
		if r.table.TagsDoNotFilter {
			return Cond{SQL: "1 = 1"}, true, nil
		}
		return tagFilter(name, given), true, nil
	}
	return Cond{}, false, nil
}

func parseTime(s string) (Time, error) {
	for _, form := range []string{time.RFC3339, "2006-01-02T15:04:05", "2006-01-02 15:04:05", "2006-01-02"} {
		if t, err := time.Parse(form, s); err == nil {
			return Time{Time: t.UTC()}, nil
		}
	}
	return Time{}, Reasonf("The value %s for changed_since is not a valid timestamp", s)
}

// tagFilter: tags= wants all, tags-any= one; not- turns it round.
func tagFilter(name string, given []string) Cond {
	var tags []string
	for _, g := range given {
		tags = append(tags, strings.Split(g, ",")...)
	}
	slices.Sort(tags)
	tags = slices.Compact(tags)
	base := In("tag", tags)
	c := Cond{"sa.id IN (SELECT standard_attr_id FROM tags WHERE " + base.SQL, base.Args}
	if !strings.HasSuffix(name, "-any") {
		c.SQL += " GROUP BY standard_attr_id HAVING COUNT(*) = ?"
		c.Args = append(c.Args, len(tags))
	}
	c.SQL += ")"
	if strings.HasPrefix(name, "not-") {
		c.SQL = "NOT (" + c.SQL + ")"
	}
	return c
}

func (r *engine[P]) parseSort(q *Query, values url.Values) error {
	keys, dirs := nonEmpty(values["sort_key"]), nonEmpty(values["sort_dir"])
	if len(keys) != len(dirs) {
		return badRequest("The number of sort_keys and sort_dirs must be same")
	}
	var absent, wrong []string
	unsortable := "" // upstream takes the key but has no column for it
	for i, name := range keys {
		n, ok := r.byName[name]
		if !ok || r.Attrs[n].Flags&Sort == 0 {
			absent = append(absent, name)
			continue
		}
		if c := r.Attrs[n].column; c == nil || strings.Contains(c.expr, "SELECT ") {
			unsortable = name
		}
		if !slices.ContainsFunc(q.Sort, func(k SortKey) bool { return k.Attr == n }) { // the first decides
			q.Sort = append(q.Sort, SortKey{n, dirs[i] == "desc"})
		}
	}
	if len(absent) > 0 {
		return badRequest("%s is invalid attribute for sort_keys", pyList(absent))
	}
	for _, d := range dirs {
		if d != "asc" && d != "desc" {
			wrong = append(wrong, d)
		}
	}
	if len(wrong) > 0 {
		return badRequest("%s is invalid value for sort_dirs, valid value is 'asc' and 'desc'", pyList(wrong))
	}
	if unsortable != "" {
		return fault.BadRequest("BadRequest", "Bad %s request: '%s' is an invalid attribute for sort key.", r.table.Name, unsortable)
	}
	return nil
}

func nonEmpty(in []string) []string {
	return slices.DeleteFunc(slices.Clone(in), func(s string) bool { return s == "" })
}

func parsePage(q *Query, values url.Values, maxLimit int) error {
	last := func(name string) string {
		if given := values[name]; len(given) > 0 {
			return given[len(given)-1]
		}
		return ""
	}
	if s := last("limit"); values.Has("limit") {
		n, err := PyInt(s) // the largest for larger ones
		if err != nil && !errors.Is(err, strconv.ErrRange) || n < 0 {
			return fault.BadRequest("BadRequest", "Bad limit request: Limit must be an integer 0 or greater and not '%s'.", s)
		}
		q.Limit = n
	}
	if maxLimit > 0 && (q.Limit == 0 || q.Limit > maxLimit) {
		q.Limit = maxLimit
	}
	if q.Limit > 0 {
		q.Marker = last("marker")
		q.Reverse = strings.EqualFold(last("page_reverse"), "true")
	}
	return nil
}
