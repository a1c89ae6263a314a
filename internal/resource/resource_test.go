package resource

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/url"
	"strings"
	"testing"
	"time"

	"neutrino/internal/fault"
	"neutrino/internal/identity"
	"neutrino/internal/store"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sync/errgroup"
)

// thing is a resource with one attribute of each kind.
type thing struct {
	ID, ProjectID, Name string
	StandardAttr
	Up     bool
	Size   *int
	Safe   bool // in a side table
	Parts  []part
	Secret string
}

type part struct{ Color, Shape string }

var parts = Type[[]part]{Name: "parts", Append: AppendList(AppendJSON[part]), Parse: func(v any) ([]part, error) {
	list, ok := v.([]any)
	if !ok {
		return nil, Reasonf("'%s' is not a list", Py(v))
	}
	out := []part{}
	for _, e := range list {
		m, _ := e.(map[string]any)
		color, ok := m["color"].(string)
		shape, ok2 := m["shape"].(string)
		if !ok || !ok2 {
			return nil, Reasonf("'%s' is not a part", Py(e))
		}
		out = append(out, part{color, shape})
	}
	return out, nil
}}

var texts = Type[[]string]{Name: "list of strings", Append: AppendList(AppendString)}

func things(extensions ...string) *Resource[thing] {
	enabled := func(a string) bool { return strings.Contains(strings.Join(extensions, " "), a) }
	return New("thing", "things", "things", Table[thing]{Name: "things", ID: func(t *thing) *string { return &t.ID },
		Standard: func(t *thing) *StandardAttr { return &t.StandardAttr }, Sides: map[string]SideTable{"thingsafety": {Key: "thing_id"}},
		Visible: "t.project_id = :project", StrictMarker: true}, enabled, []Attr[thing]{
		Field("id", UUID, Filter|Sort, func(t *thing) *string { return &t.ID }),
		Field("project_id", String(255), Post|Filter|Needed, func(t *thing) *string { return &t.ProjectID }),
		Field("tenant_id", String(255), Post|Filter, func(t *thing) *string { return &t.ProjectID }, Derived("t.project_id")),
		Field("name", Name, Post|Put|Filter|Sort, func(t *thing) *string { return &t.Name }, Default("")),
		Field("description", Nullable(String(255)), Post|Put|Filter, func(t *thing) **string { return &t.Description }, Derived("sa.description"), Default(new(string))),
		Field("up", Bool, Post|Put|Filter|Sort, func(t *thing) *bool { return &t.Up }, Default(true)),
		Field("size", Nullable(NonNegative), Post|Put|Filter, func(t *thing) **int { return &t.Size }),
		Field("secret", String(10), Post|Hidden|Required, func(t *thing) *string { return &t.Secret }),
		List("tags", texts, Hidden, func(t *thing) *[]string { return &t.Tags }, Children[string]{Parent: "object_id", ReadOnly: true,
			Table:   "(SELECT o.id AS object_id, g.tag AS tag FROM things o JOIN tags g ON g.standard_attr_id = o.standard_attr_id)",
			Columns: []Col[string]{{Name: "tag", Ref: func(e *string) any { return e }}}}),
		Field("revision_number", Int, Filter, func(t *thing) *int { n := int(t.Revision); return &n }, Unstored()),
	}, Ext("safety", Field("safe", Bool, Post|Put|Filter|Policy, func(t *thing) *bool { return &t.Safe }, Side("thingsafety", "safe", "true"), Default(true))),
		Ext("parts", List("parts", parts, Post|Put|Filter, func(t *thing) *[]part { return &t.Parts }, Children[part]{Table: "thingparts", Parent: "thing_id",
			Columns: []Col[part]{{Name: "color", Ref: func(p *part) any { return &p.Color }, Key: true}, {Name: "shape", Ref: func(p *part) any { return &p.Shape }, Key: true}}})))
}

func database(t testing.TB) *store.DB {
	t.Helper()
	db, err := store.Open(context.Background(), "sqlite:///"+t.TempDir()+"/x.db", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	err = db.Write(context.Background(), func(tx *store.Tx) error {
		for _, q := range []string{
			"CREATE TABLE standardattributes (id INTEGER PRIMARY KEY AUTOINCREMENT, resource_type TEXT, description TEXT, revision_number BIGINT, created_at DATETIME, updated_at DATETIME)",
			"CREATE TABLE tags (standard_attr_id BIGINT, tag TEXT)",
			"CREATE TABLE things (id TEXT PRIMARY KEY, project_id TEXT, name TEXT, up BOOLEAN, size INTEGER, secret TEXT, standard_attr_id BIGINT)",
			"CREATE TABLE thingsafety (thing_id TEXT PRIMARY KEY REFERENCES things(id) ON DELETE CASCADE, safe BOOLEAN)",
			"CREATE TABLE thingparts (thing_id TEXT REFERENCES things(id) ON DELETE CASCADE, color TEXT, shape TEXT)",
		} {
			if _, err := tx.Exec(q); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return db
}

func body(t testing.TB, s string) map[string]any {
	t.Helper()
	d := json.NewDecoder(strings.NewReader(s))
	d.UseNumber()
	var m map[string]any
	if err := d.Decode(&m); err != nil {
		t.Fatal(err)
	}
	return m
}

func TestCreateAnswersLikeNeutron(t *testing.T) {
	r := things("safety parts")
	user := &identity.Caller{ProjectID: "p1"}
	for _, tc := range []struct{ name, body, want, class, message string }{
		{"defaults", `{"secret":"x"}`, `{"id":"","project_id":"p1","tenant_id":"p1","name":"","description":"","up":true,"size":null,"revision_number":0,"safe":true,"parts":[]}`, "", ""},
		{"conversions", `{"secret":"x","up":"FALSE","size":"7","name":"é\"\\"}`, `{"id":"","project_id":"p1","tenant_id":"p1","name":"é\"\\","description":"","up":false,"size":7,"revision_number":0,"safe":true,"parts":[]}`, "", ""},
		{"required", `{}`, "", "HTTPBadRequest", "Failed to parse request. Required attribute 'secret' not specified"},
		{"unknown", `{"secret":"x","zzz":1,"aaa":1}`, "", "HTTPBadRequest", "Unrecognized attribute(s) 'aaa, zzz'"},
		{"read only", `{"secret":"x","id":"1"}`, "", "HTTPBadRequest", "Attribute 'id' not allowed in POST"},
		{"validator", `{"secret":"x","name":5}`, "", "HTTPBadRequest", "Invalid input for name. Reason: '5' is not a valid string."},
		{"null", `{"secret":"x","name":null}`, "", "HTTPBadRequest", "Invalid input for name. Reason: 'None' is not a valid string."},
		{"name in spaces", `{"secret":"x","name":" a "}`, "", "HTTPBadRequest", "Invalid input for name. Reason: ' a ' is not a valid string."},
		{"beyond the first plane", `{"secret":"x","name":"😀"}`, "", "HTTPBadRequest", "Invalid input for name. Reason: '😀' is not a valid string."},
		{"line break at the end", `{"secret":"x","name":"a\n"}`, `{"id":"","project_id":"p1","tenant_id":"p1","name":"a\n","description":"","up":true,"size":null,"revision_number":0,"safe":true,"parts":[]}`, "", ""},
		{"line breaks at the end", `{"secret":"x","name":"a\n\n"}`, "", "HTTPBadRequest", "Invalid input for name. Reason: 'a\n\n' is not a valid string."},
		{"control character", `{"secret":"x","name":"a\u0000b"}`, "", "HTTPBadRequest", "Invalid input for name. Reason: 'a\x00b' is not a valid string."},
		{"converter", `{"secret":"x","up":"maybe"}`, "", "InvalidInput", "Invalid input for operation: 'maybe' cannot be converted to boolean."},
		{"words for boolean", `{"secret":"x","up":"off"}`, `{"id":"","project_id":"p1","tenant_id":"p1","name":"","description":"","up":false,"size":null,"revision_number":0,"safe":true,"parts":[]}`, "", ""},
		{"converter of a structure", `{"secret":"x","up":{"a":["b",null]}}`, "", "InvalidInput", "Invalid input for operation: '{'a': ['b', None]}' cannot be converted to boolean."},
		{"too long", `{"secret":"01234567890"}`, "", "HTTPBadRequest", "Invalid input for secret. Reason: '01234567890' exceeds maximum length of 10."},
		{"foreign project", `{"secret":"x","tenant_id":"p2"}`, "", "HTTPBadRequest", "Specifying 'project_id' other than the authenticated project in request is not allowed for the current user."},
		{"two projects", `{"secret":"x","tenant_id":"p1","project_id":"p2"}`, "", "HTTPBadRequest", "'project_id' and 'tenant_id' do not match"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			obj, _, err := r.Create(user, body(t, tc.body))
			if err != nil {
				f := fault.As(err)
				if f.Status != 400 || f.Type != tc.class || f.Message != tc.message {
					t.Fatalf("got %d %s %q, want %s %q", f.Status, f.Type, f.Message, tc.class, tc.message)
				}
				return
			}
			if got := string(r.Append(nil, obj, r.Shown)); got != tc.want {
				t.Fatalf("got  %s\nwant %s", got, tc.want)
			}
		})
	}
}

func TestAttributesOfAbsentExtensionsDoNotExist(t *testing.T) {
	_, _, err := things().Create(&identity.Caller{ProjectID: "p"}, body(t, `{"secret":"x","safe":false}`))
	if got := fault.As(err).Message; got != "Unrecognized attribute(s) 'safe'" {
		t.Fatal(got)
	}
}

// fill makes n things of two projects.
func fill(t testing.TB, db *store.DB, r *Resource[thing], n int) {
	t.Helper()
	err := db.Write(context.Background(), func(tx *store.Tx) error {
		for i := range n {
			obj := &thing{ID: fmt.Sprintf("id%03d", i), ProjectID: fmt.Sprintf("p%d", i%2), Name: fmt.Sprintf("n%d", i%3), Up: i%4 != 0, Safe: i%5 != 0,
				Parts: []part{{"red", fmt.Sprintf("s%d", i)}, {"blue", "round"}}}
			obj.Tags = []string{"all", fmt.Sprintf("t%d", i%2)}
			if err := r.Insert(tx, obj); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func list(t testing.TB, db *store.DB, r *Resource[thing], caller *identity.Caller, query string) ([]string, error) {
	t.Helper()
	values, err := url.ParseQuery(query)
	if err != nil {
		t.Fatal(err)
	}
	q, err := r.ParseQuery(values, 0, true)
	if err != nil {
		return nil, err
	}
	q.Caller, q.Set = caller, r.ParseFields(values, true)
	var ids []string
	err = db.Read(context.Background(), func(tx *store.Tx) error {
		objs, err := r.Select(tx, q)
		ids = nil
		for _, o := range objs {
			ids = append(ids, strings.TrimPrefix(o.ID, "id0"))
		}
		return err
	})
	return ids, err
}

func TestListFiltersSortsAndPages(t *testing.T) {
	db, r := database(t), things("safety parts filter-validation")
	fill(t, db, r, 12)
	admin := &identity.Caller{ProjectID: "p0", IsAdmin: true}
	for _, tc := range []struct {
		query, want string
		caller      *identity.Caller
	}{
		{"name=n0", "00 03 06 09", admin},
		{"name=n0&name=n1&up=false", "00 04", admin},
		{"safe=False", "00 05 10", admin},
		{"tenant_id=p1&name=n1", "01 07", admin},
		{"name=n1", "04 10", &identity.Caller{ProjectID: "p0"}},
		{"parts=color=red&parts=shape=s3", "03", admin},
		{"parts=color=red&parts=shape=s3&parts=shape=s4", "03 04", admin},
		{"parts=shape_substr=1", "01 10 11", admin},
		{"parts=size=green&parts=color=red&parts=shape=s3", "03", admin},
		{"tags=all,t1&name=n1", "01 07", admin},
		{"not-tags=t1&name=n1", "04 10", admin},
		{"tags-any=t1,t9&name=n1", "01 07", admin},
		{"sort_key=name&sort_dir=desc&limit=3", "02 05 08", admin},
		{"sort_key=name&sort_dir=desc&limit=3&marker=id008", "11 01 04", admin},
		{"sort_key=name&sort_dir=desc&limit=3&marker=id011&page_reverse=True", "02 05 08", admin},
		{"limit=4&marker=id009", "10 11", admin},
		{"limit=2&marker=id003&fields=id", "04 05", admin},
	} {
		t.Run(tc.query, func(t *testing.T) {
			got, err := list(t, db, r, tc.caller, tc.query)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(strings.Fields(tc.want), append([]string{}, got...)); diff != "" {
				t.Fatal(diff)
			}
		})
	}
	for query, want := range map[string]string{
		"zzz=1":                        "['zzz'] is invalid attribute for filtering",
		"secret=x":                     "['secret'] is invalid attribute for filtering",
		"sort_key=name":                "The number of sort_keys and sort_dirs must be same",
		"sort_key=size&sort_dir=asc":   "['size'] is invalid attribute for sort_keys",
		"sort_key=name&sort_dir=up":    "['up'] is invalid value for sort_dirs, valid value is 'asc' and 'desc'",
		"limit=-1":                     "Bad limit request: Limit must be an integer 0 or greater and not '-1'.",
		"up=maybe":                     "Invalid input for operation: 'maybe' cannot be converted to boolean.",
		"parts=green":                  "Invalid input for operation: 'green' is not of the form <key>=[value].",
		"limit=1&marker=nowhere":       "Thing nowhere could not be found.",
		"limit=1&marker=id001&name=n1": "",
	} {
		_, err := list(t, db, r, admin, query)
		if want == "" && err == nil {
			continue
		}
		if got := fault.As(err).Message; got != want {
			t.Errorf("%s: got %q, want %q", query, got, want)
		}
	}
}

// TestRowsOfOthers: rows that upstream wrote may have NULL where the API shows text, and services see all projects.
func TestRowsOfOthers(t *testing.T) {
	db, r := database(t), things("safety parts")
	err := db.Write(t.Context(), func(tx *store.Tx) error {
		if _, err := tx.Exec("INSERT INTO standardattributes (id, resource_type, revision_number) VALUES (1, 'things', 7)"); err != nil {
			return err
		}
		_, err := tx.Exec("INSERT INTO things (id, project_id, up, standard_attr_id) VALUES ('x', 'p1', true, 1)")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	err = db.Read(t.Context(), func(tx *store.Tx) error {
		if _, err := r.Get(tx, &identity.Caller{ProjectID: "p2"}, "x", r.All); !fault.Is(err, "ThingNotFound") {
			t.Errorf("another project's caller got %v", err)
		}
		obj, err := r.Get(tx, &identity.Caller{ProjectID: "p2", IsService: true}, "x", r.All)
		if err != nil {
			return err
		}
		got := map[string]string{"id": r.ID(obj)}
		for _, name := range []string{"name", "description", "up", "size"} {
			got[name], _ = r.Text(obj, name)
		}
		want := map[string]string{"id": "x", "name": "", "description": "None", "up": "True", "size": "None"}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
		if std := r.Standard(obj); std.Revision != 7 {
			t.Errorf("revision %d", std.Revision)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// Queries that are kept serve whoever asks, for whatever attributes, at the same time.
func TestKeptQueries(t *testing.T) {
	db, r := database(t), things("safety parts")
	fill(t, db, r, 4)
	callers := []*identity.Caller{nil, {ProjectID: "p0"}, {ProjectID: "p1"}, {ProjectID: "p2"}, {ProjectID: "p2", IsAdmin: true}}
	one := func(random *rand.Rand) error {
		caller, set := callers[random.IntN(len(callers))], Set(random.Uint64())&r.All
		i := random.IntN(4)
		id, owner := fmt.Sprintf("id%03d", i), fmt.Sprintf("p%d", i%2)
		return db.Read(t.Context(), func(tx *store.Tx) error {
			got, err := r.Get(tx, caller, id, set)
			if caller != nil && !caller.IsAdmin && caller.ProjectID != owner {
				if !fault.Is(err, "ThingNotFound") {
					return fmt.Errorf("%+v got %s of %s: %v", caller, id, owner, err)
				}
				return nil
			}
			if err != nil {
				return err
			}
			if got.ID != id || set.Has(r.byName["project_id"]) && got.ProjectID != owner || set.Has(r.byName["name"]) && got.Name != fmt.Sprintf("n%d", i%3) ||
				set.Has(r.byName["safe"]) && got.Safe != (i%5 != 0) || set.Has(r.byName["parts"]) && len(got.Parts) != 2 {
				return fmt.Errorf("%s with attributes %x: %+v", id, set, got)
			}
			return nil
		})
	}
	var g errgroup.Group
	for n := range uint64(4) {
		g.Go(func() error {
			random := rand.New(rand.NewPCG(n, 1))
			for range 5 * mostPlans {
				if err := one(random); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	if kept := len(r.plans.kept); kept > mostPlans {
		t.Errorf("%d queries are kept", kept)
	}
}

func TestForLoad(t *testing.T) {
	r := things()
	if got := r.Names(r.ForLoad(r.Bits("name", "revision_number"))); !cmp.Equal(got, []string{"secret", "tags"}) {
		t.Errorf("with an attribute without column: %v", got)
	}
	if got := r.ForLoad(r.Bits("name", "size")); got != 0 {
		t.Errorf("without: %v", r.Names(got))
	}
}

func TestSaveWritesOnlyWhatChanged(t *testing.T) {
	db, r := database(t), things("safety parts")
	fill(t, db, r, 3)
	err := db.Write(context.Background(), func(tx *store.Tx) error {
		old, err := r.Get(tx, nil, "id001", r.All)
		if err != nil {
			return err
		}
		obj := *old
		named, err := r.Update(&identity.Caller{IsAdmin: true}, &obj, body(t, `{"name":"new","safe":false,"parts":[{"color":"red","shape":"s1"},{"color":"x","shape":"y"}],"size":null}`))
		if err != nil {
			return err
		}
		if diff := cmp.Diff([]string{"name", "size", "safe", "parts"}, r.Names(named)); diff != "" {
			return errors.New(diff)
		}
		changed, err := r.Save(tx, old, &obj)
		if err != nil {
			return err
		}
		if diff := cmp.Diff([]string{"name", "safe", "parts"}, r.Names(changed)); diff != "" {
			return errors.New(diff)
		}
		got, err := r.Get(tx, nil, "id001", r.All)
		if err != nil {
			return err
		}
		if got.Revision != 2 || got.Name != "new" || got.Safe || len(got.Parts) != 2 || got.Parts[1] != (part{"x", "y"}) {
			return fmt.Errorf("read back %+v", got)
		}
		if _, err := r.Save(tx, got, got); err != nil {
			return err
		}
		stale := *old
		stale.Name = "other"
		if _, err := r.Save(tx, old, &stale); err == nil {
			return errors.New("a stale object was written")
		}
		if err := r.Delete(tx, got); err != nil {
			return err
		}
		_, err = r.Get(tx, nil, "id001", r.All)
		if !fault.Is(err, "ThingNotFound") {
			return fmt.Errorf("after deletion: %v", err)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestListCostsAFixedNumberOfStatements(t *testing.T) {
	db, r := database(t), things("safety parts")
	admin := &identity.Caller{IsAdmin: true}
	cost := func(n int) int64 {
		fill(t, db, r, n)
		before := db.Statements()
		if _, err := list(t, db, r, admin, ""); err != nil {
			t.Fatal(err)
		}
		after := db.Statements()
		db.Write(context.Background(), func(tx *store.Tx) error { _, err := tx.Exec("DELETE FROM things"); return err })
		return after - before
	}
	if few, many := cost(10), cost(1500); few != many {
		t.Fatalf("10 objects cost %d statements, 1500 cost %d", few, many)
	}
}

func FuzzCreate(f *testing.F) {
	for _, s := range []string{`{"secret":"x"}`, `{"secret":"x","up":1,"size":1e99}`, `{"name":[],"secret":null}`} {
		f.Add(s)
	}
	r := things("safety")
	f.Fuzz(func(t *testing.T, s string) {
		d := json.NewDecoder(strings.NewReader(s))
		d.UseNumber()
		var m map[string]any
		if d.Decode(&m) != nil || m == nil {
			return
		}
		obj, _, err := r.Create(&identity.Caller{ProjectID: "p"}, m)
		if err != nil {
			if f := fault.As(err); f.Status != 400 {
				t.Fatalf("%s: status %d, %v", s, f.Status, err)
			}
			return
		}
		if out := r.Append(nil, obj, r.Shown); !json.Valid(out) {
			t.Fatalf("not JSON: %s", out)
		}
	})
}

func FuzzQuery(f *testing.F) {
	for _, s := range []string{"name=a&name=b", "limit=5&marker=x&sort_key=name&sort_dir=asc", "parts=color=%25&tags=a,b", "changed_since=2026-01-01"} {
		f.Add(s)
	}
	db, r := database(f), things("safety parts")
	f.Fuzz(func(t *testing.T, s string) {
		values, err := url.ParseQuery(s)
		if err != nil {
			return
		}
		q, err := r.ParseQuery(values, 0, true)
		if err == nil {
			q.Set = r.All
			err = db.Read(context.Background(), func(tx *store.Tx) error { _, err := r.Select(tx, q); return err })
		}
		if err != nil && fault.As(err).Status >= 500 {
			t.Fatalf("%q: %v", s, err)
		}
	})
}

func BenchmarkList5000(b *testing.B) {
	db, r := database(b), things("safety parts")
	fill(b, db, r, 5000)
	for name, set := range map[string]Set{"all": r.Shown, "id": r.Bit("id")} {
		b.Run(name, func(b *testing.B) {
			var buf []byte
			for b.Loop() {
				err := db.Read(context.Background(), func(tx *store.Tx) error {
					objs, err := r.Select(tx, &Query{Set: set})
					buf = buf[:0]
					for _, o := range objs {
						buf = r.Append(buf, o, set)
					}
					return err
				})
				if err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func TestTimestamp(t *testing.T) {
	for _, at := range []time.Time{{}, time.Date(2026, 11, 7, 9, 8, 5, 999, time.UTC), time.Date(2036, 1, 2, 23, 59, 59, 0, time.FixedZone("x", 3600)),
		time.Date(999, 1, 1, 0, 0, 0, 0, time.UTC)} {
		want := at.UTC().Format(`"2006-01-02T15:04:05Z"`)
		if at.IsZero() {
			want = "null"
		}
		if got := string(Timestamp.Append(nil, Time{Time: at})); got != want {
			t.Errorf("%s is shown as %s", want, got)
		}
	}
}
