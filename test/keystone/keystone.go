// Package keystone makes projects and users in a Keystone for a test program, and takes them away.
package keystone

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"time"
)

// Keystone is one that its administrator uses. Users that are made get the same password.
type Keystone struct {
	url, token, password string
	run                  string   // begins all names
	made                 []string // paths of what is to be deleted
	http                 http.Client
}

// New logs in as user admin of project admin. url ends in /v3.
func New(url, password, name string) (*Keystone, error) {
	k := &Keystone{url: url, password: password, run: fmt.Sprintf("%s-%d", name, time.Now().UnixNano()), http: http.Client{Timeout: time.Minute}}
	var err error
	k.token, err = k.login("admin", map[string]any{"name": "admin", "domain": map[string]any{"id": "default"}})
	return k, err
}

// Project makes a project and returns its id.
func (k *Keystone) Project(name string) (id string, err error) {
	return k.create("/projects", "project", map[string]any{"name": k.run + "-" + name, "domain_id": "default"})
}

// User makes a user with a role in a project and returns their token.
func (k *Keystone) User(name, role, project string) (token string, err error) {
	name = k.run + "-" + name
	user, err := k.create("/users", "user", map[string]any{"name": name, "password": k.password, "domain_id": "default"})
	if err != nil {
		return "", err
	}
	roleID, err := k.role(role)
	if err != nil {
		return "", err
	}
	if _, err := k.call("PUT", "/projects/"+project+"/users/"+user+"/roles/"+roleID, nil, nil); err != nil {
		return "", err
	}
	return k.login(name, map[string]any{"id": project})
}

// Close deletes what was made.
func (k *Keystone) Close() {
	for _, path := range k.made {
		_, _ = k.call("DELETE", path, nil, nil)
	}
}

func (k *Keystone) login(user string, project map[string]any) (string, error) {
	body := map[string]any{"auth": map[string]any{
		"identity": map[string]any{"methods": []string{"password"}, "password": map[string]any{
			"user": map[string]any{"name": user, "domain": map[string]any{"id": "default"}, "password": k.password}}},
		"scope": map[string]any{"project": project}}}
	header, err := k.call("POST", "/auth/tokens", body, nil)
	return header.Get("X-Subject-Token"), err
}

func (k *Keystone) create(path, name string, attributes map[string]any) (string, error) {
	var out map[string]map[string]any
	if _, err := k.call("POST", path, map[string]any{name: attributes}, &out); err != nil {
		return "", err
	}
	id, _ := out[name]["id"].(string)
	k.made = append(k.made, path+"/"+id)
	return id, nil
}

func (k *Keystone) role(name string) (string, error) {
	var out struct{ Roles []struct{ ID string } }
	if _, err := k.call("GET", "/roles?name="+name, nil, &out); err != nil {
		return "", err
	}
	if len(out.Roles) == 0 {
		return "", fmt.Errorf("no role %s in Keystone", name)
	}
	return out.Roles[0].ID, nil
}

func (k *Keystone) call(method, path string, body, out any) (http.Header, error) {
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
	w, err := k.http.Do(r)
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
