package api

import (
	"slices"

	"neutrino/internal/policy"
	"neutrino/internal/resource"
	"neutrino/internal/store"
)

// view is what a caller may see of the objects of one resource. Rules that the credentials decide are settled before
// anything is read; the others are asked per object (the object itself) or of the first one (its attributes), as upstream
// does.
type view[R any] struct {
	res     *resource.Resource[R]
	judge   *judge
	show    resource.Set // what may be shown, but for ask
	read    resource.Set // what must be read for that
	ask     []string     // attributes whose rules depend on the object
	verdict policy.Verdict
	narrow  bool // only some attributes are wanted, and what is not part of the API is not among what upstream reads then
}

// viewOf narrows what the caller wants to see to what the credentials allow.
func viewOf[R any](res *resource.Resource[R], j *judge, wanted resource.Set) *view[R] {
	rule := readRule(res.Name)
	v := &view[R]{res: res, judge: j, show: wanted, verdict: j.Decide(rule), narrow: wanted != res.Shown}
	v.read = res.Bits(j.NeedsAttrs(rule)...)
	for _, attr := range j.Rules().ReadAttrs(res.Name) {
		if v.show&res.Bit(attr) == 0 {
			continue
		}
		switch j.Decide(rule + ":" + attr) {
		case policy.No:
			v.hide(attr)
		case policy.AskRow:
			v.ask = append(v.ask, attr)
			v.read |= res.Bits(j.NeedsAttrs(rule + ":" + attr)...)
		}
	}
	if v.verdict == policy.AskRow || len(v.ask) > 0 {
		v.read |= res.Needed // whom a parent is shared with depends on the owner of the object
	}
	v.read |= v.show
	v.read |= res.ForLoad(v.read)
	return v
}

func readRule(resource string) string { return string(policy.Get) + "_" + resource }

// hide removes an attribute; the two names of the owner go together.
func (v *view[R]) hide(attr string) {
	v.show &^= v.res.Bit(attr)
	if attr == "project_id" {
		v.show &^= v.res.Bit("tenant_id")
	}
}

// visible drops the objects that the caller may not see.
func (v *view[R]) visible(tx *store.Tx, objs []*R) ([]*R, error) {
	if v.verdict != policy.AskRow {
		if v.verdict == policy.No {
			objs = nil
		}
		return objs, nil
	}
	rule, parents := readRule(v.res.Name), parentsOf(tx, v.res, objs)
	var err error
	return slices.DeleteFunc(objs, func(obj *R) bool {
		if err != nil {
			return false
		}
		var ok bool
		ok, err = v.judge.Allows(rule, v.target(obj, parents))
		return !ok
	}), err
}

// target is an object as policy sees it.
func (v *view[R]) target(obj *R, parents *parents) policy.Target {
	t := target[R]{v.res, obj, parents}
	if v.narrow {
		return asFetched[R]{t}
	}
	return t
}

// decide asks the rules that depend on the object what of it may be shown.
func (v *view[R]) decide(tx *store.Tx, first *R) error {
	t := target[R]{v.res, first, newParents(tx)}
	for _, attr := range v.ask {
		ok, err := v.judge.Allows(readRule(v.res.Name)+":"+attr, t)
		if err != nil {
			return err
		}
		if !ok {
			v.hide(attr)
		}
	}
	return nil
}
