package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"neutrino/test/keystone"

	"github.com/google/uuid"
)

// object is a resource as JSON has it.
type object = map[string]any

// client is a client of the Networking API. Connections are kept open, as long as the server does.
type client struct {
	h       *harness
	http    *http.Client
	base    string
	project string
	header  http.Header // who asks
	other   http.Header // who asks without an administrator's rights, in the same project
}

// newClient makes an administrator of a new project: of k's, or if that is nil one of a server that takes requests
// without a token. Nil dial: the usual one.
func newClient(h *harness, endpoint string, k *keystone.Keystone, dial func(ctx context.Context, address string) (net.Conn, error)) *client {
	transport := &http.Transport{MaxIdleConnsPerHost: parallel}
	if dial != nil {
		transport.DialContext = func(ctx context.Context, _, address string) (net.Conn, error) { return dial(ctx, address) }
	}
	c := &client{h: h, base: baseOf(endpoint), http: &http.Client{Timeout: 10 * time.Minute, Transport: transport}}
	if k == nil {
		c.project = strings.ReplaceAll(uuid.NewString(), "-", "")
		c.header, c.other = untrusted(c.project, "admin"), untrusted(c.project, "member,reader")
		return c
	}
	var err error
	c.project, err = k.Project(uuid.NewString())
	h.must(err)
	for role, header := range map[string]*http.Header{"admin": &c.header, "member": &c.other} {
		token, err := k.User(c.project+role, role, c.project)
		h.must(err)
		*header = http.Header{"Content-Type": {"application/json"}, "X-Auth-Token": {token}}
	}
	return c
}

// untrusted is the header of a caller whom the server believes.
func untrusted(project, roles string) http.Header {
	return http.Header{"Content-Type": {"application/json"}, "X-Project-Id": {project}, "X-User-Id": {"bench"}, "X-Roles": {roles}}
}

// member is the same client without an administrator's rights.
func (c *client) member() *client {
	m := *c
	m.header = c.other
	return &m
}

// at is the same client of another server.
func (c *client) at(endpoint string) *client {
	o := *c
	o.base = baseOf(endpoint)
	return &o
}

func baseOf(endpoint string) string { return strings.TrimSuffix(endpoint, "/") + "/v2.0" }

// call makes one request and returns the whole body. Any status but a success ends the benchmark.
func (c *client) call(method, path string, body any) []byte {
	var send io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		c.h.must(err)
		send = bytes.NewReader(text)
	}
	request, err := http.NewRequest(method, c.base+path, send)
	c.h.must(err)
	request.Header = c.header
	response, err := c.http.Do(request)
	c.h.must(err)
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	c.h.must(err)
	if response.StatusCode >= 300 {
		c.h.Fatalf("%s %s: %s: %s", method, path, response.Status, text)
	}
	return text
}

func (c *client) get(path string) []byte { return c.call(http.MethodGet, path, nil) }

// create makes a resource, given as {name: attributes}, and returns it.
func (c *client) create(path, name string, attributes object) object {
	return c.one(c.call(http.MethodPost, path, object{name: attributes}), name)
}

func (c *client) one(text []byte, name string) object {
	var answer map[string]object
	c.h.must(json.Unmarshal(text, &answer))
	if answer[name] == nil {
		c.h.Fatalf("no %s in %s", name, text)
	}
	return answer[name]
}

func id(o object) string { return fmt.Sprint(o["id"]) }
