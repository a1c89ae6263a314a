package keystone

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"neutrino/internal/fault"
	"neutrino/internal/identity"

	"github.com/gophercloud/gophercloud/v2"
	"golang.org/x/sync/singleflight"
)

// Config says how callers are checked: the options of keystonemiddleware's auth_token.
type Config struct {
	WWWAuthenticateURI       string        // where clients are sent that have no token; empty = AuthURL
	CacheTime                time.Duration // how long a token that is revoked may still work; not positive = ask every time
	ServiceTokenRoles        []string      // a service token needs one of them
	ServiceTokenRolesMissing bool          // a service token without them counts too, but not for expired tokens
	ServiceType              string        // ours in the catalog; without it tokens with access rules are refused
	DelayAuthDecision        bool          // when Keystone is out of reach, callers are nobody (401)
}

const (
	cacheSize = 10000
	// askTimeout bounds one question with all its attempts.
	askTimeout = time.Minute
	// badTime keeps a broken client from taking Keystone with it. It is short: Keystone may learn of a token late when it
	// has several nodes.
	badTime = 10 * time.Second
)

// errNotKnown is Keystone's answer about a token that does not exist, was revoked or has expired.
var errNotKnown = errors.New("the token is not known to Keystone")

// Auth finds out who sends a request by its token. It implements api.Authenticator.
type Auth struct {
	cfg       Config
	client    *Client
	log       *slog.Logger
	challenge string
	cache     *cache
	asking    singleflight.Group
	now       func() time.Time
}

// NewAuth makes an Auth that asks Keystone by the client.
func NewAuth(cfg Config, client *Client, log *slog.Logger) *Auth {
	uri := cfg.WWWAuthenticateURI
	if uri == "" {
		uri = client.cred.AuthURL
		log.Warn("www_authenticate_uri is not set; clients are sent to auth_url, which they may not reach")
	}
	if cfg.ServiceTokenRolesMissing {
		log.Warn("service_token_roles_required is false: every valid token counts as a service token")
	}
	return &Auth{cfg: cfg, client: client, log: log, challenge: fmt.Sprintf("Keystone uri=%q", uri), cache: newCache(cacheSize, time.Now), now: time.Now}
}

// Authenticate finds the owner of the tokens of a request. The error is a 401, or a 503 if Keystone is out of reach.
func (a *Auth) Authenticate(r *http.Request) (*identity.Caller, error) {
	ctx := r.Context()
	serviceID, allowExpired := header(r, "X-Service-Token"), false
	var service *token
	if serviceID != "" {
		var err error
		if service, err = a.live(ctx, serviceID); err != nil {
			return nil, a.refuse(err)
		}
		allowExpired = service.has(a.cfg.ServiceTokenRoles)
		if !allowExpired && !a.cfg.ServiceTokenRolesMissing {
			return nil, a.refuse(errors.New("the service token has none of service_token_roles"))
		}
	}
	id := header(r, "X-Auth-Token")
	if id == "" {
		id = header(r, "X-Storage-Token")
	}
	if id == "" {
		return nil, a.refuse(errors.New("no token"))
	}
	user, err := a.user(ctx, id, allowExpired)
	if err != nil {
		return nil, a.refuse(err)
	}
	if !user.permits(r, a.cfg.ServiceType, service != nil) {
		return nil, a.refuse(errors.New("the access rules of the application credential do not let the request through"))
	}
	if user.User.ID == "" {
		return nil, a.refuse(errors.New("the token has no user"))
	}
	caller := user.caller()
	if service != nil {
		caller.ServiceRoles = service.roles()
		caller.Service = identity.Service{UserID: service.User.ID, UserDomainID: service.User.Domain.ID,
			ProjectID: service.Project.ID, ProjectDomainID: service.Project.Domain.ID}
	}
	return caller, nil
}

func header(r *http.Request, name string) string { return strings.TrimSpace(r.Header.Get(name)) }

// refuse makes the error for the client: it is not told why its token is no good.
func (a *Auth) refuse(err error) error {
	f, outage := errors.AsType[*fault.Error](err)
	if outage && !a.cfg.DelayAuthDecision {
		return f
	}
	a.log.Debug("request refused", "reason", err)
	return fault.Unauthorized(a.challenge).Because(err)
}

// user gives the user's token; an expired one too if that is allowed and Keystone's allow_expired_window permits.
func (a *Auth) user(ctx context.Context, id string, allowExpired bool) (*token, error) {
	if !allowExpired {
		return a.live(ctx, id)
	}
	return a.fetch(ctx, id, true)
}

// live gives a token that has not expired.
func (a *Auth) live(ctx context.Context, id string) (*token, error) {
	t, err := a.fetch(ctx, id, false)
	if err == nil && !a.now().Before(t.ExpiresAt) {
		return nil, errNotKnown
	}
	return t, err
}

// fetch gives what Keystone knows of a token. Many requests with one new token make one question.
func (a *Auth) fetch(ctx context.Context, id string, allowExpired bool) (*token, error) {
	k := keyOf(id, allowExpired)
	if t, known := a.cache.get(k); known {
		return t, orNotKnown(t)
	}
	// The question belongs to all who wait for it: it goes on when the client that asked first hangs up.
	answers := a.asking.DoChan(string(k.hash[:])+fmt.Sprint(allowExpired), func() (any, error) {
		if t, known := a.cache.get(k); known { // the answer to the question before this one came in between
			return t, orNotKnown(t)
		}
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), askTimeout)
		defer cancel()
		t, err := a.ask(ctx, id, allowExpired)
		switch {
		case err == nil:
			keep := a.cfg.CacheTime
			if !allowExpired {
				keep = min(keep, t.ExpiresAt.Sub(a.now()))
			}
			a.cache.put(k, t, keep)
		case errors.Is(err, errNotKnown):
			a.cache.put(k, nil, min(badTime, a.cfg.CacheTime))
		}
		return t, err
	})
	select {
	case answer := <-answers:
		if answer.Err != nil {
			return nil, answer.Err
		}
		return answer.Val.(*token), nil
	case <-ctx.Done():
		return nil, unavailable(ctx.Err())
	}
}

func orNotKnown(t *token) error {
	if t == nil {
		return errNotKnown
	}
	return nil
}

// ask asks Keystone: errNotKnown, or a fault if there is no usable answer.
func (a *Auth) ask(ctx context.Context, id string, allowExpired bool) (*token, error) {
	query := url.Values{}
	if allowExpired {
		query.Set("allow_expired", "1")
	}
	if a.cfg.ServiceType == "" {
		query.Set("nocatalog", "1") // only access rules need it
	}
	var answer struct {
		Token *token `json:"token"`
	}
	err := a.client.Do(ctx, Request{Service: "identity", Method: http.MethodGet, Path: "auth/tokens?" + query.Encode(),
		Header: map[string]string{"X-Subject-Token": id, "OpenStack-Identity-Access-Rules": "1"}, Answer: &answer,
		OK: []int{http.StatusOK, http.StatusNonAuthoritativeInfo}})
	switch {
	case gophercloud.ResponseCodeIs(err, http.StatusNotFound):
		return nil, errNotKnown
	case err != nil:
		return nil, unavailable(err)
	case answer.Token == nil:
		return nil, unavailable(errors.New("the answer has no token"))
	}
	return answer.Token, nil
}

// unavailable is the fault for a Keystone that is out of reach or broken (the message is keystonemiddleware's).
func unavailable(cause error) error {
	return fault.Unavailable("ServiceUnavailable", "The Keystone service is temporarily unavailable.").Because(fmt.Errorf("ask Keystone about a token: %w", cause))
}
