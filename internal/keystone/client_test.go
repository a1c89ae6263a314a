package keystone

import (
	"errors"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"

	"neutrino/internal/keystone/keystonetest"

	"github.com/cenkalti/backoff/v5"
	"github.com/google/go-cmp/cmp"
	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack/identity/v3/tokens"
)

func TestAuthOptions(t *testing.T) {
	password := Credentials{AuthType: "v3password", AuthURL: "http://k", Username: "u", Password: "p", DefaultDomainID: "dd"}
	with := func(change func(*Credentials)) Credentials {
		c := password
		change(&c)
		return c
	}
	want := func(domainID, domainName string, scope tokens.Scope) tokens.AuthOptions {
		return tokens.AuthOptions{Username: "u", Password: "p", DomainID: domainID, DomainName: domainName, Scope: scope}
	}
	for _, c := range []struct {
		name string
		cred Credentials
		want tokens.AuthOptions
		err  string
	}{
		{"default domain", with(func(c *Credentials) { c.ProjectName = "x" }), want("dd", "", tokens.Scope{ProjectName: "x", DomainID: "dd"}), ""},
		{"domains by name", with(func(c *Credentials) { c.UserDomainName, c.ProjectName, c.ProjectDomainName = "ud", "x", "pd" }),
			want("", "ud", tokens.Scope{ProjectName: "x", DomainName: "pd"}), ""},
		{"project by id", with(func(c *Credentials) { c.ProjectID, c.ProjectDomainName = "id", "pd" }), want("dd", "", tokens.Scope{ProjectID: "id"}), ""},
		{"system", with(func(c *Credentials) { c.SystemScope = "all" }), want("dd", "", tokens.Scope{System: true}), ""},
		{"trust", with(func(c *Credentials) { c.TrustID = "t" }), want("dd", "", tokens.Scope{TrustID: "t"}), ""},
		{"domain", with(func(c *Credentials) { c.DomainName = "d" }), want("dd", "", tokens.Scope{DomainName: "d"}), ""},
		{"user by id", with(func(c *Credentials) { c.Username, c.UserID = "", "uid" }), tokens.AuthOptions{UserID: "uid", Password: "p"}, ""},
		{"application credential", Credentials{AuthType: "v3applicationcredential", AuthURL: "http://k", ApplicationCredentialID: "ac",
			ApplicationCredentialSecret: "s"}, tokens.AuthOptions{ApplicationCredentialID: "ac", ApplicationCredentialSecret: "s"}, ""},
		{"no secret", Credentials{AuthType: "v3applicationcredential", AuthURL: "http://k", ApplicationCredentialID: "ac"}, tokens.AuthOptions{}, "application_credential_secret"},
		{"no password", with(func(c *Credentials) { c.Password = "" }), tokens.AuthOptions{}, "password are needed"},
		{"no address", with(func(c *Credentials) { c.AuthURL = "" }), tokens.AuthOptions{}, "auth_url is missing"},
		{"no type", with(func(c *Credentials) { c.AuthType = "" }), tokens.AuthOptions{}, "auth_type is missing"},
		{"other type", with(func(c *Credentials) { c.AuthType = "v3kerberos" }), tokens.AuthOptions{}, `"v3kerberos" is not supported`},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := c.cred.authOptions()
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) {
					t.Errorf("%v", err)
				}
				return
			}
			if diff := cmp.Diff(c.want, got); diff != "" || err != nil {
				t.Error(diff, err)
			}
		})
	}
}

func TestApplicationCredential(t *testing.T) {
	fake := keystonetest.New(t)
	auth := newTestAuth(t, fake, func(_ *Config, cred *Credentials) {
		*cred = Credentials{AuthType: "v3applicationcredential", AuthURL: fake.URL + "/v3", ApplicationCredentialID: keystonetest.User,
			ApplicationCredentialSecret: keystonetest.Password, Interface: "internal", Region: "RegionOne"}
	})
	if _, err := auth.Authenticate(request("X-Auth-Token", "mallory")); status(err) != 401 {
		t.Error(err)
	}
}

// What got no answer is tried again, with pauses; what was answered is not, and keeps its status.
func TestConnecting(t *testing.T) {
	silence := &url.Error{Op: "Get", URL: "http://k", Err: errors.New("connection refused")}
	refusal := gophercloud.ErrUnexpectedResponseCode{Actual: 404}
	for _, c := range []struct {
		name    string
		retries int
		answers []error
		tries   int
		want    error
	}{
		{"answered", 3, []error{nil}, 1, nil},
		{"late", 3, []error{silence, silence, nil}, 3, nil},
		{"never", 2, []error{silence, silence, silence, nil}, 3, silence},
		{"refused", 3, []error{refusal, nil}, 1, refusal},
		{"refused at the last try", 0, []error{refusal}, 1, refusal},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tries := 0
				client := &Client{cred: Credentials{ConnectRetries: c.retries}}
				err := client.connecting(t.Context(), func() error {
					tries++
					return c.answers[tries-1]
				})
				if tries != c.tries || c.want == nil != (err == nil) || c.want != nil && err.Error() != c.want.Error() {
					t.Errorf("%v after %d tries", err, tries)
				}
				if _, marked := errors.AsType[*backoff.PermanentError](err); marked {
					t.Error("the mark of the last try is left on the error")
				}
			})
		})
	}
}

func TestBadFiles(t *testing.T) {
	for _, change := range []func(*Credentials){
		func(c *Credentials) { c.CAFile = "nowhere" },
		func(c *Credentials) { c.CAFile = "client_test.go" },
		func(c *Credentials) { c.CertFile = "nowhere" },
	} {
		cred := credentials
		cred.AuthURL = "https://k"
		change(&cred)
		if _, err := NewClient(cred); err == nil {
			t.Errorf("%+v is taken", cred)
		}
	}
}
