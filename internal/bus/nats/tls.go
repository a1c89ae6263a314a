package nats

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
)

// TLS names PEM files. The zero value means no TLS.
type TLS struct {
	CertFile string // our certificate; a server needs one
	KeyFile  string
	// CAFile signs the other side's certificate. A server that has one demands certificates of its clients; a client
	// without one trusts the system's authorities.
	CAFile string
}

func (t TLS) enabled() bool { return t != TLS{} }

func (t TLS) config() (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	if t.CertFile != "" || t.KeyFile != "" {
		pair, err := tls.LoadX509KeyPair(t.CertFile, t.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("bus: load certificate %s and key %s: %w", t.CertFile, t.KeyFile, err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	if t.CAFile != "" {
		pem, err := os.ReadFile(t.CAFile)
		if err != nil {
			return nil, fmt.Errorf("bus: read certificate authority: %w", err)
		}
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("bus: no certificate found in %s", t.CAFile)
		}
		c.RootCAs, c.ClientCAs = pool, pool
		c.ClientAuth = tls.RequireAndVerifyClientCert
	}
	return c, nil
}
