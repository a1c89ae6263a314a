package nats

import (
	"errors"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"neutrino/internal/bus"
)

func TestSubject(t *testing.T) {
	tests := []struct {
		to   bus.Target
		want string
	}{
		{bus.Target{Topic: "q-plugin"}, "neutron.q-plugin"},
		{bus.Target{Topic: "dhcp_agent", Host: "node-1"}, "neutron.dhcp_agent.host.node-1"},
		{bus.Target{Topic: "dhcp_agent", Host: "node-1.example.com"}, "neutron.dhcp_agent.host.node-1%2Eexample%2Ecom"},
		{bus.Target{Topic: "l3_agent", Host: "node-1", Fanout: true}, "neutron.l3_agent_fanout"},
		{bus.Target{Topic: "a.*.>", Host: "b c%\n"}, "neutron.a%2E%2A%2E%3E.host.b%20c%25%0A"},
		{bus.Target{Topic: "é"}, "neutron.%C3%A9"},
	}
	for _, tt := range tests {
		got, err := subject(tt.to)
		if err != nil || got != tt.want {
			t.Errorf("subject(%+v) = %q, %v; want %q", tt.to, got, err, tt.want)
		}
	}
}

func TestSubjectRefuses(t *testing.T) {
	for topic, want := range map[string]error{"": errNoTopic, "q-plugin_fanout": errFanoutTopic} {
		if _, err := subject(bus.Target{Topic: topic}); !errors.Is(err, want) {
			t.Errorf("topic %q: error %v, want %v", topic, err, want)
		}
	}
}

// Different targets never share a subject, and no name can smuggle in a wildcard or one more token.
func TestSubjectsAreDistinct(t *testing.T) {
	target := rapid.Custom(func(t *rapid.T) bus.Target {
		return bus.Target{
			Topic:  rapid.StringMatching(`[a.*> _%\-]{1,6}`).Draw(t, "topic"),
			Host:   rapid.StringMatching(`[a.*> _%\-]{0,6}`).Draw(t, "host"),
			Fanout: rapid.Bool().Draw(t, "fanout"),
		}
	})
	rapid.Check(t, func(t *rapid.T) {
		a, b := target.Draw(t, "a"), target.Draw(t, "b")
		if a.Fanout {
			a.Host = ""
		}
		if b.Fanout {
			b.Host = ""
		}
		sa, errA := subject(a)
		sb, errB := subject(b)
		if errA != nil || errB != nil {
			t.Skip("refused")
		}
		if (sa == sb) != (a == b) {
			t.Fatalf("%+v and %+v have the subjects %q and %q", a, b, sa, sb)
		}
		if strings.ContainsAny(sa, "*> \t\r\n") || strings.Count(sa, ".") != 1 && a.Host == "" {
			t.Fatalf("%+v has the subject %q", a, sa)
		}
	})
}
