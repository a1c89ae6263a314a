package metadata

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
)

// Nova with https: who is trusted, and who we are.
func TestNovaHTTPS(t *testing.T) {
	nova := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, r.Header.Get("X-Instance-ID"), " certificates=", len(r.TLS.PeerCertificates))
	}))
	nova.TLS = &tls.Config{ClientAuth: tls.RequestClientCert}
	nova.Config.ErrorLog = log.New(io.Discard, "", 0) // a refused certificate
	nova.StartTLS()
	defer nova.Close()
	dir := t.TempDir()
	write := func(name, kind string, der []byte) string {
		path := filepath.Join(dir, name)
		must(t, os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600))
		return path
	}
	key, err := x509.MarshalPKCS8PrivateKey(nova.TLS.Certificates[0].PrivateKey)
	must(t, err)
	cert, keyFile := write("cert.pem", "CERTIFICATE", nova.Certificate().Raw), write("key.pem", "PRIVATE KEY", key)
	for name, c := range map[string]struct {
		cfg    NovaConfig
		status int
		body   string
	}{
		"unknown authority":  {NovaConfig{}, 503, "Service Unavailable\n"},
		"insecure":           {NovaConfig{Insecure: true}, 200, "vm1 certificates=0"},
		"authority":          {NovaConfig{CAFile: cert}, 200, "vm1 certificates=0"},
		"client certificate": {NovaConfig{CAFile: cert, CertFile: cert, KeyFile: keyFile}, 200, "vm1 certificates=1"},
		"insecure with both": {NovaConfig{Insecure: true, CAFile: "missing", CertFile: cert, KeyFile: keyFile}, 200, "vm1 certificates=1"},
	} {
		t.Run(name, func(t *testing.T) {
			c.cfg.Protocol, c.cfg.Port = "https", nova.Listener.Addr().(*net.TCPAddr).Port
			w := httptest.NewRecorder()
			newNova(t, c.cfg, &server{ports: testPorts()}).ServeMetadata(w, httptest.NewRequest("GET", "/", nil), Source{NetworkID: "net1"}, netip.MustParseAddr("10.0.0.5"))
			if w.Code != c.status || w.Body.String() != c.body {
				t.Errorf("%d %s, want %d %s", w.Code, w.Body, c.status, c.body)
			}
		})
	}
	if _, err := NewNova(NovaConfig{Protocol: "https", CAFile: filepath.Join(dir, "missing")}, nil, quiet); err == nil {
		t.Error("a missing authority file is no error")
	}
}
