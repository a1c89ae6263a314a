package lab

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

// API is a client of the Networking API that knows nothing but JSON.
type API struct {
	lab    *Lab
	client *http.Client
	bases  []string // of the servers, up to and without /v2.0; they take turns
	calls  atomic.Int64
}

// Object is a resource, or a part of one, as JSON has it.
type Object map[string]any

// ID is the attribute id.
func (o Object) ID() string { return o.Str("id") }

// Str returns a text attribute, or "".
func (o Object) Str(name string) string {
	s, _ := o[name].(string)
	return s
}

// Objects returns a list of objects, for example fixed_ips.
func (o Object) Objects(name string) []Object {
	list, _ := o[name].([]any)
	out := make([]Object, 0, len(list))
	for _, e := range list {
		if m, ok := e.(map[string]any); ok {
			out = append(out, m)
		}
	}
	return out
}

// Object returns an object inside, or nil.
func (o Object) Object(name string) Object {
	m, _ := o[name].(map[string]any)
	return m
}

// APIError is an answer that is not a success.
type APIError struct {
	Request string // method and path
	Status  int
	Type    string // of the NeutronError, if it is one
	Message string
}

func (e *APIError) Error() string {
	return fmt.Sprintf("%s: %d %s %s", e.Request, e.Status, e.Type, e.Message)
}

// Call makes one request; path begins with "/" and is below /v2.0. Nil body: none is sent. Where there are two servers it is the turn
// of one of them, and the other's where that one does not listen.
func (a *API) Call(method, path string, body any) (answer Object, err error) {
	var text []byte
	if body != nil {
		if text, err = json.Marshal(body); err != nil {
			return nil, err
		}
	}
	turn := int(a.calls.Add(1))
	for i := range a.bases {
		answer, err = a.call(a.bases[(turn+i)%len(a.bases)], method, path, text)
		if !errors.Is(err, syscall.ECONNREFUSED) {
			break
		}
	}
	return answer, err
}

func (a *API) call(base, method, path string, body []byte) (Object, error) {
	request, err := http.NewRequest(method, base+"/v2.0"+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("X-Roles", "service") // beside admin's: what Nova has, for bindings
	response, err := a.client.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return nil, err
	}
	if response.StatusCode >= 300 {
		return nil, apiError(method+" "+path, response.StatusCode, text)
	}
	var answer Object
	if len(text) > 0 {
		err = json.Unmarshal(text, &answer)
	}
	return answer, err
}

func apiError(request string, status int, text []byte) *APIError {
	e := &APIError{Request: request, Status: status, Message: strings.TrimSpace(string(text))}
	var body struct {
		NeutronError struct{ Type, Message string }
	}
	if json.Unmarshal(text, &body) == nil && body.NeutronError.Type != "" {
		e.Type, e.Message = body.NeutronError.Type, body.NeutronError.Message
	}
	return e
}

// singular makes the name of one resource from that of its collection as it stands in URLs.
func singular(collection string) string {
	collection = path.Base(collection)
	name := strings.ReplaceAll(collection, "-", "_")
	if stem, ok := strings.CutSuffix(name, "ies"); ok {
		return stem + "y"
	}
	return strings.TrimSuffix(name, "s")
}

// TryCreate creates a resource of a collection, as it stands in URLs: "networks", "security-groups".
func (a *API) TryCreate(collection string, attributes Object) (Object, error) {
	answer, err := a.Call(http.MethodPost, "/"+collection, Object{singular(collection): attributes})
	return answer.Object(singular(collection)), err
}

// Create is TryCreate that must succeed.
func (a *API) Create(collection string, attributes Object) Object {
	a.lab.T.Helper()
	o, err := a.TryCreate(collection, attributes)
	return a.must(o, err)
}

// CreateBulk creates many resources by one request.
func (a *API) CreateBulk(collection string, list []Object) []Object {
	a.lab.T.Helper()
	plural := strings.ReplaceAll(collection, "-", "_")
	return a.must(a.Call(http.MethodPost, "/"+collection, Object{plural: list})).Objects(plural)
}

// Show returns a resource.
func (a *API) Show(collection, id string) Object {
	a.lab.T.Helper()
	return a.must(a.Call(http.MethodGet, "/"+collection+"/"+id, nil)).Object(singular(collection))
}

// List returns the resources that match a query such as "device_id=x".
func (a *API) List(collection, query string) []Object {
	a.lab.T.Helper()
	return a.must(a.Call(http.MethodGet, "/"+collection+"?"+query, nil)).
		Objects(strings.ReplaceAll(collection, "-", "_"))
}

// Update changes attributes of a resource.
func (a *API) Update(collection, id string, attributes Object) Object {
	a.lab.T.Helper()
	answer := a.must(a.Call(http.MethodPut, "/"+collection+"/"+id, Object{singular(collection): attributes}))
	return answer.Object(singular(collection))
}

// Delete removes a resource.
func (a *API) Delete(collection, id string) {
	a.lab.T.Helper()
	a.must(a.Call(http.MethodDelete, "/"+collection+"/"+id, nil))
}

// Action calls a member action such as routers/ID/add_router_interface.
func (a *API) Action(collection, id, action string, body Object) Object {
	a.lab.T.Helper()
	return a.must(a.Call(http.MethodPut, "/"+collection+"/"+id+"/"+action, body))
}

func (a *API) must(o Object, err error) Object {
	a.lab.T.Helper()
	if err != nil {
		a.lab.T.Fatalf("%v", err)
	}
	return o
}

// WaitFor asks for the resource until the attribute has the value.
func (a *API) WaitFor(collection, id, attribute, value string, within time.Duration) error {
	return Eventually(within, func() error {
		answer, err := a.Call(http.MethodGet, "/"+collection+"/"+id, nil)
		if err != nil {
			return err
		}
		if got := answer.Object(singular(collection)).Str(attribute); got != value {
			return fmt.Errorf("%s of %s %s is %q instead of %q", attribute, singular(collection), id, got, value)
		}
		return nil
	})
}
