package api

import (
	"net/url"
	"strings"
)

// parameter is one of a query, decoded.
type parameter struct{ name, value string }

// parameters splits a query as WebOb does: at & and ;, with escapes that are none left as they are.
func parameters(raw string) []parameter {
	var all []parameter
	for part := range strings.FieldsFuncSeq(raw, func(r rune) bool { return r == '&' || r == ';' }) {
		name, value, _ := strings.Cut(part, "=")
		all = append(all, parameter{unescape(name), unescape(value)})
	}
	return all
}

// parseQuery gives the values by name.
func parseQuery(raw string) url.Values {
	values := url.Values{}
	for _, p := range parameters(raw) {
		values.Add(p.name, p.value)
	}
	return values
}

// params are the names of the query's parameters in their order.
func (c *Call) params() []string {
	var names []string
	seen := map[string]bool{}
	for _, p := range parameters(c.Request.URL.RawQuery) {
		if !seen[p.name] {
			seen[p.name] = true
			names = append(names, p.name)
		}
	}
	return names
}

// unescape decodes the escapes of a query that are correct.
func unescape(s string) string {
	if plain, err := url.QueryUnescape(s); err == nil {
		return plain
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c == '+' {
			c = ' '
		}
		if c == '%' && i+2 < len(s) {
			if plain, err := url.QueryUnescape(s[i : i+3]); err == nil {
				b.WriteString(plain)
				i += 2
				continue
			}
		}
		b.WriteByte(c)
	}
	return b.String()
}
