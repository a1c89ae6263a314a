package nats

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"neutrino/internal/bus"
)

func TestAuthentication(t *testing.T) {
	tests := []struct {
		name   string
		server ServerConfig
		client Config
		ok     bool
	}{
		{"token", ServerConfig{Token: "secret"}, Config{Token: "secret"}, true},
		{"wrong token", ServerConfig{Token: "secret"}, Config{Token: "guess"}, false},
		{"no token", ServerConfig{Token: "secret"}, Config{}, false},
		{"user", ServerConfig{User: "neutron", Password: "secret"}, Config{User: "neutron", Password: "secret"}, true},
		{"wrong password", ServerConfig{User: "neutron", Password: "secret"}, Config{User: "neutron", Password: "guess"}, false},
		{"open", ServerConfig{}, Config{}, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.server.Listen = "127.0.0.1:0"
			s := startServer(t, tt.server)
			serve(t, join(t, s, "server"), "t", "h", named("h")) // a connection of the server itself is always let in
			tt.client.URL = "nats://" + s.Addr()
			err := dial(t, tt.client).Call(soon(t), bus.Target{Topic: "t"}, message("m", nil), nil)
			if (err == nil) != tt.ok {
				t.Errorf("call: %v", err)
			}
		})
	}
}

func TestTLS(t *testing.T) {
	files, stranger := certificate(t), certificate(t)
	s := startServer(t, ServerConfig{Listen: "127.0.0.1:0", TLS: files})
	serve(t, join(t, s, "server"), "t", "h", named("h"))
	tests := []struct {
		name string
		url  string
		tls  TLS
		ok   bool
	}{
		{"mutual", "tls://", files, true},
		{"mutual, plain scheme", "nats://", files, true},
		{"no client certificate", "tls://", TLS{CAFile: files.CAFile}, false},
		{"client of another authority", "tls://", TLS{CAFile: files.CAFile, CertFile: stranger.CertFile, KeyFile: stranger.KeyFile}, false},
		{"server of another authority", "tls://", stranger, false},
		{"no TLS", "nats://", TLS{}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := dial(t, Config{URL: tt.url + s.Addr(), TLS: tt.tls}).Call(soon(t), bus.Target{Topic: "t"}, message("m", nil), nil)
			if (err == nil) != tt.ok {
				t.Errorf("call: %v", err)
			}
		})
	}
}

// certificate is self-signed, for 127.0.0.1, and its own authority.
func certificate(t *testing.T) TLS {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	write := func(name, kind string, der []byte) string {
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	cert := write("cert.pem", "CERTIFICATE", der)
	return TLS{CertFile: cert, KeyFile: write("key.pem", "PRIVATE KEY", keyDER), CAFile: cert}
}

func TestConfigurationErrors(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	tests := []struct {
		config ServerConfig
		want   string
	}{
		{ServerConfig{Listen: taken.Addr().String()}, "address already in use"},
		{ServerConfig{Listen: "0.0.0.0:0"}, "needs a token"},
		{ServerConfig{ClusterListen: "0.0.0.0:0"}, "needs a token"},
		{ServerConfig{Listen: "4222"}, "must be host:port"},
		{ServerConfig{Listen: "127.0.0.1:http"}, "port of"},
		{ServerConfig{TLS: TLS{CertFile: "/nonexistent/cert"}}, "load certificate /nonexistent/cert"},
		{ServerConfig{TLS: TLS{CAFile: "/nonexistent/ca"}}, "read certificate authority"},
		{ServerConfig{ClusterListen: "127.0.0.1:0", Routes: []string{"node-1"}}, `route "node-1" must be host:port`},
	}
	for _, tt := range tests {
		s, err := StartServer(t.Context(), tt.config, quiet(t))
		if err == nil {
			s.Close()
		}
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%+v: error %v, want one with %q", tt.config, err, tt.want)
		}
	}
}

// Two servers of a cluster are one bus, and an agent of one reaches the other.
func TestCluster(t *testing.T) {
	first := freeAddress(t)
	a := startServer(t, ServerConfig{Listen: "127.0.0.1:0", Token: "secret", ClusterListen: first})
	b := startServer(t, ServerConfig{Listen: "127.0.0.1:0", Token: "secret", ClusterListen: "127.0.0.1:0", Routes: []string{first}})
	serve(t, join(t, a, "server-a"), "t", "a", named("a"))
	agent := dial(t, Config{URL: "nats://" + b.Addr(), Token: "secret"})
	ctx := soon(t)
	for {
		var got string
		err := agent.Call(ctx, bus.Target{Topic: "t"}, message("m", nil), &got)
		if err == nil && got == "a" {
			return
		}
		if !errors.Is(err, bus.ErrNoResponder) || ctx.Err() != nil { // until the route is up
			t.Fatalf("got %q, %v", got, err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}
