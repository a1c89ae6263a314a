package api

import (
	"net/http"
	"testing"
)

func BenchmarkListPorts5000(b *testing.B) {
	g := newRig(b, Config{})
	network := g.make(who("p1", "member"), "networks", `{"network":{}}`)
	for i := range 5000 {
		g.port(network, "p1", i)
	}
	for name, h := range map[string]http.Header{"admin": admin, "member": who("p1", "member", "reader")} {
		for _, query := range []string{"", "?fields=id", "?limit=1"} {
			b.Run(name+query, func(b *testing.B) {
				for b.Loop() {
					g.log.Reset()
					w := g.send(h, "GET", "/v2.0/ports"+query, "")
					if w.Code != 200 {
						b.Fatal(w.Body)
					}
					b.SetBytes(int64(w.Body.Len()))
				}
			})
		}
	}
}

func BenchmarkCreateNetwork(b *testing.B) {
	g := newRig(b, Config{})
	for b.Loop() {
		g.log.Reset()
		g.make(admin, "networks", `{"network":{"name":"n"}}`)
	}
}
