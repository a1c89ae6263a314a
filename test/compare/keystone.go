package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"time"
)

// personas are the callers: a name, their role, and whether they are of the first project or of another one.
var personas = []struct {
	name, role string
	other      bool
}{
	{"admin", "admin", false}, {"manager", "manager", false}, {"member", "member", false}, {"reader", "reader", false},
	{"service", "service", false}, {"other", "member", true}, {"otheradmin", "admin", true},
}

// keystone makes projects and users for a run, and takes them away.
type keystone struct {
	url, token string
	made       []string // paths of what is to be deleted
	tokens     map[string]string
	projects   map[string]string // by persona
}

func newKeystone(url, password string) (*keystone, error) {
	k := &keystone{url: url, tokens: map[string]string{}, projects: map[string]string{}}
	var err error
	if k.token, err = k.login("admin", password, map[string]any{"name": "admin", "domain": map[string]any{"id": "default"}}); err != nil {
		return nil, err
	}
	run := fmt.Sprintf("compare-%d", time.Now().UnixNano())
	var projects [2]string
	for i := range projects {
		if projects[i], err = k.create("/projects", "project", map[string]any{"name": fmt.Sprint(run, "-", i), "domain_id": "default"}); err != nil {
			return k, err
		}
	}
	for _, p := range personas {
		project := projects[0]
		if p.other {
			project = projects[1]
		}
		user, err := k.create("/users", "user", map[string]any{"name": run + p.name, "password": password, "domain_id": "default"})
		if err != nil {
			return k, err
		}
		role, err := k.role(p.role)
		if err != nil {
			return k, err
		}
		if _, err := k.call("PUT", "/projects/"+project+"/users/"+user+"/roles/"+role, nil, nil); err != nil {
			return k, err
		}
		if k.tokens[p.name], err = k.login(run+p.name, password, map[string]any{"id": project}); err != nil {
			return k, err
		}
		k.projects[p.name] = project
	}
	return k, nil
}

// close deletes what was made.
func (k *keystone) close() {
	for _, path := range k.made {
		_, _ = k.call("DELETE", path, nil, nil)
	}
}

func (k *keystone) login(user, password string, project map[string]any) (string, error) {
	body := map[string]any{"auth": map[string]any{
		"identity": map[string]any{"methods": []string{"password"}, "password": map[string]any{
			"user": map[string]any{"name": user, "domain": map[string]any{"id": "default"}, "password": password}}},
		"scope": map[string]any{"project": project}}}
	header, err := k.call("POST", "/auth/tokens", body, nil)
	return header.Get("X-Subject-Token"), err
}

func (k *keystone) create(path, name string, attributes map[string]any) (string, error) {
	var out map[string]map[string]any
	if _, err := k.call("POST", path, map[string]any{name: attributes}, &out); err != nil {
		return "", err
	}
	id, _ := out[name]["id"].(string)
	k.made = append(k.made, path+"/"+id)
	return id, nil
}

func (k *keystone) role(name string) (string, error) {
	var out struct{ Roles []struct{ ID string } }
	if _, err := k.call("GET", "/roles?name="+name, nil, &out); err != nil {
		return "", err
	}
	if len(out.Roles) == 0 {
		return "", fmt.Errorf("no role %s in Keystone", name)
	}
	return out.Roles[0].ID, nil
}

func (k *keystone) call(method, path string, body, out any) (http.Header, error) {
	text, err := json.Marshal(body)
	if err != nil {
		return nil, err
	}
	if body == nil {
		text = nil
	}
	r, err := http.NewRequest(method, k.url+path, bytes.NewReader(text))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Content-Type", "application/json")
	if k.token != "" {
		r.Header.Set("X-Auth-Token", k.token)
	}
	w, err := httpClient.Do(r)
	if err != nil {
		return nil, err
	}
	defer w.Body.Close()
	if w.StatusCode >= 300 {
		return w.Header, fmt.Errorf("keystone: %s %s: %s", method, path, w.Status)
	}
	if out != nil {
		return w.Header, json.NewDecoder(w.Body).Decode(out)
	}
	return w.Header, nil
}
