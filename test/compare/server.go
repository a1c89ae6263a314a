package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"
)

// server is one of the two: where it is, and what its answers named.
type server struct {
	base    string
	objects map[string]map[string]any // by name
}

// answer is what a server said.
type answer struct {
	status int
	header http.Header
	text   []byte
	value  any // decoded text, nil if it is not JSON
}

var httpClient = &http.Client{Timeout: 2 * time.Minute}

// expand replaces references by this server's values.
func (s *server) expand(text string) string {
	return reference.ReplaceAllStringFunc(text, func(ref string) string {
		m := reference.FindStringSubmatch(ref)
		var v any = s.objects[m[1]]
		for _, key := range strings.Split(m[2], ".") {
			switch x := v.(type) {
			case map[string]any:
				v = x[key]
			case []any:
				i, err := strconv.Atoi(key)
				if err != nil || i >= len(x) {
					return ref
				}
				v = x[i]
			default:
				return ref
			}
		}
		switch x := v.(type) {
		case nil:
			return ref
		case string:
			return x
		default:
			b, err := json.Marshal(x)
			if err != nil {
				return ref
			}
			return string(b)
		}
	})
}

// send makes a request of the caller with this token.
func (s *server) send(q request, token string) (answer, error) {
	path := "/v2.0" + s.expand(q.path)
	if root, ok := strings.CutPrefix(q.path, "//"); ok {
		path = "/" + s.expand(root)
	}
	var body io.Reader
	if file, ok := strings.CutPrefix(q.body, "@"); ok {
		content, err := os.ReadFile(file)
		if err != nil {
			return answer{}, err
		}
		body = bytes.NewReader(content)
	} else if q.body != "" {
		body = strings.NewReader(s.expand(q.body))
	}
	r, err := http.NewRequest(q.method, s.base, body)
	if err != nil {
		return answer{}, err
	}
	r.URL.Opaque, r.URL.RawQuery, _ = strings.Cut(path, "?") // opaque: what is not a correct URL is sent too
	if token != "" {
		r.Header.Set("X-Auth-Token", token)
	}
	if q.body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	for k, v := range q.header {
		r.Header.Set(k, s.expand(v))
	}
	w, err := httpClient.Do(r)
	if err != nil { // no answer is an answer, too
		return answer{header: http.Header{}, text: []byte("no answer: " + err.Error())}, nil
	}
	defer w.Body.Close()
	out := answer{status: w.StatusCode, header: w.Header}
	if out.text, err = io.ReadAll(w.Body); err != nil {
		return answer{}, err
	}
	d := json.NewDecoder(bytes.NewReader(out.text))
	d.UseNumber()
	if d.Decode(&out.value) != nil {
		out.value = nil
	}
	if q.name != "" && out.status < 300 {
		s.learn(q.name, out.value)
	}
	return out, nil
}

// learn keeps the object of an answer, {"port": {…}}, under a name; of {"ports": […]}, as NAME0, NAME1, …
func (s *server) learn(name string, value any) {
	top, ok := value.(map[string]any)
	if !ok {
		return
	}
	for _, v := range top {
		switch v := v.(type) {
		case map[string]any:
			s.objects[name] = v
		case []any:
			for i, x := range v {
				if o, ok := x.(map[string]any); ok {
					s.objects[fmt.Sprint(name, i)] = o
				}
			}
		}
	}
}
