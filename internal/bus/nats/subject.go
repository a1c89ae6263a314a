package nats

import (
	"errors"
	"fmt"
	"strings"

	"neutrino/internal/bus"
)

const fanoutSuffix = "_fanout" // upstream's name for the exchange that reaches every server of a topic

var (
	errNoTopic     = errors.New("bus: a message needs a topic")
	errFanoutTopic = errors.New("bus: the name of a topic must not end in " + fanoutSuffix)
)

// subject names the NATS subject of a target:
//
//	neutron.<topic>              one server of the topic (queue group)
//	neutron.<topic>.host.<host>  the server on that host
//	neutron.<topic>_fanout       every server of the topic
func subject(to bus.Target) (string, error) {
	if to.Topic == "" {
		return "", errNoTopic
	}
	if strings.HasSuffix(to.Topic, fanoutSuffix) {
		return "", fmt.Errorf("%w: %q", errFanoutTopic, to.Topic)
	}
	s := "neutron." + token(to.Topic)
	switch {
	case to.Fanout:
		return s + fanoutSuffix, nil
	case to.Host != "":
		return s + ".host." + token(to.Host), nil
	}
	return s, nil
}

// token makes one subject token of any string. NATS gives a meaning to dot, star, > and white space, and host names
// have dots; whatever is not a plain letter is percent-encoded, so that different names stay different.
func token(s string) string {
	var b strings.Builder
	for i := range len(s) {
		c := s[i]
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '-', c == '_':
			b.WriteByte(c)
		default:
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}
