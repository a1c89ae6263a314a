package lab

import (
	"fmt"
	"strconv"
	"strings"
)

// Metric is the sum of a metric of a daemon over its labels; 0 if it has none of that name.
func (h *Host) Metric(daemon, name string) (sum float64) {
	h.lab.T.Helper()
	text, err := h.Get("http://" + fmt.Sprintf(healthListen, healthPorts[daemon]) + "/metrics")
	if err != nil {
		h.lab.T.Fatalf("metrics of %s: %v", daemon, err)
	}
	for line := range strings.Lines(text) {
		sample, value, ok := strings.Cut(strings.TrimSpace(line), " ")
		if ok && (sample == name || strings.HasPrefix(sample, name+"{")) {
			v, _ := strconv.ParseFloat(value, 64)
			sum += v
		}
	}
	return sum
}
