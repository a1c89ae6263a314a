package store

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
)

// mysqlTLSOptions are PyMySQL's arguments for TLS.
var mysqlTLSOptions = []string{"ssl_ca", "ssl_cert", "ssl_key", "ssl_disabled", "ssl_verify_cert", "ssl_verify_identity"}

// mysqlTLS is the TLS configuration of the options, nil for none. As in PyMySQL the server's certificate is checked if
// ssl_ca or ssl_verify_cert says so, and its name only with ssl_verify_identity.
func mysqlTLS(a *address) (*tls.Config, error) {
	given := func(option string) bool { return a.query.Get(option) != "" }
	isTrue := func(option string) bool {
		return slices.Contains([]string{"1", "true", "yes"}, strings.ToLower(a.query.Get(option)))
	}
	if isTrue("ssl_disabled") || !slices.ContainsFunc(mysqlTLSOptions, given) {
		return nil, nil
	}
	c := &tls.Config{ServerName: a.host, InsecureSkipVerify: true}
	if given("ssl_ca") {
		pem, err := os.ReadFile(a.query.Get("ssl_ca"))
		if err != nil {
			return nil, fmt.Errorf("ssl_ca: %w", err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("ssl_ca: %s has no certificates", a.query.Get("ssl_ca"))
		}
	}
	if given("ssl_cert") {
		key := orElse(a.query.Get("ssl_key"), a.query.Get("ssl_cert"))
		pair, err := tls.LoadX509KeyPair(a.query.Get("ssl_cert"), key)
		if err != nil {
			return nil, fmt.Errorf("ssl_cert and ssl_key: %w", err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	switch {
	case isTrue("ssl_verify_identity"):
		c.InsecureSkipVerify = false
	case given("ssl_ca") && !given("ssl_verify_cert"), isTrue("ssl_verify_cert"):
		c.VerifyConnection = func(s tls.ConnectionState) error { return verifyChain(s, c.RootCAs) }
	}
	return c, nil
}

// verifyChain checks the server's certificate but not its name.
func verifyChain(s tls.ConnectionState, roots *x509.CertPool) error {
	if len(s.PeerCertificates) == 0 {
		return errors.New("the server has no certificate")
	}
	intermediates := x509.NewCertPool()
	for _, cert := range s.PeerCertificates[1:] {
		intermediates.AddCert(cert)
	}
	_, err := s.PeerCertificates[0].Verify(x509.VerifyOptions{Roots: roots, Intermediates: intermediates})
	return err
}
