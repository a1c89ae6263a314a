package main

import (
	"encoding/json"
	"fmt"
	"math/rand"
	"sort"
)

// family makes up requests about one kind of object. It is a table: attributes with values that are good, bad and absurd.
type family struct {
	path, name string
	attributes map[string][]any            // values to choose from; a func(*world) any chooses by what exists
	base       func(*world) map[string]any // attributes that belong together, of most new objects
	request    func(*world) request        // instead of all this: makes up a request in a way of its own
	required   []string                    // attributes that most bodies have
	filters    []string                    // attributes that lists are filtered by, besides those of the table
	actions    []action                    // member actions
}

// action is a request about an object that exists, `PUT /routers/ID/add_router_interface`.
type action struct {
	method, path string
	body         func(*world) any
}

// world is what a random run has made so far.
type world struct {
	*rand.Rand
	callers []string            // who asks, each as often as it is here
	made    map[string][]string // names of objects by family
	kind    string              // the family of the request that is being made up
	next    int
}

// families are the kinds of objects that random requests can be about.
var families = map[string]*family{}

func familyNames() []string {
	names := make([]string, 0, len(families))
	for n := range families {
		names = append(names, n)
	}
	sort.Strings(names)
	return names
}

// absurd are values for any attribute.
var absurd = []any{nil, "", "x", 0, -1, 1.5, true, "true", []any{}, map[string]any{}, []any{"a", 1}, map[string]any{"a": 1},
	"00000000-0000-4000-8000-000000000000", "ä\u0000ö", 1 << 40}

// ref refers to an attribute of an existing object of a family, or makes one up if there is none.
func (w *world) ref(family, attribute string) any {
	made := w.made[family]
	if len(made) == 0 || w.Intn(40) == 0 {
		return "00000000-0000-4000-8000-000000000000"
	}
	return "$" + made[w.Intn(len(made))] + "." + attribute
}

// id makes a function that refers to some object of a family.
func id(family string) func(*world) any {
	return func(w *world) any { return w.ref(family, "id") }
}

func (w *world) value(v any) any {
	if f, ok := v.(func(*world) any); ok {
		return f(w)
	}
	return v
}

// attributes makes up a body: n attributes besides those required, once in a while an absurd value.
func (w *world) attributes(f *family, required bool, n int) map[string]any {
	out := map[string]any{}
	if required {
		if f.base != nil {
			out = f.base(w)
		}
		for _, a := range f.required {
			if w.Intn(40) > 0 {
				out[a] = w.value(pick(w, f.attributes[a]))
			}
		}
	}
	names := make([]string, 0, len(f.attributes))
	for a := range f.attributes {
		names = append(names, a)
	}
	sort.Strings(names)
	for range n {
		a := names[w.Intn(len(names))]
		out[a] = w.value(pick(w, f.attributes[a]))
		if w.Intn(15) == 0 {
			out[a] = pick(w, absurd)
		}
	}
	if w.Intn(60) == 0 {
		out["unknown_attribute"] = 1
	}
	return out
}

func pick[T any](w *world, list []T) T { return list[w.Intn(len(list))] }

// usualCallers are those of random requests that are not about somebody in particular.
const usualCallers = "admin,admin,admin,admin,member,member,member,manager,reader,service,other"

// caller picks who asks.
func (w *world) caller() string { return pick(w, w.callers) }

// request makes up a request about a family.
func (w *world) request(kind string, f *family) request {
	w.kind = kind
	if f.request != nil {
		return f.request(w)
	}
	q := request{caller: w.caller(), header: map[string]string{}, method: "GET", path: "/" + f.path}
	made := w.made[kind]
	object := func() string { return "/" + f.path + "/$" + made[w.Intn(len(made))] + ".id" }
	what := w.Intn(100)
	switch {
	case len(made) == 0 || what < 29:
		w.next++
		q.method, q.name = "POST", fmt.Sprint(f.name, w.next)
		q.body = text(map[string]any{f.name: w.attributes(f, true, w.Intn(4))})
	case what < 31:
		q.method = "POST"
		several := []any{}
		for range w.Intn(4) {
			several = append(several, w.attributes(f, true, w.Intn(3)))
		}
		q.body = text(map[string]any{f.name + "s": several})
	case what < 50:
		q.method, q.path = "PUT", object()
		q.body = text(map[string]any{f.name: w.attributes(f, false, 1+w.Intn(3))})
		w.ifMatch(&q, made)
	case what < 60:
		q.path = object()
		if w.Intn(4) == 0 {
			q.path += w.query(f)
		}
	case what < 80 && len(f.actions) > 0:
		a := pick(w, f.actions)
		q.method, q.path = a.method, object()+"/"+a.path
		if a.body != nil {
			q.body = text(a.body(w))
		}
		w.ifMatch(&q, made)
	case what < 90:
		q.path += w.query(f)
	case what < 96:
		q.method, q.path = "DELETE", object()
		w.ifMatch(&q, made)
	case what < 97:
		q.method, q.path = pick(w, []string{"POST", "PATCH", "HEAD", "OPTIONS"}), pick(w, []string{"/" + f.path, object(), object() + "/x"})
	default:
		q.method, q.path = pick(w, []string{"GET", "GET", "PUT", "DELETE"}), "/"+f.path+"/"+pick(w, []string{"x", "00000000-0000-4000-8000-000000000000"})
		if q.method == "PUT" {
			q.body = text(map[string]any{f.name: w.attributes(f, false, w.Intn(2))})
		}
	}
	return q
}

// ifMatch adds, once in a while, a condition on the object's revision.
func (w *world) ifMatch(q *request, made []string) {
	if w.Intn(15) == 0 {
		q.header["If-Match"] = pick(w, []string{"revision_number=0", "revision_number=1", "revision_number=2", "revision_number=$" + pick(w, made) + ".revision_number", "revision_number=x", "x"})
	}
}

// query makes up filters, sorting and fields.
func (w *world) query(f *family) string {
	names := append([]string{"id", "name", "description", "project_id", "fields", "sort_key", "revision_number"}, f.filters...)
	for a := range f.attributes {
		names = append(names, a)
	}
	sort.Strings(names)
	q := "?"
	for range 1 + w.Intn(2) {
		a := names[w.Intn(len(names))]
		v := w.value(pick(w, append([]any{"x", "", "true"}, f.attributes[a]...)))
		switch a {
		case "fields":
			v = pick(w, names)
		case "sort_key":
			v = pick(w, names) + "&sort_dir=" + pick(w, []string{"asc", "desc", "desc", "x"})
			q += "sort_key=" + fmt.Sprint(v) + "&"
			continue
		case "id":
			v = w.ref(w.kind, "id")
		}
		if _, ok := v.(string); !ok {
			v = text(v)
		}
		q += fmt.Sprintf("%s=%s&", a, escape(fmt.Sprint(v)))
	}
	return q[:len(q)-1]
}

// runRandom makes up requests and runs them.
func (r *runner) runRandom(kinds, callers []string, random *rand.Rand, steps int) error {
	w := &world{Rand: random, callers: callers, made: map[string][]string{}}
	for _, kind := range kinds {
		if families[kind] == nil {
			return fmt.Errorf("no family %q", kind)
		}
	}
	for range steps {
		kind := pick(w, kinds)
		q := w.request(kind, families[kind])
		status, err := r.run(q)
		if err != nil {
			return err
		}
		switch {
		case q.name != "" && status < 300 && r.b.objects[q.name] != nil:
			w.made[kind] = append(w.made[kind], q.name)
		case q.method == "DELETE" && status == 204:
			w.forget(kind, q.path)
		}
	}
	return nil
}

// forget takes a deleted object off the list, most of the time: what is gone may be asked for again.
func (w *world) forget(kind, path string) {
	if w.Intn(10) == 0 {
		return
	}
	kept := w.made[kind][:0]
	for _, name := range w.made[kind] {
		if path != "/"+families[kind].path+"/$"+name+".id" {
			kept = append(kept, name)
		}
	}
	w.made[kind] = kept
}

func text(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // a table of this program has a value that JSON has not
	}
	return string(b)
}
