package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"
)

// client speaks to the identity and network services as admin.
type client struct {
	http  http.Client
	token string
}

type object = map[string]any

// logIn gets a token for the project admin.
func logIn(ctx context.Context) (*client, error) {
	c := &client{http: http.Client{Timeout: time.Minute}}
	domain := object{"id": "default"}
	body := object{"auth": object{
		"identity": object{"methods": []string{"password"},
			"password": object{"user": object{"name": "admin", "domain": domain, "password": password}}},
		"scope": object{"project": object{"name": "admin", "domain": domain}}}}
	header, err := c.do(ctx, "POST", keystoneURL+"/auth/tokens", body, nil)
	if err != nil {
		return nil, err
	}
	c.token = header.Get("X-Subject-Token")
	return c, nil
}

// do makes a request. The answer's body is decoded to out unless that is nil.
func (c *client) do(ctx context.Context, method, url string, body, out any) (http.Header, error) {
	var text []byte
	if body != nil {
		var err error
		if text, err = json.Marshal(body); err != nil {
			return nil, err
		}
	}
	request, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(text))
	if err != nil {
		return nil, err
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("X-Auth-Token", c.token)
	response, err := c.http.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", method, url, err)
	}
	if response.StatusCode >= http.StatusMultipleChoices {
		return nil, fmt.Errorf("%s %s: %s: %s", method, url, response.Status, answer)
	}
	if out != nil {
		if err := json.Unmarshal(answer, out); err != nil {
			return nil, fmt.Errorf("%s %s: %w in %q", method, url, err, answer)
		}
	}
	return response.Header, nil
}

// create makes an object and returns its id. The path's last part is the name of its collection, kind its key.
func (c *client) create(ctx context.Context, collection, kind string, attributes object) (string, error) {
	var answer map[string]struct {
		ID string `json:"id"`
	}
	_, err := c.do(ctx, "POST", collection, object{kind: attributes}, &answer)
	return answer[kind].ID, err
}

// named is what listings tell of an object.
type named struct {
	ID    string `json:"id"`
	Name  string `json:"name"`
	Alias string `json:"alias"` // of an extension
}

// list reads a collection.
func (c *client) list(ctx context.Context, url, collection string) ([]named, error) {
	var answer map[string]json.RawMessage
	if _, err := c.do(ctx, "GET", url, nil, &answer); err != nil {
		return nil, err
	}
	var found []named
	if err := json.Unmarshal(answer[collection], &found); err != nil {
		return nil, fmt.Errorf("GET %s: %w", url, err)
	}
	return found, nil
}
