package resource

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"neutrino/internal/fault"
)

// Type tells how values of T look in JSON and in query strings. Parse gets what encoding/json made of the body, with
// numbers as json.Number. It returns a Reason if the value is not acceptable, or a *fault.Error that is passed on.
type Type[T any] struct {
	Name      string
	Append    func([]byte, T) []byte
	Parse     func(v any) (T, error)
	FromQuery func(string) (any, error) // nil: the text itself
}

// equal compares values; a list that is nil has no elements.
func (t Type[T]) equal(a, b T) bool {
	if x := reflect.ValueOf(&a).Elem(); x.Kind() == reflect.Slice && x.Len() == 0 {
		return reflect.ValueOf(&b).Elem().Len() == 0
	}
	return reflect.DeepEqual(a, b)
}

// clone protects a default value of reference type from being changed through an object.
func (t Type[T]) clone(v T) T {
	rv := reflect.ValueOf(v)
	if rv.Kind() == reflect.Slice && !rv.IsNil() {
		c := reflect.MakeSlice(rv.Type(), rv.Len(), rv.Len())
		reflect.Copy(c, rv)
		return c.Interface().(T)
	}
	return v
}

// Checked is t with more conditions on the value; a check returns a Reason or nil.
func (t Type[T]) Checked(checks ...func(T) error) Type[T] {
	parse := t.Parse
	t.Parse = func(v any) (T, error) {
		x, err := parse(v)
		for _, c := range checks {
			if err != nil {
				return x, err
			}
			err = c(x)
		}
		return x, err
	}
	return t
}

// Named is t under another name in the documentation.
func (t Type[T]) Named(name string) Type[T] { t.Name = name; return t }

// Reason is why a value is not valid; the caller is told "Invalid input for ATTR. Reason: REASON."
type Reason string

func (r Reason) Error() string { return string(r) }

// Reasonf makes a Reason.
func Reasonf(format string, args ...any) error { return Reason(fmt.Sprintf(format, args...)) }

// AppendString writes s as a JSON string. Invalid UTF-8 becomes U+FFFD.
func AppendString(b []byte, s string) []byte {
	b = append(b, '"')
	start := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c >= utf8.RuneSelf {
			r, n := utf8.DecodeRuneInString(s[i:])
			if r == utf8.RuneError && n == 1 {
				b = append(b, s[start:i]...)
				if half, ok := surrogate(s[i:]); ok {
					b, n = fmt.Appendf(b, `\u%04x`, half), 3
				} else {
					b = append(b, `\ufffd`...)
				}
				start = i + n
			}
			i += n
			continue
		}
		if c >= ' ' && c != '"' && c != '\\' && c != 0x7f {
			i++
			continue
		}
		b = append(b, s[start:i]...)
		switch c {
		case '"', '\\':
			b = append(b, '\\', c)
		case '\n':
			b = append(b, '\\', 'n')
		case '\r':
			b = append(b, '\\', 'r')
		case '\t':
			b = append(b, '\\', 't')
		default:
			b = fmt.Appendf(b, `\u%04x`, c)
		}
		i++
		start = i
	}
	return append(append(b, s[start:]...), '"')
}

// surrogate reads the three bytes that UTF-8 would have for half of a UTF-16 pair; package api gives them to text that has
// such an escape.
func surrogate(s string) (rune, bool) {
	if len(s) < 3 || s[0] != 0xed || s[1] < 0xa0 || s[1] > 0xbf || s[2]&0xc0 != 0x80 {
		return 0, false
	}
	return 0xd000 | rune(s[1]&0x3f)<<6 | rune(s[2]&0x3f), true
}

// AppendNullable writes null or the value.
func AppendNullable[T any](appendValue func([]byte, T) []byte) func([]byte, *T) []byte {
	return func(b []byte, v *T) []byte {
		if v == nil {
			return append(b, "null"...)
		}
		return appendValue(b, *v)
	}
}

// AppendList writes a JSON array; nil is the empty one.
func AppendList[T any](appendValue func([]byte, T) []byte) func([]byte, []T) []byte {
	return func(b []byte, vs []T) []byte {
		b = append(b, '[')
		for i, v := range vs {
			if i > 0 {
				b = append(b, ',')
			}
			b = appendValue(b, v)
		}
		return append(b, ']')
	}
}

// AppendJSON writes any value as encoding/json does; for small structures.
func AppendJSON[T any](b []byte, v T) []byte {
	raw, err := json.Marshal(v)
	if err != nil {
		return append(b, "null"...)
	}
	return append(b, raw...)
}

// Nullable is t where null is allowed and means nil.
func Nullable[T any](t Type[T]) Type[*T] {
	return Type[*T]{Name: t.Name + " or null", Append: AppendNullable(t.Append), FromQuery: t.FromQuery,
		Parse: func(v any) (*T, error) {
			if v == nil {
				return nil, nil
			}
			x, err := t.Parse(v)
			return &x, err
		}}
}

// String is text of at most max characters.
func String(limit int) Type[string] {
	return Type[string]{Name: fmt.Sprintf("string ≤ %d", limit), Append: AppendString, Parse: func(v any) (string, error) {
		s, ok := v.(string)
		if !ok {
			return "", Reasonf("'%s' is not a valid string", Py(v))
		}
		if utf8.RuneCountInString(s) > limit {
			return "", Reasonf("'%s' exceeds maximum length of %d", s, limit)
		}
		return s, nil
	}}
}

// Name is a NameUpTo 255 characters, as most are.
var Name = NameUpTo(255)

// NameUpTo is a String of printable characters of Unicode's first plane that neither begins nor ends with a space
// (neutron-lib's validate_name_string; its regular expression stops there, and overlooks a line break at the end).
func NameUpTo(limit int) Type[string] { return String(limit).Checked(printable) }

func printable(s string) error {
	unprintable := func(r rune) bool {
		return r >= '\uffff' || unicode.In(r, unicode.C, unicode.Zl, unicode.Zp)
	}
	text := s
	if s != "\n" {
		text = strings.TrimSuffix(s, "\n")
	}
	if !utf8.ValidString(s) || strings.ContainsFunc(text, unprintable) || strings.TrimFunc(text, unicode.IsSpace) != text {
		return Reasonf("'%s' is not a valid string", s)
	}
	return nil
}

// Bool accepts what upstream's convert_to_boolean does, which is oslo.utils' bool_from_string(strict=True).
var Bool = Type[bool]{Name: "boolean", Append: strconv.AppendBool, Parse: parseBool,
	FromQuery: func(s string) (any, error) { return parseBool(s) }}

func parseBool(v any) (bool, error) {
	switch x := v.(type) {
	case bool:
		return x, nil
	case string:
		switch strings.ToLower(strings.TrimSpace(x)) {
		case "1", "t", "true", "on", "y", "yes":
			return true, nil
		case "0", "f", "false", "off", "n", "no":
			return false, nil
		}
	case json.Number:
		switch x {
		case "1":
			return true, nil
		case "0":
			return false, nil
		}
	}
	return false, fault.InvalidInput("'%s' cannot be converted to boolean", Py(v))
}

// Int accepts numbers and numeric text, as Python's int() does.
var Int = Type[int]{Name: "integer", Append: func(b []byte, v int) []byte { return strconv.AppendInt(b, int64(v), 10) },
	Parse: parseInt, FromQuery: func(s string) (any, error) { return parseInt(s) }}

func parseInt(v any) (int, error) {
	switch x := v.(type) {
	case json.Number:
		if n, err := strconv.Atoi(string(x)); err == nil || tooLarge(err) {
			return n, nil
		}
		if f, err := x.Float64(); err == nil && f > -1e15 && f < 1e15 {
			return int(f), nil
		}
	case string:
		if n, err := PyInt(x); err == nil || tooLarge(err) {
			return n, nil
		}
	case bool:
		if x {
			return 1, nil
		}
		return 0, nil
	}
	return 0, fault.InvalidInput("'%s' is not an integer", Py(v))
}

// tooLarge tells whether an integer has more than 64 bits. Python's have no limit; the largest of ours, or the smallest, stands for
// them, which is beyond all bounds, too.
func tooLarge(err error) bool { return errors.Is(err, strconv.ErrRange) }

// PyInt reads an integer as Python's int() does: with digits of any script, and single underscores between them.
func PyInt(s string) (int, error) {
	var plain []rune
	gap := true // no digit stands just before
	for i, r := range strings.TrimSpace(s) {
		switch d, isDigit := digit(r); {
		case isDigit:
			plain, gap = append(plain, '0'+d), false
		case r == '_' && !gap:
			gap = true
		case i == 0 && (r == '+' || r == '-'):
			plain = append(plain, r)
		default:
			return 0, strconv.ErrSyntax
		}
	}
	if gap {
		return 0, strconv.ErrSyntax
	}
	return strconv.Atoi(string(plain))
}

// digit is the value of a decimal digit of any script. Unicode has the ten of a script side by side.
func digit(r rune) (rune, bool) {
	for _, script := range unicode.Nd.R16 {
		if rune(script.Lo) <= r && r <= rune(script.Hi) {
			return (r - rune(script.Lo)) % 10, true
		}
	}
	for _, script := range unicode.Nd.R32 {
		if rune(script.Lo) <= r && r <= rune(script.Hi) {
			return (r - rune(script.Lo)) % 10, true
		}
	}
	return 0, false
}

// NonNegative is an Int that is at least 0.
var NonNegative = Int.Named("integer ≥ 0").Checked(func(n int) error {
	if n < 0 {
		return Reasonf("'%d' should be non-negative", n)
	}
	return nil
})

// OneOf is text out of the given values.
func OneOf(values ...string) Type[string] {
	return Type[string]{Name: strings.Join(values, " | "), Append: AppendString, Parse: func(v any) (string, error) {
		s, ok := v.(string)
		if !ok || !slices.Contains(values, s) {
			// Upstream's validator (neutron-lib validate_values) does not list the values.
			return "", Reasonf("%s is not in valid_values", Py(v))
		}
		return s, nil
	}}
}

// UUID is a canonical UUID, as upstream's regular expression accepts it.
var UUID = Type[string]{Name: "uuid", Append: AppendString, Parse: func(v any) (string, error) {
	s, ok := v.(string)
	if !ok || !IsUUID(s) {
		return "", Reasonf("'%s' is not a valid UUID", Py(v))
	}
	return s, nil
}}

// IsUUID tells whether s has the form 8-4-4-4-12 of hexadecimal digits; upstream wants lower case.
func IsUUID(s string) bool {
	if len(s) != 36 {
		return false
	}
	for i := range len(s) {
		c := s[i]
		switch i {
		case 8, 13, 18, 23:
			if c != '-' {
				return false
			}
		default:
			if (c < '0' || c > '9') && (c < 'a' || c > 'f') && (c < 'A' || c > 'F') {
				return false
			}
		}
	}
	return true
}

// Py formats a decoded JSON value as Python's str() does, because upstream's messages quote values that way.
func Py(v any) string {
	if s, ok := v.(string); ok {
		return s
	}
	return PyRepr(v)
}

// PyRepr formats a decoded JSON value as Python's repr() does.
func PyRepr(v any) string { return string(appendPy(nil, v)) }

// appendPy writes the repr() of v. It appends because a body may be nested thousands of levels deep.
func appendPy(b []byte, v any) []byte {
	switch x := v.(type) {
	case nil:
		return append(b, "None"...)
	case bool:
		if x {
			return append(b, "True"...)
		}
		return append(b, "False"...)
	case string:
		return appendPyString(b, x)
	case []any:
		b = append(b, '[')
		for i, e := range x {
			if i > 0 {
				b = append(b, ", "...)
			}
			b = appendPy(b, e)
		}
		return append(b, ']')
	case map[string]any:
		b = append(b, '{')
		for i, k := range slices.SortedFunc(maps.Keys(x), func(a, b string) int { return strings.Compare(PyRepr(a), PyRepr(b)) }) {
			if i > 0 {
				b = append(b, ", "...)
			}
			b = appendPy(append(appendPyString(b, k), ": "...), x[k])
		}
		return append(b, '}')
	case json.Number:
		return append(b, pyNumber(string(x))...)
	}
	return fmt.Append(b, v)
}

// appendPyString writes text in quotes, single ones where they save escapes.
func appendPyString(b []byte, s string) []byte {
	q := byte('\'')
	if strings.IndexByte(s, '\'') >= 0 && strings.IndexByte(s, '"') < 0 {
		q = '"'
	}
	b = append(b, q)
	for len(s) > 0 {
		c, size := utf8.DecodeRuneInString(s)
		switch {
		case c == utf8.RuneError: // also half a UTF-16 pair, see package api
			b = append(b, s[:size]...)
		case c == rune(q), c == '\\':
			b = append(b, '\\', byte(c))
		case c == '\n':
			b = append(b, `\n`...)
		case c == '\r':
			b = append(b, `\r`...)
		case c == '\t':
			b = append(b, `\t`...)
		case unicode.IsPrint(c):
			b = utf8.AppendRune(b, c)
		case c <= 0xff:
			b = fmt.Appendf(b, `\x%02x`, c)
		case c <= 0xffff:
			b = fmt.Appendf(b, `\u%04x`, c)
		default:
			b = fmt.Appendf(b, `\U%08x`, c)
		}
		s = s[size:]
	}
	return append(b, q)
}

// PyBytes formats bytes as Python's repr() does.
func PyBytes(raw []byte) string {
	q := byte('\'')
	if bytes.IndexByte(raw, '\'') >= 0 && bytes.IndexByte(raw, '"') < 0 {
		q = '"'
	}
	b := []byte{'b', q}
	for _, c := range raw {
		switch {
		case c == '\\' || c == q:
			b = append(b, '\\', c)
		case c == '\n':
			b = append(b, `\n`...)
		case c == '\r':
			b = append(b, `\r`...)
		case c == '\t':
			b = append(b, `\t`...)
		case c < ' ' || c >= 0x7f:
			b = fmt.Appendf(b, `\x%02x`, c)
		default:
			b = append(b, c)
		}
	}
	return string(append(b, q))
}

// pyNumber is the repr() of a JSON number: an integer as it stands, a float in Python's shortest form.
func pyNumber(text string) string {
	f, err := strconv.ParseFloat(text, 64)
	switch a := math.Abs(f); {
	case math.IsNaN(f), math.IsInf(f, 0) && err == nil:
		return strings.TrimSuffix(strings.ToLower(text), "inity")
	case !strings.ContainsAny(text, ".eE"):
		return text
	case err != nil: // too large
		return map[bool]string{false: "inf", true: "-inf"}[f < 0]
	case a != 0 && (a < 1e-4 || a >= 1e16):
		return strconv.FormatFloat(f, 'e', -1, 64)
	}
	if text = strconv.FormatFloat(f, 'f', -1, 64); !strings.Contains(text, ".") {
		text += ".0"
	}
	return text
}

func pyList(values []string) string {
	parts := make([]string, len(values))
	for i, v := range values {
		parts[i] = PyRepr(v)
	}
	return "[" + strings.Join(parts, ", ") + "]"
}
