// Package keystonetest is a small Keystone for tests.
package keystonetest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"
)

// User and Password are those of the service.
const (
	User     = "neutron"
	Password = "secret"
)

// Token is what Keystone says about a token; the names are those of its API.
type Token map[string]any

// Fake is a Keystone. Its fields may be read and set between requests, under Lock.
type Fake struct {
	sync.Mutex
	URL string // without a version
	// Tokens are the callers' ones by their ids. Those whose expires_at is over are found only with allow_expired.
	Tokens map[string]Token
	// Endpoints of services other than identity, by type.
	Endpoints map[string]string
	Status    int           // of all answers, if it is not 0: an outage
	Gate      chan struct{} // if not nil, questions about tokens wait until something can be received
	Asked     chan struct{} // if Gate is set, something is sent for each question that waits
	OwnLife   time.Duration // of the service's own tokens
	Logins    int           // how many the service has asked for
	Questions []string      // about tokens: the query of each
	own       map[string]bool
}

// New starts a Keystone that ends with the test.
func New(t testing.TB) *Fake {
	t.Helper()
	f := &Fake{Tokens: map[string]Token{}, Endpoints: map[string]string{}, OwnLife: time.Hour, own: map[string]bool{}, Asked: make(chan struct{}, 1)}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v3/auth/tokens", f.login)
	mux.HandleFunc("GET /v3/auth/tokens", f.validate)
	s := httptest.NewServer(mux)
	t.Cleanup(s.Close)
	f.URL = s.URL
	return f
}

// ForgetOwn makes the service's own tokens invalid, as when Keystone's keys are replaced.
func (f *Fake) ForgetOwn() {
	f.Lock()
	defer f.Unlock()
	clear(f.own)
}

// ProjectToken is a token of a user for a project of the same name.
func ProjectToken(name string, expires time.Time, roles ...string) Token {
	list := []map[string]string{}
	for _, r := range roles {
		list = append(list, map[string]string{"id": "role-" + r, "name": r})
	}
	domain := map[string]string{"id": "default", "name": "Default"}
	return Token{"expires_at": expires.UTC().Format("2006-01-02T15:04:05.000000Z"), "roles": list,
		"user":    map[string]any{"id": "user-" + name, "name": name, "domain": domain},
		"project": map[string]any{"id": "project-" + name, "name": name, "domain": domain}}
}

func (f *Fake) login(w http.ResponseWriter, r *http.Request) {
	var body struct {
		Auth struct {
			Identity struct {
				Password struct {
					User struct{ Name, Password string }
				}
				ApplicationCredential struct{ ID, Secret string } `json:"application_credential"`
			}
		}
	}
	err := json.NewDecoder(r.Body).Decode(&body)
	f.Lock()
	defer f.Unlock()
	given, credential := body.Auth.Identity.Password.User, body.Auth.Identity.ApplicationCredential
	switch {
	case f.Status != 0:
		http.Error(w, "{}", f.Status)
	case err != nil || (given.Name != User || given.Password != Password) && (credential.ID != User || credential.Secret != Password):
		http.Error(w, "{}", http.StatusUnauthorized)
	default:
		f.Logins++
		id := fmt.Sprintf("own-%d", f.Logins)
		f.own[id] = true
		answer := ProjectToken("service", time.Now().Add(f.OwnLife), "service")
		answer["catalog"] = f.catalog()
		w.Header().Set("X-Subject-Token", id)
		reply(w, http.StatusCreated, answer)
	}
}

func (f *Fake) catalog() []any {
	entry := func(service, url string) any {
		return map[string]any{"type": service, "name": service, "endpoints": []map[string]string{
			{"interface": "public", "region": "RegionOne", "region_id": "RegionOne", "url": "http://public.invalid"},
			{"interface": "internal", "region": "RegionTwo", "region_id": "RegionTwo", "url": "http://two.invalid"},
			{"interface": "internal", "region": "RegionOne", "region_id": "RegionOne", "url": url}}}
	}
	all := []any{entry("identity", f.URL)}
	for service, url := range f.Endpoints {
		all = append(all, entry(service, url))
	}
	return all
}

func (f *Fake) validate(w http.ResponseWriter, r *http.Request) {
	f.Lock()
	gate := f.Gate
	f.Questions = append(f.Questions, r.URL.RawQuery)
	f.Unlock()
	if gate != nil {
		select {
		case f.Asked <- struct{}{}:
		default:
		}
		select {
		case <-gate:
		case <-r.Context().Done():
		}
	}
	f.Lock()
	defer f.Unlock()
	t := f.Tokens[r.Header.Get("X-Subject-Token")]
	expires, _ := time.Parse(time.RFC3339, fmt.Sprint(t["expires_at"]))
	switch {
	case f.Status != 0:
		http.Error(w, "{}", f.Status)
	case !f.own[r.Header.Get("X-Auth-Token")]:
		http.Error(w, "{}", http.StatusUnauthorized)
	case t == nil || expires.Before(time.Now()) && r.URL.Query().Get("allow_expired") != "1":
		http.Error(w, "{}", http.StatusNotFound)
	default:
		reply(w, http.StatusOK, t)
	}
}

func reply(w http.ResponseWriter, status int, t Token) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(map[string]Token{"token": t})
}
