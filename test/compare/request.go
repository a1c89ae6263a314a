package main

import (
	"fmt"
	"net/url"
	"regexp"
	"strings"
)

// request is one line of a script:
//
//	CALLER METHOD PATH [header:NAME=VALUE]... [BODY] [-> NAME]
//
// CALLER is one of personas, or "nobody". PATH begins after /v2.0; a path that begins with "//" is taken from the server's
// root. BODY is sent as it is, @FILE is the content of a file, and VALUE may have percent escapes. NAME names the object that the answer holds: later lines write $NAME.id or
// $NAME.attribute for values of it, and $CALLER.project for the project of a caller. In a script, lines that begin with #
// are comments, and those that begin with ? are left out unless both servers have what they refer to.
type request struct {
	caller, method, path string
	header               map[string]string
	body                 string
	name                 string
}

var (
	nameAtEnd = regexp.MustCompile(`^(.*?)\s*->\s*(\w+)\s*$`)
	reference = regexp.MustCompile(`\$(\w+)\.([a-z_:0-9.]+)`)
)

// parseRequest reads a line of a script.
func parseRequest(line string) (request, error) {
	q := request{header: map[string]string{}}
	if m := nameAtEnd.FindStringSubmatch(line); m != nil {
		line, q.name = m[1], m[2]
	}
	head := strings.SplitN(strings.TrimSpace(line), " ", 4)
	if len(head) < 3 {
		return q, fmt.Errorf("a request has a caller, a method and a path: %q", line)
	}
	q.caller, q.method, q.path = head[0], head[1], head[2]
	if len(head) == 4 {
		q.body = strings.TrimSpace(head[3])
	}
	for strings.HasPrefix(q.body, "header:") {
		field, rest, _ := strings.Cut(q.body, " ")
		key, value, _ := strings.Cut(strings.TrimPrefix(field, "header:"), "=")
		if plain, err := url.PathUnescape(value); err == nil {
			value = plain
		}
		q.header[key], q.body = value, strings.TrimSpace(rest)
	}
	return q, nil
}

func (q request) String() string {
	s := q.caller + " " + q.method + " " + q.path
	for k, v := range q.header {
		s += " header:" + k + "=" + url.PathEscape(v)
	}
	if q.body != "" {
		s += " " + q.body
	}
	if q.name != "" {
		s += " -> " + q.name
	}
	return s
}
