package keystone

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"neutrino/internal/fault"
	"neutrino/internal/identity"
	"neutrino/internal/keystone/keystonetest"

	"github.com/google/go-cmp/cmp"
)

var credentials = Credentials{AuthType: "password", Username: keystonetest.User, Password: keystonetest.Password, UserDomainName: "Default",
	ProjectName: "service", ProjectDomainName: "Default", Region: "RegionOne", Interface: "internal"}

// newTestAuth asks the fake; change may alter what is not usual.
func newTestAuth(t *testing.T, fake *keystonetest.Fake, change func(*Config, *Credentials)) *Auth {
	t.Helper()
	cfg, cred := Config{WWWAuthenticateURI: "http://keystone:5000", CacheTime: 5 * time.Minute, ServiceTokenRoles: []string{"service"}}, credentials
	cred.AuthURL = fake.URL
	if change != nil {
		change(&cfg, &cred)
	}
	client, err := NewClient(cred)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return NewAuth(cfg, client, slog.New(slog.DiscardHandler))
}

func request(headers ...string) *http.Request {
	r := httptest.NewRequest("GET", "/v2.0/networks", nil)
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	return r
}

// status is the HTTP status of an Authenticate.
func status(err error) int {
	if err == nil {
		return http.StatusOK
	}
	return fault.As(err).Status
}

func TestAuthenticate(t *testing.T) {
	fake := keystonetest.New(t)
	hour := time.Now().Add(time.Hour)
	fake.Tokens = map[string]keystonetest.Token{
		"alice":   keystonetest.ProjectToken("alice", hour, "member", "reader"),
		"nova":    keystonetest.ProjectToken("nova", hour, "service"),
		"expired": keystonetest.ProjectToken("late", time.Now().Add(-time.Minute), "member"),
		"oldnova": keystonetest.ProjectToken("nova", time.Now().Add(-time.Minute), "service"),
		"system":  keystonetest.ProjectToken("root", hour, "admin"),
		"domain":  keystonetest.ProjectToken("dora", hour, "admin"),
		"nobody":  keystonetest.ProjectToken("x", hour),
	}
	delete(fake.Tokens["system"], "project")
	fake.Tokens["system"]["system"] = map[string]bool{"all": true}
	fake.Tokens["system"]["is_admin_project"] = false
	delete(fake.Tokens["domain"], "project")
	fake.Tokens["domain"]["domain"] = map[string]string{"id": "dom", "name": "Dom"}
	delete(fake.Tokens["nobody"], "user")

	alice := identity.Caller{UserID: "user-alice", UserName: "alice", UserDomainID: "default", ProjectID: "project-alice", ProjectName: "alice",
		ProjectDomainID: "default", Roles: []string{"member", "reader"}}
	aliceByNova := alice
	aliceByNova.ServiceRoles = []string{"service"}
	aliceByNova.Service = identity.Service{UserID: "user-nova", UserDomainID: "default", ProjectID: "project-nova", ProjectDomainID: "default"}
	lateByNova := aliceByNova
	lateByNova.UserID, lateByNova.UserName, lateByNova.ProjectID, lateByNova.ProjectName, lateByNova.Roles = "user-late", "late", "project-late", "late", []string{"member"}
	aliceByAlice := alice
	aliceByAlice.ServiceRoles = alice.Roles
	aliceByAlice.Service = identity.Service{UserID: "user-alice", UserDomainID: "default", ProjectID: "project-alice", ProjectDomainID: "default"}

	const user, service = "X-Auth-Token", "X-Service-Token"
	for _, c := range []struct {
		name    string
		headers []string
		lenient bool             // service_token_roles_required is false
		want    *identity.Caller // nil: 401
	}{
		{"user", []string{user, " alice "}, false, &alice},
		{"older header", []string{"X-Storage-Token", "alice"}, false, &alice},
		{"claims without a token", []string{"X-User-Id", "u", "X-Project-Id", "p", "X-Roles", "admin"}, false, nil},
		{"claims beside a token", []string{user, "alice", "X-Roles", "admin", "X-Service-Roles", "service"}, false, &alice},
		{"no token", nil, false, nil},
		{"unknown token", []string{user, "mallory"}, false, nil},
		{"expired", []string{user, "expired"}, false, nil},
		{"no user", []string{user, "nobody"}, false, nil},
		{"system", []string{user, "system"}, false, &identity.Caller{UserID: "user-root", UserName: "root", UserDomainID: "default",
			SystemScope: "all", Roles: []string{"admin"}, NotAdminProject: true}},
		{"domain", []string{user, "domain"}, false, &identity.Caller{UserID: "user-dora", UserName: "dora", UserDomainID: "default",
			DomainID: "dom", Roles: []string{"admin"}}},
		{"by a service", []string{user, "alice", service, "nova"}, false, &aliceByNova},
		{"expired by a service", []string{user, "expired", service, "nova"}, false, &lateByNova},
		{"expired service token", []string{user, "alice", service, "oldnova"}, false, nil},
		{"unknown service token", []string{user, "alice", service, "mallory"}, false, nil},
		{"service token alone", []string{service, "nova"}, false, nil},
		{"service token without the role", []string{user, "alice", service, "alice"}, false, nil},
		{"the same allowed", []string{user, "alice", service, "alice"}, true, &aliceByAlice},
		{"expired by one without the role", []string{user, "expired", service, "alice"}, true, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			auth := newTestAuth(t, fake, func(cfg *Config, _ *Credentials) { cfg.ServiceTokenRolesMissing = c.lenient })
			for _, when := range []string{"asked", "cached"} {
				got, err := auth.Authenticate(request(c.headers...))
				if diff := cmp.Diff(c.want, got); diff != "" {
					t.Errorf("%s: %s", when, diff)
				}
				if f := fault.As(err); c.want == nil && (f.Status != 401 || f.Challenge != `Keystone uri="http://keystone:5000"`) {
					t.Errorf("%s: %v %q", when, err, f.Challenge)
				}
			}
		})
	}
}

func TestCacheLimitsQuestions(t *testing.T) {
	fake := keystonetest.New(t)
	fake.Tokens["alice"] = keystonetest.ProjectToken("alice", time.Now().Add(time.Hour), "member")
	auth := newTestAuth(t, fake, nil)
	at := time.Now()
	auth.now = func() time.Time { return at }
	auth.cache.now = auth.now
	ask := func(token string, want, questions int) {
		t.Helper()
		_, err := auth.Authenticate(request("X-Auth-Token", token))
		if status(err) != want || len(fake.Questions) != questions {
			t.Errorf("status %d after %d questions, want %d after %d", status(err), len(fake.Questions), want, questions)
		}
	}
	ask("alice", 200, 1)
	delete(fake.Tokens, "alice") // revoked
	at = at.Add(5*time.Minute - time.Second)
	ask("alice", 200, 1)
	at = at.Add(time.Second)
	ask("alice", 401, 2)
	ask("alice", 401, 2)
	at = at.Add(badTime)
	ask("alice", 401, 3)

	fake.Tokens["short"] = keystonetest.ProjectToken("short", at.Add(time.Minute), "member")
	ask("short", 200, 4)
	at = at.Add(2 * time.Minute) // for the cache; the fake still knows it
	ask("short", 401, 5)

	auth.cfg.CacheTime = -1
	fake.Tokens["bob"] = keystonetest.ProjectToken("bob", at.Add(time.Hour), "member")
	ask("bob", 200, 6)
	ask("bob", 200, 7)
}

func TestOutage(t *testing.T) {
	for _, c := range []struct {
		name  string
		spoil func(*keystonetest.Fake, *Credentials)
		delay bool
		want  int
	}{
		{"500", func(f *keystonetest.Fake, _ *Credentials) { f.Status = 500 }, false, 503},
		{"503", func(f *keystonetest.Fake, _ *Credentials) { f.Status = 503 }, false, 503},
		{"delayed decision", func(f *keystonetest.Fake, _ *Credentials) { f.Status = 503 }, true, 401},
		{"nothing listens", func(_ *keystonetest.Fake, c *Credentials) { c.AuthURL = "http://127.0.0.1:1" }, false, 503},
		{"no such page", func(_ *keystonetest.Fake, c *Credentials) { c.AuthURL += "/elsewhere" }, false, 503},
		{"own password is wrong", func(_ *keystonetest.Fake, c *Credentials) { c.Password = "wrong" }, false, 503},
		{"no endpoint in the region", func(_ *keystonetest.Fake, c *Credentials) { c.Region = "RegionThree" }, false, 503},
	} {
		t.Run(c.name, func(t *testing.T) {
			fake := keystonetest.New(t)
			auth := newTestAuth(t, fake, func(cfg *Config, cred *Credentials) {
				cfg.DelayAuthDecision = c.delay
				c.spoil(fake, cred)
			})
			if _, err := auth.Authenticate(request("X-Auth-Token", "alice")); status(err) != c.want {
				t.Errorf("%v", err)
			}
		})
	}
}

func TestCachedTokensOutliveAnOutage(t *testing.T) {
	fake := keystonetest.New(t)
	fake.Tokens["alice"] = keystonetest.ProjectToken("alice", time.Now().Add(time.Hour), "member")
	auth := newTestAuth(t, fake, nil)
	for _, c := range []struct {
		status int
		token  string
		want   int
	}{{0, "alice", 200}, {500, "alice", 200}, {500, "bob", 503}, {0, "bob", 401}} {
		fake.Status = c.status
		if _, err := auth.Authenticate(request("X-Auth-Token", c.token)); status(err) != c.want {
			t.Errorf("%+v: %v", c, err)
		}
	}
}

// The service's own token is renewed before its end, and when Keystone refuses it.
func TestOwnToken(t *testing.T) {
	fake := keystonetest.New(t)
	auth := newTestAuth(t, fake, nil)
	at := time.Now()
	auth.client.now = func() time.Time { return at }
	ask := func(token string, logins int) {
		t.Helper()
		fake.Tokens[token] = keystonetest.ProjectToken(token, time.Now().Add(time.Hour), "member")
		if _, err := auth.Authenticate(request("X-Auth-Token", token)); err != nil || fake.Logins != logins {
			t.Errorf("%v after %d logins, want %d", err, fake.Logins, logins)
		}
	}
	ask("a", 1)
	ask("b", 1)
	fake.ForgetOwn()
	ask("c", 2)
	at = at.Add(time.Hour - stale/2)
	ask("d", 3)
}

// Many requests with one new token ask Keystone once, and one who hangs up does not spoil it for the others.
func TestOneQuestionForMany(t *testing.T) {
	fake := keystonetest.New(t)
	fake.Tokens["alice"] = keystonetest.ProjectToken("alice", time.Now().Add(time.Hour), "member")
	fake.Gate = make(chan struct{})
	auth := newTestAuth(t, fake, nil)
	first, hangUp := context.WithCancel(t.Context())
	gone := make(chan error)
	go func() {
		_, err := auth.Authenticate(request("X-Auth-Token", "alice").WithContext(first))
		gone <- err
	}()
	<-fake.Asked
	const many = 20
	answers := make(chan error, many)
	for range many {
		go func() {
			_, err := auth.Authenticate(request("X-Auth-Token", "alice"))
			answers <- err
		}()
	}
	hangUp()
	if err := <-gone; status(err) != 503 {
		t.Errorf("who hung up: %v", err)
	}
	close(fake.Gate)
	for range many {
		if err := <-answers; err != nil {
			t.Error(err)
		}
	}
	if len(fake.Questions) != 1 {
		t.Errorf("%d questions", len(fake.Questions))
	}
}

func TestCacheBound(t *testing.T) {
	c := newCache(3, time.Now)
	for i := range 5 {
		c.put(keyOf(fmt.Sprint(i), false), &token{}, time.Minute)
		c.get(keyOf("0", false)) // used, so it stays
	}
	var kept []int
	for i := range 5 {
		if _, ok := c.get(keyOf(fmt.Sprint(i), false)); ok {
			kept = append(kept, i)
		}
	}
	if diff := cmp.Diff([]int{0, 3, 4}, kept); diff != "" || len(c.known) != 3 {
		t.Error(diff, len(c.known))
	}
}

func TestAccessRules(t *testing.T) {
	for _, c := range []struct {
		pattern, path string
		want          bool
	}{
		{"/v2.0/networks", "/v2.0/networks", true},
		{"/v2.0/networks", "/v2.0/networks/1", false},
		{"/v2.0/networks/{id}", "/v2.0/networks/1", true},
		{"/v2.0/networks/{id}", "/v2.0/networks/", false},
		{"/v2.0/*", "/v2.0/networks", true},
		{"/v2.0/*", "/v2.0/networks/1", false},
		{"/v2.0/**", "/v2.0/networks/1/tags", true},
		{"/v2.0/**/tags", "/v2.0/networks/1/tags", true},
		{"/v2.0/**/tags", "/v2.0/networks/1", false},
	} {
		if got := (accessRule{Path: c.pattern}).matches(c.path); got != c.want {
			t.Errorf("%s %s: %v", c.pattern, c.path, got)
		}
	}

	fake := keystonetest.New(t)
	restricted := func(rules ...map[string]string) keystonetest.Token {
		token := keystonetest.ProjectToken("alice", time.Now().Add(time.Hour), "member")
		token["application_credential"] = map[string]any{"id": "ac", "access_rules": append([]map[string]string{}, rules...)}
		token["catalog"] = []map[string]any{{"type": "network"}}
		return token
	}
	fake.Tokens["lists"] = restricted(map[string]string{"service": "network", "method": "GET", "path": "/v2.0/networks"})
	fake.Tokens["posts"] = restricted(map[string]string{"service": "network", "method": "POST", "path": "/v2.0/networks"})
	fake.Tokens["compute"] = restricted(map[string]string{"service": "compute", "method": "GET", "path": "/v2.0/networks"})
	fake.Tokens["none"] = restricted()
	fake.Tokens["nova"] = keystonetest.ProjectToken("nova", time.Now().Add(time.Hour), "service")
	for _, c := range []struct {
		token, service, serviceType string
		want                        int
	}{
		{"lists", "", "network", 200},
		{"lists", "", "", 401},
		{"lists", "", "compute", 401},
		{"posts", "", "network", 401},
		{"posts", "nova", "network", 200},
		{"compute", "", "network", 401},
		{"none", "", "network", 401},
	} {
		auth := newTestAuth(t, fake, func(cfg *Config, _ *Credentials) { cfg.ServiceType = c.serviceType })
		r := request("X-Auth-Token", c.token)
		if c.service != "" {
			r.Header.Set("X-Service-Token", c.service)
		}
		if _, err := auth.Authenticate(r); status(err) != c.want {
			t.Errorf("%+v: %v", c, err)
		}
	}
}
