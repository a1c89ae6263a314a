package api

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// CORS says to which web sites browsers may show answers (section cors of the configuration; oslo.middleware, cors.py).
type CORS struct {
	Origins     []string // "*" = all; none = no site
	Credentials bool
	Expose      []string // headers that scripts may read
	MaxAge      int      // how long a browser may remember, in seconds; 0 = as it likes
	Methods     []string
	Headers     []string // headers that scripts may send, besides simpleHeaders
}

// simpleHeaders may always be sent.
var simpleHeaders = []string{"Accept", "Accept-Language", "Content-Type", "Cache-Control", "Content-Language", "Expires", "Last-Modified", "Pragma"}

// apply adds the headers that belong to an answer to r.
func (c *CORS) apply(h http.Header, r *http.Request) {
	origin := c.origin(r)
	if origin == "" {
		return
	}
	if r.Method == http.MethodOptions {
		c.preflight(h, r, origin)
		return
	}
	c.allow(h, origin)
	if len(c.Expose) > 0 {
		h.Set("Access-Control-Expose-Headers", strings.Join(c.Expose, ","))
	}
}

// origin is the allowed origin that r comes from, "" if there is none.
func (c *CORS) origin(r *http.Request) string {
	origin := r.Header.Get("Origin")
	switch {
	case r.Header["Origin"] == nil:
	case slices.Contains(c.Origins, origin):
		return origin
	case slices.Contains(c.Origins, "*"):
		return "*"
	}
	return ""
}

func (c *CORS) allow(h http.Header, origin string) {
	h.Add("Vary", "Origin")
	h.Set("Access-Control-Allow-Origin", origin)
	if c.Credentials {
		h.Set("Access-Control-Allow-Credentials", "true")
	}
}

// preflight answers a browser that asks whether it may send a request.
func (c *CORS) preflight(h http.Header, r *http.Request, origin string) {
	method := r.Header.Get("Access-Control-Request-Method")
	if !slices.Contains(c.Methods, method) {
		return
	}
	var asked []string
	for name := range strings.SplitSeq(r.Header.Get("Access-Control-Request-Headers"), ",") {
		if name = strings.TrimSpace(name); name == "" {
			continue
		}
		same := func(allowed string) bool { return strings.EqualFold(allowed, name) }
		if !slices.ContainsFunc(c.Headers, same) && !slices.ContainsFunc(simpleHeaders, same) {
			return
		}
		asked = append(asked, name)
	}
	c.allow(h, origin)
	if c.MaxAge != 0 {
		h.Set("Access-Control-Max-Age", strconv.Itoa(c.MaxAge))
	}
	h.Set("Access-Control-Allow-Methods", method)
	if len(asked) > 0 {
		h.Set("Access-Control-Allow-Headers", strings.Join(asked, ","))
	}
}
