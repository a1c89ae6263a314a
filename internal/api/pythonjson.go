package api

import (
	"bytes"
	"encoding/json"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// Python's JSON has more than RFC 8259: the numbers NaN, Infinity and -Infinity, and escaped halves of UTF-16 pairs. Their
// stand-ins are what no client sends: numbers that nobody writes like this, and a character that Unicode keeps free.
var (
	oddNumbers = []oddNumber{{"NaN", "0e-99999990"}, {"-Infinity", "-1e+99999990"}, {"Infinity", "1e+99999990"}}
	halfMark   = "\ufdd0"
)

// negativeZero is the integer -0, with the character before and the one behind, neither of which may be part of another number.
var negativeZero = regexp.MustCompile(`^[\s\[,:]?-0[\s,\]}]?$`)

type oddNumber struct{ python, standIn string }

// pythonJSON puts stand-ins into JSON for what only Python reads; odd tells whether there are any. The integer -0 is Python's 0.
func pythonJSON(raw []byte) (text []byte, odd bool) {
	if !bytes.Contains(raw, []byte("NaN")) && !bytes.Contains(raw, []byte("Infinity")) && !bytes.Contains(raw, []byte(`\u`)) && !bytes.Contains(raw, []byte("-0")) {
		return raw, false
	}
	for i := 0; i < len(raw); {
		if raw[i] == '"' {
			end := textEnd(raw, i)
			var halves bool
			text, halves = appendHalves(text, raw[i:end])
			odd, i = odd || halves, end
			continue
		}
		if raw[i] == '-' && negativeZero.Match(raw[max(i-1, 0):min(i+3, len(raw))]) {
			i++
		}
		found := false
		for _, n := range oddNumbers {
			if found = bytes.HasPrefix(raw[i:], []byte(n.python)); found {
				text, odd, i = append(text, n.standIn...), true, i+len(n.python)
				break
			}
		}
		if !found {
			text = append(text, raw[i])
			i++
		}
	}
	return text, odd
}

// textEnd is where the text ends that begins with the quote at start.
func textEnd(raw []byte, start int) int {
	for i := start + 1; i < len(raw); i++ {
		switch raw[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return len(raw)
}

// appendHalves copies JSON text with marks in place of lone halves.
func appendHalves(text, raw []byte) ([]byte, bool) {
	marked := false
	for i := 0; i < len(raw); {
		first, ok := escaped(raw[i:])
		switch {
		case !ok && raw[i] == '\\' && i+1 < len(raw):
			text = append(text, raw[i], raw[i+1])
			i += 2
		case !ok:
			text = append(text, raw[i])
			i++
		case !utf16.IsSurrogate(first):
			text = append(text, raw[i:i+6]...)
			i += 6
		default:
			if second, ok := escaped(raw[i+6:]); ok && utf16.DecodeRune(first, second) != utf8.RuneError {
				text = append(text, raw[i:i+12]...)
				i += 12
				continue
			}
			text, marked = append(append(text, halfMark...), raw[i+2:i+6]...), true
			i += 6
		}
	}
	return text, marked
}

// escaped reads an escape of JSON, a backslash with u and four hexadecimal digits.
func escaped(raw []byte) (rune, bool) {
	if len(raw) < 6 || raw[0] != '\\' || raw[1] != 'u' {
		return 0, false
	}
	n, err := strconv.ParseUint(string(raw[2:6]), 16, 16)
	return rune(n), err == nil
}

// restore puts into a decoded value what the stand-ins stand for: numbers as Python writes them, and halves as bytes that
// are not UTF-8, which no check lets pass into the database.
func restore(v any) any {
	switch v := v.(type) {
	case json.Number:
		for _, n := range oddNumbers {
			if string(v) == n.standIn {
				return json.Number(n.python)
			}
		}
	case string:
		return halves(v)
	case []any:
		for i := range v {
			v[i] = restore(v[i])
		}
	case map[string]any:
		whole := make(map[string]any, len(v))
		for key, value := range v {
			whole[halves(key)] = restore(value)
		}
		return whole
	}
	return v
}

// halves replaces marks by the three bytes that UTF-8 would have for them.
func halves(s string) string {
	before, rest, found := strings.Cut(s, halfMark)
	if !found || len(rest) < 4 {
		return s
	}
	n, err := strconv.ParseUint(rest[:4], 16, 16)
	if err != nil {
		return s
	}
	return before + string([]byte{0xe0 | byte(n>>12), 0x80 | byte(n>>6)&0x3f, 0x80 | byte(n)&0x3f}) + halves(rest[4:])
}

// storable tells whether a decoded value has nothing that a database or RFC 8259 would refuse; numbers may be odd if told.
func storable(v any, oddly bool) bool {
	switch v := v.(type) {
	case json.Number:
		return oddly || !slices.ContainsFunc(oddNumbers, func(n oddNumber) bool { return string(v) == n.python })
	case string:
		return utf8.ValidString(v)
	case []any:
		return !slices.ContainsFunc(v, func(e any) bool { return !storable(e, oddly) })
	case map[string]any:
		for key, e := range v {
			if !utf8.ValidString(key) || !storable(e, oddly) {
				return false
			}
		}
	}
	return true
}
