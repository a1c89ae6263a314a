package main

import (
	"encoding/json"
	"fmt"
	"regexp"
	"sort"
	"strings"
)

// differ compares answers. Values that the servers made up are pairs: once seen side by side, they must stay so.
type differ struct {
	pairs map[string]string // from a value of server A to that of server B
	known map[string]bool   // values of server B in pairs
	fresh bool              // the answers may tell of addresses that were chosen anew
	urls  [2]string
	// strict is set when both servers have one database: nothing that they made up may differ.
	strict bool
}

// difference is a place in two answers: a path of keys, and what each answer has there.
type difference struct{ path, a, b string }

var (
	uuidForm  = regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$|^[0-9a-f]{32}$`)
	macForm   = regexp.MustCompile(`^([0-9a-f]{2}:){5}[0-9a-f]{2}$`)
	timeForm  = regexp.MustCompile(`^\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?Z?$`)
	requestM  = regexp.MustCompile(`req-[0-9a-f-]{36}`)
	callbackM = regexp.MustCompile(`-\d+ failed`) // an address in memory
	uuidIn    = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`)
)

// madeUp are the keys whose values a server chooses, though they have no form of their own.
var madeUp = map[string]bool{"ip_address": true, "floating_ip_address": true, "fixed_ip_address": true, "provider:segmentation_id": true,
	"segmentation_id": true, "standard_attr_id": true, "hostname": true, "fqdn": true, "cidr": true}

// answers compares two answers to one request.
func (d *differ) answers(a, b answer) []difference {
	var out []difference
	if a.status != b.status {
		out = append(out, difference{"status", fmt.Sprint(a.status), fmt.Sprint(b.status)})
	}
	for _, h := range []string{"Content-Type", "Location", "Www-Authenticate", "Allow", "Vary", "Access-Control-Allow-Origin", "Access-Control-Allow-Credentials",
		"Access-Control-Expose-Headers", "Access-Control-Max-Age", "Access-Control-Allow-Methods", "Access-Control-Allow-Headers"} {
		if x, y := a.header.Get(h), b.header.Get(h); !d.sameText(x, y) {
			out = append(out, difference{"header " + h, x, y})
		}
	}
	if a.value == nil || b.value == nil {
		if x, y := string(a.text), string(b.text); !d.sameText(x, y) {
			out = append(out, difference{"text", x, y})
		}
		return out
	}
	return append(out, d.values("", "", a.value, b.value)...)
}

// values compares two values; key is the last key on the path.
func (d *differ) values(path, key string, a, b any) []difference {
	switch x := a.(type) {
	case map[string]any:
		if y, ok := b.(map[string]any); ok {
			return d.objects(path, x, y)
		}
	case []any:
		if y, ok := b.([]any); ok {
			return d.lists(path, key, x, y)
		}
	case string:
		if y, ok := b.(string); ok && d.sameString(key, x, y) {
			return nil
		}
	case json.Number:
		if y, ok := b.(json.Number); ok && (x == y || !d.strict && madeUp[key] && d.pair(key+x.String(), key+y.String())) {
			return nil
		}
	default:
		if a == b {
			return nil
		}
	}
	return []difference{{path, show(a), show(b)}}
}

func (d *differ) objects(path string, a, b map[string]any) []difference {
	keys := map[string]bool{}
	for k := range a {
		keys[k] = true
	}
	for k := range b {
		keys[k] = true
	}
	sorted := make([]string, 0, len(keys))
	for k := range keys {
		sorted = append(sorted, k)
	}
	// Identifiers first: what stands beside them may refer to them.
	sort.Slice(sorted, func(i, j int) bool {
		if (sorted[i] == "id") != (sorted[j] == "id") {
			return sorted[i] == "id"
		}
		return sorted[i] < sorted[j]
	})
	var out []difference
	for _, k := range sorted {
		x, inA := a[k]
		y, inB := b[k]
		switch {
		case !inA:
			out = append(out, difference{path + "." + k, "absent", show(y)})
		case !inB:
			out = append(out, difference{path + "." + k, show(x), "absent"})
		default:
			out = append(out, d.values(path+"."+k, k, x, y)...)
		}
	}
	return out
}

// lists compares lists. Objects that were seen before are matched by their identifiers: the order of lists that are not
// sorted is that of random identifiers.
func (d *differ) lists(path, key string, a, b []any) []difference {
	if len(a) != len(b) {
		return []difference{{path + ".length", fmt.Sprintf("%d %s", len(a), show(a)), fmt.Sprintf("%d %s", len(b), show(b))}}
	}
	a, b = d.align(a, b)
	var out []difference
	for i := range a {
		out = append(out, d.values(path+"[]", key, a[i], b[i])...)
	}
	return out
}

// align orders both lists so that elements which belong together are at one place.
func (d *differ) align(a, b []any) ([]any, []any) {
	shared, first := identifiers(b), identifiers(a)
	rank := func(v any, isA bool) string {
		text := show(v)
		if o, ok := v.(map[string]any); ok {
			if id, ok := o["id"].(string); ok {
				if d.strict || !isA && d.known[id] {
					return "0" + id
				}
				if known, ok := d.pairs[id]; isA && ok {
					return "0" + known
				}
				if shared[id] && first[id] {
					return "0" + id
				}
			}
			text = show(o["name"]) + show(plain(o))
		}
		if isA {
			text = d.translate(text)
		}
		return "1" + text
	}
	order := func(list []any, isA bool) []any {
		out := append([]any{}, list...)
		sort.SliceStable(out, func(i, j int) bool { return rank(out[i], isA) < rank(out[j], isA) })
		return out
	}
	known := func(list []any, isA bool) bool { // nothing there that was not seen: any order is as good
		for _, v := range list {
			if _, ok := v.(map[string]any); !ok {
				return false
			}
		}
		return true
	}
	if !known(a, true) || !known(b, false) {
		if sameStrings(a, b, d) {
			return order(a, true), order(b, false)
		}
		return a, b
	}
	return order(a, true), order(b, false)
}

// identifiers are those of the objects of a list.
func identifiers(list []any) map[string]bool {
	out := map[string]bool{}
	for _, v := range list {
		if o, ok := v.(map[string]any); ok {
			if id, ok := o["id"].(string); ok {
				out[id] = true
			}
		}
	}
	return out
}

// plain leaves out of an object what a server made up.
func plain(o map[string]any) map[string]any {
	out := map[string]any{}
	for k, v := range o {
		if s, ok := v.(string); ok && (timeForm.MatchString(s) || macForm.MatchString(s) || k == "id" || uuidForm.MatchString(s)) || madeUp[k] {
			continue
		}
		out[k] = v
	}
	return out
}

// sameStrings reports whether the lists have the same elements in some order.
func sameStrings(a, b []any, d *differ) bool {
	count := map[string]int{}
	for i := range a {
		count[d.translate(show(a[i]))]++
		count[show(b[i])]--
	}
	for _, n := range count {
		if n != 0 {
			return false
		}
	}
	return true
}

func (d *differ) sameString(key, a, b string) bool {
	if d.sameText(a, b) {
		return true
	}
	if d.strict {
		return false
	}
	switch {
	case timeForm.MatchString(a) && timeForm.MatchString(b):
		return len(a) == len(b)
	case uuidForm.MatchString(a) && uuidForm.MatchString(b):
		return d.pair(a, b)
	case macForm.MatchString(a) && macForm.MatchString(b), madeUp[key]:
		if d.fresh { // what was freed is given to others
			delete(d.pairs, a)
		}
		return d.pair(a, b)
	}
	return false
}

// pair remembers that a and b belong together, and reports whether that was not known otherwise.
func (d *differ) pair(a, b string) bool {
	if known, ok := d.pairs[a]; ok {
		return known == b
	}
	d.pairs[a], d.known[b] = b, true
	return true
}

// sameText compares texts in which known pairs may stand.
func (d *differ) sameText(a, b string) bool {
	if a == b {
		return true
	}
	return callbackM.ReplaceAllString(d.translate(a), "-N failed") == callbackM.ReplaceAllString(requestM.ReplaceAllString(b, "req"), "-N failed")
}

// translate replaces values of server A by those of server B.
func (d *differ) translate(a string) string {
	if b, ok := d.pairs[a]; ok {
		return b
	}
	a = strings.ReplaceAll(a, d.urls[0], d.urls[1])
	a = requestM.ReplaceAllString(a, "req")
	a = uuidIn.ReplaceAllStringFunc(a, func(id string) string {
		if b, ok := d.pairs[id]; ok {
			return b
		}
		return id
	})
	for _, word := range strings.FieldsFunc(a, func(r rune) bool { return strings.ContainsRune(" '\",()[]/;", r) }) {
		if b, ok := d.pairs[strings.TrimSuffix(word, ".")]; ok {
			a = strings.ReplaceAll(a, strings.TrimSuffix(word, "."), b)
		}
	}
	return a
}

func show(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	return string(b)
}
