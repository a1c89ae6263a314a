package metadata

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/netip"
	"strings"
	"time"
)

// Socket is the Backend that passes requests to a metadata agent at a unix socket.
type Socket struct {
	proxy *httputil.ReverseProxy
}

type forwardKey struct{}

// forward is where the request came from, on its way through the reverse proxy.
type forward struct {
	from   Source
	client netip.Addr
}

// NewSocket makes a backend for the agent at path (metadata_proxy_socket).
func NewSocket(path string, log *slog.Logger) *Socket {
	dialer := net.Dialer{Timeout: 30 * time.Second}
	return &Socket{&httputil.ReverseProxy{
		Rewrite: rewrite,
		Transport: &http.Transport{
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return dialer.DialContext(ctx, "unix", path)
			},
			DisableKeepAlives:     true, // upstream's agent closes after each answer
			DisableCompression:    true,
			ResponseHeaderTimeout: 70 * time.Second,
		},
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			log.Error("the metadata agent does not answer", "socket", path, "error", err)
			refuse(w, http.StatusServiceUnavailable)
		},
	}}
}

// ServeMetadata implements Backend.
func (s *Socket) ServeMetadata(w http.ResponseWriter, r *http.Request, from Source, client netip.Addr) {
	ctx := context.WithValue(r.Context(), forwardKey{}, forward{from, client})
	s.proxy.ServeHTTP(w, r.WithContext(ctx))
}

// rewrite says where the request came from, and removes what the client says about that.
func rewrite(p *httputil.ProxyRequest) {
	f := p.In.Context().Value(forwardKey{}).(forward)
	p.Out.URL.Scheme, p.Out.URL.Host = "http", "metadata"
	for _, h := range []string{headerNetwork, headerRouter, headerForwardedFor, headerInstance, headerTenant, headerSignature} {
		p.Out.Header.Del(h)
	}
	p.Out.Header.Set(headerForwardedFor, f.client.String())
	if f.from.RouterID != "" {
		p.Out.Header.Set(headerRouter, f.from.RouterID)
	} else {
		p.Out.Header.Set(headerNetwork, f.from.NetworkID)
	}
}

// Handler serves the other end of a Socket, for our proxies and upstream's haproxy: it reads the headers and hands the
// request to the backend. Whoever can reach it is trusted, so it belongs on a unix socket only.
func Handler(backend Backend) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		from := Source{NetworkID: r.Header.Get(headerNetwork), RouterID: r.Header.Get(headerRouter)}
		if (from.NetworkID == "") == (from.RouterID == "") { // both: one of them comes from the client
			refuse(w, http.StatusNotFound)
			return
		}
		client, err := forwardedFor(r.Header)
		if err != nil {
			refuse(w, http.StatusInternalServerError)
			return
		}
		backend.ServeMetadata(w, r, from, client)
	})
}

// forwardedFor is the last address of X-Forwarded-For: haproxy appends the true one to what the client sent.
func forwardedFor(h http.Header) (netip.Addr, error) {
	all := strings.Join(h.Values(headerForwardedFor), ",")
	last := strings.TrimSpace(all[strings.LastIndexByte(all, ',')+1:])
	a, err := netip.ParseAddr(last)
	return a.Unmap().WithZone(""), err
}
