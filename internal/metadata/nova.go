package metadata

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"strconv"
	"time"

	"neutrino/internal/bus"
)

// NovaConfig says where Nova's metadata API is; the names are those of metadata_agent.ini.
type NovaConfig struct {
	Host     string // nova_metadata_host; "" means 127.0.0.1
	Port     int    // nova_metadata_port; 0 means 8775
	Protocol string // nova_metadata_protocol; "" means http
	Secret   string // metadata_proxy_shared_secret
	Insecure bool   // nova_metadata_insecure: do not check the certificate
	CAFile   string // auth_ca_cert: file; "" means the system's
	CertFile string // nova_client_cert: file
	KeyFile  string // nova_client_priv_key: file
}

// WithDefaults returns c with upstream's defaults where it says nothing.
func (c NovaConfig) WithDefaults() NovaConfig {
	if c.Host == "" {
		c.Host = "127.0.0.1"
	}
	if c.Port == 0 {
		c.Port = 8775
	}
	if c.Protocol == "" {
		c.Protocol = "http"
	}
	return c
}

// Nova is the Backend that finds the instance and forwards to Nova's metadata API.
type Nova struct {
	cfg    NovaConfig
	find   finder
	client http.RoundTripper
	log    *slog.Logger
}

// NewNova makes the backend. It fails if a certificate cannot be read.
func NewNova(cfg NovaConfig, t bus.Transport, log *slog.Logger) (*Nova, error) {
	cfg = cfg.WithDefaults()
	security, err := cfg.tls()
	if err != nil {
		return nil, err
	}
	return &Nova{
		cfg:  cfg,
		find: finder{transport: t},
		client: &http.Transport{
			DialContext:           (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
			TLSClientConfig:       security,
			ResponseHeaderTimeout: 60 * time.Second,
			IdleConnTimeout:       30 * time.Second,
			MaxIdleConnsPerHost:   32,
			DisableCompression:    true, // user data is passed on octet by octet
		},
		log: log,
	}, nil
}

// Close drops idle connections to Nova.
func (n *Nova) Close() error {
	n.client.(*http.Transport).CloseIdleConnections()
	return nil
}

func (c NovaConfig) tls() (*tls.Config, error) {
	if c.Protocol != "https" {
		return nil, nil
	}
	t := &tls.Config{InsecureSkipVerify: c.Insecure}
	if c.CAFile != "" && !c.Insecure {
		pem, err := os.ReadFile(c.CAFile)
		if err != nil {
			return nil, fmt.Errorf("auth_ca_cert: %w", err)
		}
		t.RootCAs = x509.NewCertPool()
		if !t.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("auth_ca_cert: no certificate in %s", c.CAFile)
		}
	}
	if c.CertFile != "" && c.KeyFile != "" {
		pair, err := tls.LoadX509KeyPair(c.CertFile, c.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("nova_client_cert: %w", err)
		}
		t.Certificates = []tls.Certificate{pair}
	}
	return t, nil
}

// ServeMetadata implements Backend.
func (n *Nova) ServeMetadata(w http.ResponseWriter, r *http.Request, from Source, client netip.Addr) {
	instance, cached, err := n.find.find(r.Context(), from, client, false)
	if err != nil {
		n.log.Error("metadata request failed", "error", err)
		refuse(w, http.StatusInternalServerError)
		return
	}
	resp, err := n.ask(r, instance, client)
	if cached && r.ContentLength == 0 && (err == nil && resp.StatusCode == http.StatusNotFound) {
		// The address may have a new owner since.
		if again, _, findErr := n.find.find(r.Context(), from, client, true); findErr == nil && again != instance {
			resp.Body.Close()
			resp, err = n.ask(r, again, client)
		}
	}
	if err != nil {
		n.log.Error("Nova's metadata API cannot be reached", "error", err)
		refuse(w, statusOf(err))
		return
	}
	defer resp.Body.Close()
	n.relay(w, resp)
}

// statusOf is upstream's: what cannot be reached is unavailable, what does not answer in time is an error.
func statusOf(err error) int {
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "dial" {
		return http.StatusServiceUnavailable
	}
	if timeout, ok := errors.AsType[net.Error](err); ok && timeout.Timeout() {
		return http.StatusInternalServerError
	}
	return http.StatusServiceUnavailable
}

// ask sends the request to Nova as the instance's. Nothing of what the instance claims about itself is passed on.
func (n *Nova) ask(r *http.Request, i Instance, client netip.Addr) (*http.Response, error) {
	if i.ID == "" {
		n.log.Warn("no port, or more than one, has the address", "address", client)
		return &http.Response{StatusCode: http.StatusNotFound, Body: http.NoBody}, nil
	}
	u := url.URL{Scheme: n.cfg.Protocol, Host: net.JoinHostPort(n.cfg.Host, strconv.Itoa(n.cfg.Port)),
		Path: r.URL.Path, RawPath: r.URL.RawPath, RawQuery: r.URL.RawQuery}
	req, err := http.NewRequestWithContext(r.Context(), r.Method, u.String(), r.Body)
	if err != nil {
		return nil, err
	}
	req.ContentLength = r.ContentLength
	if r.ContentLength == 0 {
		req.Body = http.NoBody
	}
	if t := r.Header.Get("Content-Type"); t != "" {
		req.Header.Set("Content-Type", t)
	}
	req.Header.Set(headerForwardedFor, client.String())
	req.Header.Set(headerInstance, i.ID)
	req.Header.Set(headerTenant, i.ProjectID)
	req.Header.Set(headerSignature, Sign(n.cfg.Secret, i.ID))
	return n.client.RoundTrip(req)
}

// Sign is the proof for Nova that the instance id comes from a holder of the secret: HMAC-SHA256 in hexadecimal.
func Sign(secret, instanceID string) string {
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(instanceID))
	return hex.EncodeToString(mac.Sum(nil))
}

// relay passes Nova's answer on. Errors that a client can do something with keep their status but not their text; any
// other status is an error of ours, as it is upstream (agent/metadata/proxy_base.py).
func (n *Nova) relay(w http.ResponseWriter, resp *http.Response) {
	switch resp.StatusCode {
	case http.StatusOK:
		for _, h := range []string{"Content-Type", "Content-Encoding", "Content-Length"} {
			if v := resp.Header.Get(h); v != "" {
				w.Header().Set(h, v)
			}
		}
		w.WriteHeader(http.StatusOK)
		if _, err := io.Copy(w, resp.Body); err != nil {
			n.log.Debug("metadata answer cut short", "error", err)
		}
	case http.StatusForbidden:
		n.log.Warn("Nova refused a metadata request: metadata_proxy_shared_secret may differ from Nova's")
		refuse(w, http.StatusForbidden)
	case http.StatusBadRequest, http.StatusNotFound, http.StatusConflict, http.StatusInternalServerError,
		http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		refuse(w, resp.StatusCode)
	default:
		n.log.Error("unexpected answer of Nova's metadata API", "status", resp.StatusCode)
		refuse(w, http.StatusInternalServerError)
	}
}

func refuse(w http.ResponseWriter, status int) { http.Error(w, http.StatusText(status), status) }
