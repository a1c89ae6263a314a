package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"math"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"neutrino/internal/fault"
	"neutrino/internal/resource"
)

// readBody reads the whole body of a request, nil if there is none.
func (c *Call) readBody() ([]byte, error) {
	if c.raw != nil || c.Request.Body == nil || c.Request.ContentLength == 0 {
		return c.raw, nil
	}
	limit := c.server.cfg.MaxBody
	raw, err := io.ReadAll(http.MaxBytesReader(nil, c.Request.Body, limit))
	if _, tooLarge := errors.AsType[*http.MaxBytesError](err); tooLarge {
		drain(c.Request.Body)
		return nil, fault.New(http.StatusRequestEntityTooLarge, "HTTPRequestEntityTooLarge", "Request is too large. Larger than %d.", limit)
	}
	if err != nil {
		return nil, fault.BadRequest("HTTPBadRequest", "Body contains invalid data").Because(err)
	}
	if len(raw) > longBody {
		if err := c.server.limits.bodies.Acquire(c.Request.Context(), int64(len(raw))); err != nil {
			return nil, err
		}
		c.release = func() { c.server.limits.bodies.Release(int64(len(raw))) }
	}
	c.raw = raw
	return raw, nil
}

// errEncoding says that text is not UTF-8, errSyntax that it is not JSON at all.
var (
	errEncoding = errors.New("not UTF-8")
	errSyntax   = errors.New("not JSON")
)

// largeInteger is an integer that may have more than 64 bits.
var largeInteger = regexp.MustCompile(`-?[0-9]{19,}`)

// wholeDigits puts integers of the body with more than 64 bits back into an error, in place of those that stood for them.
func (c *Call) wholeDigits(err error) error {
	f, isFault := errors.AsType[*fault.Error](err)
	const most = "922337203685477580" // 7 or 8: what stands for them
	if !isFault || !strings.Contains(f.Message, most) {
		return err
	}
	for _, found := range largeInteger.FindAll(c.raw, 8) {
		digits := string(found)
		n, wrong := strconv.Atoi(digits)
		if stood := strconv.Itoa(n); wrong != nil && strings.Contains(f.Message, stood) {
			whole := *f
			whole.Message = strings.ReplaceAll(f.Message, stood, digits)
			return &whole
		}
	}
	return err
}

// maxDigits is Python's limit for the conversion of integers.
const maxDigits = 4300

// tooManyDigits tells whether JSON has an integer that Python refuses.
func tooManyDigits(raw []byte) bool {
	if len(raw) <= maxDigits {
		return false
	}
	inText, digits := false, 0
	for i := 0; i < len(raw); i++ {
		c := raw[i]
		switch {
		case inText:
			if c == '\\' {
				i++
			}
			inText = c != '"'
			continue
		case c == '"':
			inText = true
		case '0' <= c && c <= '9':
			digits++
			continue
		case c == '.' || c == 'e' || c == 'E': // a fraction has no limit
			digits = math.MinInt
			continue
		}
		if digits > maxDigits {
			return true
		}
		digits = 0
	}
	return digits > maxDigits
}

// decode decodes one JSON value. Numbers stay text, so that large ones keep their digits. It may have what only Python's JSON
// has; then odd is true.
func decode(raw []byte) (v any, odd bool, err error) {
	if !utf8.Valid(raw) { // the decoder would silently replace it
		return nil, false, errEncoding
	}
	if tooManyDigits(raw) {
		return nil, false, errSyntax
	}
	text, odd := pythonJSON(raw)
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	if err := d.Decode(&v); err != nil {
		return nil, false, errSyntax
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, false, errSyntax
	}
	if odd {
		v = restore(v)
	}
	return v, odd, nil
}

// body reads and decodes the body; nil without one. Upstream serves the four core resources and everything else through
// two frameworks (neutron/pecan_wsgi, neutron/api/v2), which say different things about broken JSON.
func (c *Call) body(core bool) (map[string]any, error) {
	raw, err := c.readBody()
	if err != nil || len(raw) == 0 {
		return nil, err
	}
	v, odd, err := decode(raw)
	c.odd = odd
	m, isObject := v.(map[string]any)
	switch {
	case err == errEncoding && core:
		return nil, errBadRequest
	case (err == errEncoding || err == errSyntax) && !core:
		return nil, errJSON
	case err != nil:
		return nil, errInvalidBody
	case isObject:
		return m, nil
	case !core && resource.Falsy(v):
		return nil, nil
	}
	return nil, errInvalidBody
}

// storable refuses a body, once all checks have passed, of which the database could not keep all.
func (c *Call) storable(body map[string]any) error {
	if c.odd && !storable(body, false) {
		return errInvalidBody
	}
	return nil
}

var errInvalidBody = fault.BadRequest("HTTPBadRequest", "Body contains invalid data")

// updateBody is body for a PUT. Upstream's second framework copies the body first, which works for objects and lists.
func (c *Call) updateBody(core bool) (map[string]any, error) {
	m, err := c.body(core)
	if core || m != nil || err != nil && err != errInvalidBody {
		return m, err
	}
	if v, _, _ := decode(c.raw); v != nil {
		if _, isList := v.([]any); isList {
			return nil, err
		}
	}
	return nil, c.InvalidFormat()
}

// InvalidFormat says that the body is no object and no list.
func (c *Call) InvalidFormat() error {
	return fault.BadRequest("BadRequest", "Bad body request: Invalid format: %s.", resource.PyBytes(c.raw))
}

// readable refuses a body that is no JSON where it does not matter what it says: upstream's second framework decodes all.
func (c *Call) readable() error {
	raw, err := c.readBody()
	if err != nil || len(raw) == 0 {
		return err
	}
	if _, _, wrong := decode(raw); wrong != nil {
		return errJSON
	}
	return nil
}

// noBody refuses a body where none belongs.
func (c *Call) noBody(core bool) error {
	raw, err := c.readBody()
	if err == nil && len(raw) > 0 {
		if _, _, wrong := decode(raw); (wrong == errEncoding || wrong == errSyntax) && !core {
			return errJSON
		}
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
		n, err := resource.PyInt(text)
		if err != nil {
			return 0, false, fault.BadRequest("BadRequest",
				"Bad if-match request: Revision number etag must be in the format of revision_number=<int>.")
		}
		revision, ok = int64(n), true
	}
	return revision, ok, nil
}

// checkIfMatch refuses a garbled If-Match header.
func (c *Call) checkIfMatch() error {
	_, _, err := ifMatch(c.Request.Header)
	return err
}

// etagForm is WebOb's idea of an entity tag: one that follows another without a space is not seen.
var etagForm = regexp.MustCompile(`(?:^|\s)(W/)?"((?:\\"|.)*?)"`)

// etags splits an If-Match header (RFC 9110, section 13.1.1). Text without quotes counts as one tag, as in WebOb; weak tags
// never match.
func etags(header string) []string {
	found := etagForm.FindAllStringSubmatch(header, -1)
	if len(found) == 0 {
		return []string{header}
	}
	var tags []string
	for _, m := range found {
		if m[1] == "" {
			tags = append(tags, m[2])
		}
	}
	return tags
}
