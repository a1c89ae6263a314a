package agents

import (
	"math/rand/v2"
	"slices"

	"neutrino/internal/model"
)

// Scheduler is how agents are chosen among those that could serve a network (upstream scheduler/dhcp_agent_scheduler.py).
type Scheduler int

// Schedulers.
const (
	Weight        Scheduler = iota // the least loaded first; upstream's default
	Chance                         // any
	AZAwareWeight                  // as many in each availability zone, in each the least loaded first
)

// choose picks up to n of the candidates. zones counts by zone the agents that serve the network already.
func (s Scheduler) choose(candidates []*model.Agent, load, zones map[string]int, n int) []*model.Agent {
	list := slices.Clone(candidates)
	rand.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	if s != Chance {
		slices.SortStableFunc(list, func(a, b *model.Agent) int { return load[a.ID] - load[b.ID] })
	}
	n = min(n, len(list))
	if s != AZAwareWeight {
		return list[:n]
	}
	used := map[string]int{}
	var chosen []*model.Agent
	for len(chosen) < n {
		best := 0
		for i, a := range list { // of equal zones the one with the least loaded agent
			if weight := zones[zoneOf(a)] + used[zoneOf(a)]; weight < zones[zoneOf(list[best])]+used[zoneOf(list[best])] {
				best = i
			}
		}
		used[zoneOf(list[best])]++
		chosen, list = append(chosen, list[best]), slices.Delete(list, best, best+1)
	}
	return chosen
}

func zoneOf(a *model.Agent) string {
	if a.AvailabilityZone == nil {
		return ""
	}
	return *a.AvailabilityZone
}
