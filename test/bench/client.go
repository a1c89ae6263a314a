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
	role    string
}

// newClient makes an administrator of a new project. Nil dial: the usual one.
func newClient(h *harness, endpoint string, dial func(ctx context.Context, address string) (net.Conn, error)) *client {
	transport := &http.Transport{MaxIdleConnsPerHost: parallel}
	if dial != nil {
		transport.DialContext = func(ctx context.Context, _, address string) (net.Conn, error) { return dial(ctx, address) }
	}
	project := strings.ReplaceAll(uuid.NewString(), "-", "")
	return &client{h: h, base: strings.TrimSuffix(endpoint, "/") + "/v2.0", project: project, role: "admin",
		http: &http.Client{Timeout: time.Minute, Transport: transport}}
}

// member is the same client without an administrator's rights.
func (c *client) member() *client {
	m := *c
	m.role = "member"
	return &m
}

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
	request.Header = http.Header{"Content-Type": {"application/json"}, "X-Project-Id": {c.project}, "X-User-Id": {"bench"},
		"X-Roles": {c.role}}
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

// list reads the objects of an answer.
func (c *client) list(text []byte, name string) []object {
	var answer map[string][]object
	c.h.must(json.Unmarshal(text, &answer))
	return answer[name]
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
