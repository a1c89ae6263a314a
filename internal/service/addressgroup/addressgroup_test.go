package addressgroup

import (
	"context"
	"encoding/json"
	"testing"

	"neutrino/internal/identity"
	"neutrino/internal/model"
	"neutrino/internal/resource"
	"neutrino/internal/resource/resourcetest"
	"neutrino/internal/store"
	"neutrino/internal/store/dbtest"

	"github.com/google/go-cmp/cmp"
)

type env struct {
	*testing.T
	db      *store.DB
	svc     *Service
	changed []string
}

func setUp(t *testing.T) *env {
	t.Helper()
	db := dbtest.Open(t)
	e := &env{T: t, db: db}
	e.svc = New(model.NewCatalog(func(string) bool { return true }), func(_ context.Context, groups []string) { e.changed = append(e.changed, groups...) })
	return e
}

var caller = &identity.Caller{ProjectID: "p"}

func (e *env) write(f func(tx *store.Tx) error) error {
	e.Helper()
	return e.db.Write(e.Context(), f)
}

// create makes a group with the id "g".
func (e *env) create(body map[string]any) error {
	e.Helper()
	return e.write(func(tx *store.Tx) error {
		r := e.svc.catalog.AddressGroups
		g, named, err := r.Create(caller, body)
		if err != nil {
			return err
		}
		g.ID = "g"
		return e.svc.create(&resource.Change[model.AddressGroup]{Resource: r, Tx: tx, Caller: caller, New: g, Named: named})
	})
}

func TestNewAddresses(t *testing.T) {
	for _, tt := range []struct {
		name, given, want string
	}{
		{"several", `["10.0.0.0/8", "2001:DB8::/32"]`, ""},
		{"host bits", `["10.0.0.1/8", "10.0.0.2/8"]`, ""},
		{"none", `null`, ""},
		{"no list", `"10.0.0.0/8"`, "400 HTTPBadRequest: Invalid input for addresses. Reason: '10.0.0.0/8' is not a list."},
		{"no prefix", `["10.0.0.1"]`, "400 HTTPBadRequest: Invalid input for addresses. Reason: '10.0.0.1' is not a valid IP subnet."},
		{"no text", `[1]`, "400 HTTPBadRequest: Invalid input for addresses. Reason: '1' is not a valid IP subnet."},
		{"twice", `["10.0.0.0/8", "10.0.0.0/8"]`, "400 HTTPBadRequest: Invalid input for addresses. Reason: Duplicate items in the list: '10.0.0.0/8'."},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var given any
			if err := json.Unmarshal([]byte(tt.given), &given); err != nil {
				t.Fatal(err)
			}
			if got := resourcetest.Describe(setUp(t).create(map[string]any{"addresses": given})); got != tt.want {
				t.Errorf("got %s\nwant %s", got, tt.want)
			}
		})
	}
}

func TestAddAndRemove(t *testing.T) {
	e := setUp(t)
	if err := e.create(map[string]any{"addresses": []any{"10.0.0.0/8", "10.1.0.0/16"}}); err != nil {
		t.Fatal(err)
	}
	steps := []struct {
		do    func(*store.Tx, *identity.Caller, string, map[string]any) (json.RawMessage, error)
		given []any
		want  string // an error
		has   []string
	}{
		{e.svc.Add, []any{"10.0.0.1", "10.2.0.1/16", "10.2.0.0/16"}, "", []string{"10.0.0.0/8", "10.0.0.1/32", "10.1.0.0/16", "10.2.0.0/16"}},
		{e.svc.Add, []any{"10.3.0.0/16", "10.1.0.0/16"}, "400 AddressesAlreadyExist: Addresses ['10.1.0.0/16'] already exist in the address group g.", nil},
		{e.svc.Add, []any{"x"}, "400 AddrFormatError: invalid IPNetwork x", nil},
		{e.svc.Remove, []any{"10.0.0.1/32", "10.9.0.0/16"}, "404 AddressesNotFound: Addresses ['10.9.0.0/16'] not found in the address group g.", nil},
		{e.svc.Remove, []any{"10.0.0.0/8", "10.1.0.1/16"}, "", []string{"10.0.0.1/32", "10.2.0.0/16"}},
		{e.svc.Remove, []any{}, "", []string{"10.0.0.1/32", "10.2.0.0/16"}},
	}
	for i, s := range steps {
		shared := i == len(steps)-1
		var answer json.RawMessage
		err := e.write(func(tx *store.Tx) (err error) {
			if shared {
				if _, err := tx.Exec("INSERT INTO addressgrouprbacs (id, project_id, target_project, action, object_id) VALUES ('r', 'o', 'p', 'access_as_shared', 'g')"); err != nil {
					return err
				}
			}
			answer, err = s.do(tx, caller, "g", map[string]any{"addresses": s.given})
			return err
		})
		if got := resourcetest.Describe(err); got != s.want {
			t.Errorf("step %d: got %s\nwant %s", i, got, s.want)
		}
		if s.want != "" {
			continue
		}
		var shown struct {
			Group struct {
				Addresses []string
				Shared    *bool
				Revision  int `json:"revision_number"`
			} `json:"address_group"`
		}
		if err := json.Unmarshal(answer, &shown); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(s.has, shown.Group.Addresses); diff != "" || shown.Group.Shared == nil || *shown.Group.Shared != shared {
			t.Errorf("step %d: %s (-want +got):\n%s", i, answer, diff)
		}
		if want := []int{4, 0, 0, 0, 6, 6}[i]; shown.Group.Revision != want {
			t.Errorf("step %d: revision %d, want %d", i, shown.Group.Revision, want)
		}
	}
	if diff := cmp.Diff([]string{"g", "g"}, e.changed); diff != "" {
		t.Errorf("changed groups (-want +got):\n%s", diff)
	}
}
