package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"neutrino/internal/fault"
)

// readBody reads the whole body of a request, nil if there is none.
func (c *Call) readBody() ([]byte, error) {
	if c.Request.Body == nil || c.Request.ContentLength == 0 {
		return nil, nil
	}
	limit := c.server.cfg.MaxBody
	raw, err := io.ReadAll(http.MaxBytesReader(nil, c.Request.Body, limit))
	if _, tooLarge := errors.AsType[*http.MaxBytesError](err); tooLarge {
		return nil, fault.New(http.StatusRequestEntityTooLarge, "HTTPRequestEntityTooLarge", "Request is too large. Larger than %d.", limit)
	}
	if err != nil {
		return nil, fault.BadRequest("HTTPBadRequest", "Body contains invalid data").Because(err)
	}
	return raw, nil
}

// errEncoding says that text is not UTF-8, errSyntax that it is not JSON at all, errShape that it is no JSON object.
var (
	errEncoding = errors.New("not UTF-8")
	errSyntax   = errors.New("not JSON")
	errShape    = errors.New("not a JSON object")
)

// loneSurrogate tells whether JSON has an escaped half of a UTF-16 pair, which stands for no character.
func loneSurrogate(raw []byte) bool {
	for rest := raw; ; {
		at := bytes.IndexByte(rest, '\\')
		if at < 0 || at+1 >= len(rest) {
			return false
		}
		rest = rest[at+1:]
		if rest[0] != 'u' || len(rest) < 5 {
			rest = rest[1:]
			continue
		}
		first, _ := strconv.ParseUint(string(rest[1:5]), 16, 16)
		rest = rest[5:]
		if !utf16.IsSurrogate(rune(first)) {
			continue
		}
		if len(rest) < 6 || rest[0] != '\\' || rest[1] != 'u' {
			return true
		}
		second, _ := strconv.ParseUint(string(rest[2:6]), 16, 16)
		if utf16.DecodeRune(rune(first), rune(second)) == utf8.RuneError {
			return true
		}
		rest = rest[6:]
	}
}

// decodeObject decodes one JSON object. Numbers stay text, so that large ones keep their digits.
func decodeObject(raw []byte) (map[string]any, error) {
	if !utf8.Valid(raw) { // the decoder would silently replace it
		return nil, errEncoding
	}
	if loneSurrogate(raw) { // likewise
		return nil, errShape
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return nil, errSyntax
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, errSyntax
	}
	m, ok := v.(map[string]any)
	if !ok {
		return nil, errShape
	}
	return m, nil
}

// body reads and decodes the body; nil without one. Upstream serves the four core resources and everything else through
// two frameworks (neutron/pecan_wsgi, neutron/api/v2), which say different things about broken JSON.
func (c *Call) body(core bool) (map[string]any, error) {
	raw, err := c.readBody()
	if err != nil || len(raw) == 0 {
		return nil, err
	}
	m, err := decodeObject(raw)
	switch {
	case err == errEncoding:
		return nil, errBadRequest
	case err == errSyntax && !core:
		return nil, errJSON
	case err != nil:
		return nil, fault.BadRequest("HTTPBadRequest", "Body contains invalid data")
	}
	return m, nil
}

// noBody refuses a body where none belongs.
func (c *Call) noBody() error {
	raw, err := c.readBody()
	if err == nil && len(raw) > 0 {
		err = fault.BadRequest("HTTPBadRequest", "Request body is not supported in DELETE.")
	}
	return err
}

// ifMatch reads the revision that the client wants the object to have; ok is false if it does not say (neutron/api/
// api_common.py, check_request_for_revision_constraint). The doubled full stops are upstream's.
func ifMatch(h http.Header) (revision int64, ok bool, err error) {
	for _, tag := range etags(h.Get("If-Match")) {
		text, isRevision := strings.CutPrefix(tag, "revision_number=")
		if !isRevision {
			continue
		}
		if ok {
			return 0, false, fault.BadRequest("BadRequest", "Bad if-match request: Multiple revision_number etags are not supported..")
		}
		if revision, err = strconv.ParseInt(strings.TrimSpace(text), 10, 64); err != nil {
			return 0, false, fault.BadRequest("BadRequest",
				"Bad if-match request: Revision number etag must be in the format of revision_number=<int>.")
		}
		ok = true
	}
	return revision, ok, nil
}

// etags splits an If-Match header (RFC 9110, section 13.1.1). Text without quotes counts as one tag, as in WebOb; weak tags
// never match.
func etags(header string) []string {
	if !strings.Contains(header, `"`) {
		return []string{header}
	}
	var tags []string
	for rest := header; ; {
		before, after, found := strings.Cut(rest, `"`)
		if !found {
			return tags
		}
		tag, next, _ := strings.Cut(after, `"`)
		if !strings.HasSuffix(before, "W/") {
			tags = append(tags, tag)
		}
		rest = next
	}
}
