package resource

import "sync"

// plan is a query of the rows of objects and what its columns hold.
type plan[P any] struct {
	text     string
	attrs    []*attr[P] // whose columns come first; those of standard attributes follow
	lists    []int      // attributes of which a column tells whether the object has any, at the end
	projects int        // how many arguments are the caller's project; only that of a plan for one object
}

// planKey is what the query of one object depends on.
type planKey struct {
	read              Set
	standard, limited bool
}

// plans keeps the queries of single objects: writing them was a third of what showing a port allocates.
type plans[P any] struct {
	mu   sync.Mutex
	kept map[planKey]*plan[P]
}

// mostPlans bounds what callers who ask for ever other attributes can make a server keep.
const mostPlans = 64

func (p *plans[P]) get(key planKey, write func() *plan[P]) *plan[P] {
	p.mu.Lock()
	defer p.mu.Unlock()
	if kept := p.kept[key]; kept != nil {
		return kept
	}
	made := write()
	if p.kept == nil || len(p.kept) >= mostPlans {
		p.kept = map[planKey]*plan[P]{}
	}
	p.kept[key] = made
	return made
}
