package api

import (
	"net/http"
	"net/url"
	"strings"

	"neutrino/internal/resource"
)

// page is what links need to know about a list.
type page struct {
	limit, length int
	reverse       bool
	first, last   string // ids; empty if the page is
}

func pageOf[R any](res *resource.Resource[R], q *resource.Query, objs []*R) page {
	p := page{limit: q.Limit, length: len(objs), reverse: q.Reverse}
	if len(objs) > 0 {
		p.first, p.last = res.ID(objs[0]), res.ID(objs[len(objs)-1])
	}
	return p
}

// appendLinks adds the links to the neighbouring pages by upstream's rules (neutron/api/api_common.py,
// get_pagination_links): a short page ends the list in the direction of travel, and nothing else is known, so that the
// first page has a "previous" link.
func (c *Call) appendLinks(b []byte, collection string, p page) []byte {
	b = append(b, ',')
	b = resource.AppendString(b, collection+"_links")
	b = append(b, ':', '[')
	short := p.length < p.limit
	n := len(b)
	if !short || p.reverse {
		b = append(b, `{"rel":"next","href":`...)
		b = append(resource.AppendString(b, c.pageURL(p.last, false)), '}')
	}
	if !short || !p.reverse {
		if len(b) > n {
			b = append(b, ',')
		}
		b = append(b, `{"rel":"previous","href":`...)
		b = append(resource.AppendString(b, c.pageURL(p.first, true)), '}')
	}
	return append(b, ']')
}

// pageURL is the URL of the request with another marker, its other parameters in their order.
func (c *Call) pageURL(marker string, reverse bool) string {
	var params []string
	for _, p := range parameters(c.Request.URL.RawQuery) {
		if p.name != "marker" && p.name != "page_reverse" {
			params = append(params, url.QueryEscape(p.name)+"="+url.QueryEscape(p.value))
		}
	}
	if marker != "" {
		params = append(params, "marker="+url.QueryEscape(marker))
	}
	if reverse {
		params = append(params, "page_reverse=True")
	}
	return c.server.public(c.server.linkURL(c.Request)) + "?" + strings.Join(params, "&")
}

// linkURL is requestURL for links, where X-Forwarded-Proto is believed from everybody, as upstream does
// (neutron/api/api_common.py, get_path_url).
func (s *Server) linkURL(r *http.Request) *url.URL {
	u := s.requestURL(r)
	if proto := r.Header.Get("X-Forwarded-Proto"); proto != "" {
		u.Scheme = proto
	}
	return u
}

// requestURL is the address that the client used, without parameters. Behind a trusted proxy it is the proxy's
// (oslo.middleware, http_proxy_to_wsgi).
func (s *Server) requestURL(r *http.Request) *url.URL {
	u := &url.URL{Scheme: "http", Host: r.Host, Path: r.URL.Path, RawPath: r.URL.RawPath}
	if r.TLS != nil {
		u.Scheme = "https"
	}
	if !s.cfg.TrustProxy {
		return u
	}
	proto, host := r.Header.Get("X-Forwarded-Proto"), r.Header.Get("X-Forwarded-Host")
	if f := r.Header.Get("Forwarded"); f != "" {
		proto, host = forwarded(f)
	}
	if proto != "" {
		u.Scheme = proto
	}
	if host != "" {
		u.Host = host
	}
	if prefix := r.Header.Get("X-Forwarded-Prefix"); prefix != "" {
		u.Path, u.RawPath = prefix+u.Path, ""
	}
	return u
}

// forwarded reads the first element of a Forwarded header (RFC 7239).
func forwarded(header string) (proto, host string) {
	first, _, _ := strings.Cut(header, ",")
	for pair := range strings.SplitSeq(first, ";") {
		key, value, _ := strings.Cut(pair, "=")
		value = strings.Trim(strings.TrimSpace(value), `"`)
		switch strings.ToLower(strings.TrimSpace(key)) {
		case "proto":
			proto = value
		case "host":
			host = value
		}
	}
	return proto, host
}

// public puts the configured prefix in the place of scheme and host.
func (s *Server) public(u *url.URL) string {
	prefix, err := url.Parse(s.cfg.LinkPrefix)
	if s.cfg.LinkPrefix == "" || err != nil {
		return u.String()
	}
	p := *u
	p.Scheme, p.Host = prefix.Scheme, prefix.Host
	p.Path, p.RawPath = prefix.Path+u.Path, ""
	return strings.TrimRight(p.String(), "/")
}
