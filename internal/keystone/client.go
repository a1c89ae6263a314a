// Package keystone speaks with the Identity service (API v3): it checks the tokens that callers bring, as upstream's
// keystonemiddleware does, and it has the service's own token for calls to other services.
package keystone

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack"
	"github.com/gophercloud/gophercloud/v2/openstack/identity/v3/tokens"
	"github.com/gophercloud/gophercloud/v2/openstack/utils"
	"golang.org/x/sync/singleflight"
)

// Credentials are what a service proves its identity with: the options of keystoneauth's plug-ins, by their names.
type Credentials struct {
	AuthType string // "password", "v3password", "v3applicationcredential"
	AuthURL  string

	UserID, Username, Password   string
	UserDomainID, UserDomainName string
	DefaultDomainID              string // of user and project where these name none
	DefaultDomainName            string
	ProjectID, ProjectName       string
	ProjectDomainID              string
	ProjectDomainName            string
	DomainID, DomainName         string
	SystemScope, TrustID         string
	ApplicationCredentialID      string
	ApplicationCredentialName    string
	ApplicationCredentialSecret  string
	Region                       string
	Interface                    string // of the catalog: "public", "internal" or "admin"
	CAFile, CertFile, KeyFile    string
	Insecure                     bool          // take any certificate of the other side
	Timeout                      time.Duration // of one request; 0 = 30 s
	ConnectRetries               int           // further attempts when there is no answer
}

const (
	defaultTimeout = 30 * time.Second
	// stale is how long before its end a token is not used any more (keystoneauth's BEST_BEFORE_SECONDS).
	stale = 30 * time.Second
	// firstPause between two attempts to connect; it doubles (keystoneauth's adapter).
	firstPause = 500 * time.Millisecond
	maxPause   = 5 * time.Second
	idleTime   = 90 * time.Second
)

// ErrNoEndpoint says that the catalog does not have the service that is called.
var ErrNoEndpoint = errors.New("the catalog of Keystone has no such endpoint")

// Client calls other services with a token of the service's own, which it renews. It may be used concurrently.
type Client struct {
	cred Credentials
	http *http.Client
	opts tokens.AuthOptions
	now  func() time.Time

	login   singleflight.Group // those who need a new token share the attempt to get it, and its failure
	mu      sync.Mutex         // guards session
	session *session           // nil before the first call
}

// session is what one token gives. It does not change.
type session struct {
	provider *gophercloud.ProviderClient
	catalog  []tokens.CatalogEntry
	expires  time.Time
}

// NewClient checks the credentials and reads the files they name. It does not connect.
func NewClient(cred Credentials) (*Client, error) {
	opts, err := cred.authOptions()
	if err != nil {
		return nil, err
	}
	conf, err := cred.tls()
	if err != nil {
		return nil, err
	}
	if cred.Timeout == 0 {
		cred.Timeout = defaultTimeout
	}
	transport := &http.Transport{Proxy: http.ProxyFromEnvironment, TLSClientConfig: conf, MaxIdleConnsPerHost: 16, IdleConnTimeout: idleTime,
		DialContext: (&net.Dialer{Timeout: cred.Timeout}).DialContext, ForceAttemptHTTP2: true}
	c := &Client{cred: cred, opts: opts, http: &http.Client{Transport: transport, Timeout: cred.Timeout}, now: time.Now}
	return c, nil
}

// Close drops idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// authOptions are the credentials as Keystone wants them.
func (cred *Credentials) authOptions() (tokens.AuthOptions, error) {
	o := tokens.AuthOptions{UserID: cred.UserID, Username: cred.Username}
	if o.UserID == "" {
		o.DomainID, o.DomainName = cred.domain(cred.UserDomainID, cred.UserDomainName)
	}
	if cred.AuthURL == "" {
		return o, errors.New("auth_url is missing")
	}
	switch cred.AuthType {
	case "v3applicationcredential":
		o.ApplicationCredentialID, o.ApplicationCredentialName = cred.ApplicationCredentialID, cred.ApplicationCredentialName
		o.ApplicationCredentialSecret = cred.ApplicationCredentialSecret
		if o.ApplicationCredentialSecret == "" || o.ApplicationCredentialID == "" && o.ApplicationCredentialName == "" {
			return o, errors.New("application_credential_secret and application_credential_id or _name are needed")
		}
		return o, nil // it has its scope in itself
	case "password", "v3password":
		o.Password = cred.Password
		if o.UserID == "" && o.Username == "" || o.Password == "" {
			return o, errors.New("username (or user_id) and password are needed")
		}
	case "":
		return o, errors.New("auth_type is missing")
	default:
		return o, fmt.Errorf("auth_type %q is not supported: write password, v3password or v3applicationcredential", cred.AuthType)
	}
	s := &o.Scope
	switch {
	case cred.SystemScope != "":
		s.System = true
	case cred.TrustID != "":
		s.TrustID = cred.TrustID
	case cred.ProjectID != "":
		s.ProjectID = cred.ProjectID
	case cred.ProjectName != "":
		s.ProjectName = cred.ProjectName
		s.DomainID, s.DomainName = cred.domain(cred.ProjectDomainID, cred.ProjectDomainName)
	case cred.DomainID != "":
		s.DomainID = cred.DomainID
	default:
		s.DomainName = cred.DomainName
	}
	return o, nil
}

// domain is a domain by id, else by name, else the default one. Keystone refuses both id and name.
func (cred *Credentials) domain(id, name string) (string, string) {
	switch {
	case id != "":
		return id, ""
	case name != "":
		return "", name
	case cred.DefaultDomainID != "":
		return cred.DefaultDomainID, ""
	}
	return "", cred.DefaultDomainName
}

func (cred *Credentials) tls() (*tls.Config, error) {
	conf := &tls.Config{InsecureSkipVerify: cred.Insecure}
	if cred.CAFile != "" {
		pem, err := os.ReadFile(cred.CAFile)
		if err != nil {
			return nil, fmt.Errorf("read cafile: %w", err)
		}
		conf.RootCAs = x509.NewCertPool()
		if !conf.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("cafile %s has no certificate", cred.CAFile)
		}
	}
	if cred.CertFile != "" {
		key := cred.KeyFile
		if key == "" {
			key = cred.CertFile
		}
		pair, err := tls.LoadX509KeyPair(cred.CertFile, key)
		if err != nil {
			return nil, fmt.Errorf("read certfile and keyfile: %w", err)
		}
		conf.Certificates = []tls.Certificate{pair}
	}
	return conf, nil
}

// Request is a call of another service.
type Request struct {
	Service string // type of the service in the catalog: "identity", "compute"
	Method  string
	Path    string // below the endpoint, without a leading slash
	Header  map[string]string
	Body    any   // sent as JSON; nil = none
	Answer  any   // the JSON of the answer goes there; nil = it is not wanted
	OK      []int // status codes that are no errors
}

// Do calls a service. A token that the service refuses is replaced, once. Errors of the other side are
// gophercloud.ErrUnexpectedResponseCode.
func (c *Client) Do(ctx context.Context, r Request) error {
	s, err := c.current(ctx, nil)
	if err != nil {
		return err
	}
	err = c.send(ctx, s, r)
	if !gophercloud.ResponseCodeIs(err, http.StatusUnauthorized) {
		return err
	}
	if s, err = c.current(ctx, s); err != nil {
		return err
	}
	return c.send(ctx, s, r)
}

func (c *Client) send(ctx context.Context, s *session, r Request) error {
	base, err := c.endpoint(s, r.Service)
	if err != nil {
		c.forget(s) // the next call gets a token with the catalog as it is then
		return err
	}
	return c.connecting(ctx, func() error {
		resp, err := s.provider.Request(ctx, r.Method, base+r.Path, &gophercloud.RequestOpts{JSONBody: r.Body, JSONResponse: r.Answer,
			MoreHeaders: r.Header, OkCodes: r.OK})
		if resp != nil {
			resp.Body.Close() // read by the library; closing it again does nothing
		}
		return err
	})
}

// forget drops a session, unless another one has taken its place.
func (c *Client) forget(s *session) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.session == s {
		c.session = nil
	}
}

// current gives a session whose token lives, another one than refused.
func (c *Client) current(ctx context.Context, refused *session) (*session, error) {
	c.mu.Lock()
	s := c.session
	c.mu.Unlock()
	if s != nil && s != refused && c.now().Add(stale).Before(s.expires) {
		return s, nil
	}
	answers := c.login.DoChan("", func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), askTimeout)
		defer cancel()
		s, err := c.authenticate(ctx)
		if err != nil {
			// Not wrapped: its status must not be taken for that of the service that is called.
			return nil, fmt.Errorf("get the service's own token: %v", err)
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		c.session = s
		return s, nil
	})
	select {
	case answer := <-answers:
		if answer.Err != nil {
			return nil, answer.Err
		}
		return answer.Val.(*session), nil
	case <-ctx.Done():
		return nil, fmt.Errorf("wait for the service's own token: %w", ctx.Err())
	}
}

func (c *Client) authenticate(ctx context.Context) (*session, error) {
	provider, err := openstack.NewClient(c.cred.AuthURL)
	if err != nil {
		return nil, err
	}
	provider.HTTPClient = *c.http
	identity := &gophercloud.ServiceClient{ProviderClient: provider, Endpoint: provider.IdentityBase + "v3/", Type: "identity"}
	opts := c.opts
	var result tokens.CreateResult
	if err := c.connecting(ctx, func() error {
		result = tokens.Create(ctx, identity, &opts)
		return result.Err
	}); err != nil {
		return nil, err
	}
	token, err := result.ExtractToken()
	if err != nil {
		return nil, err
	}
	catalog, err := result.ExtractServiceCatalog()
	if err != nil {
		return nil, err
	}
	provider.SetToken(token.ID)
	return &session{provider, catalog.Entries, token.ExpiresAt}, nil
}

// connecting tries again when there is no answer at all. What was answered is not asked again.
func (c *Client) connecting(ctx context.Context, try func() error) error {
	pause := &backoff.ExponentialBackOff{InitialInterval: firstPause, Multiplier: 2, MaxInterval: maxPause}
	_, err := backoff.Retry(ctx, func() (struct{}, error) {
		err := try()
		if _, transport := errors.AsType[net.Error](err); err != nil && !transport {
			err = backoff.Permanent(err)
		}
		return struct{}{}, err
	}, backoff.WithBackOff(pause), backoff.WithMaxTries(uint(c.cred.ConnectRetries)+1), backoff.WithMaxElapsedTime(0))
	if p, ok := errors.AsType[*backoff.PermanentError](err); ok { // the last try leaves the mark on it
		return p.Unwrap()
	}
	return err
}

// endpoint finds where a service is, with a slash at its end.
func (c *Client) endpoint(s *session, service string) (string, error) {
	for _, entry := range s.catalog {
		if entry.Type != service {
			continue
		}
		for _, e := range entry.Endpoints {
			if e.Interface == strings.TrimSuffix(c.cred.Interface, "URL") && (c.cred.Region == "" || c.cred.Region == e.Region) {
				return versioned(service, e.URL)
			}
		}
	}
	return "", fmt.Errorf("%w: %s of the %s service in region %q", ErrNoEndpoint, c.cred.Interface, service, c.cred.Region)
}

// versioned adds what catalogs leave out: the endpoint of Keystone may be without a version.
func versioned(service, url string) (string, error) {
	if service != "identity" {
		return gophercloud.NormalizeURL(url), nil
	}
	base, err := utils.BaseEndpoint(url)
	return gophercloud.NormalizeURL(base) + "v3/", err
}
