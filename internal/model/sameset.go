package model

// SameSet tells whether two lists have the same elements, each as often, in any order.
func SameSet[E comparable](a, b []E) bool {
	if len(a) != len(b) {
		return false
	}
	count := make(map[E]int, len(a))
	for _, e := range a {
		count[e]++
	}
	for _, e := range b {
		if count[e]--; count[e] < 0 {
			return false
		}
	}
	return true
}
