package config

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
)

// assignment is one "key = value" of a file.
type assignment struct {
	section, key, value string
	line                int
}

var (
	errNoSeparator  = errors.New("neither = nor : found; write name = value, or begin a comment line with #")
	errNoKey        = errors.New("the name before = or : is missing")
	errContinuation = errors.New("white space at the start continues the line before, but there is none to continue; remove it")
	errBracket      = errors.New("a section must end with ]; comments need a line of their own")
	errNoSection    = errors.New("a section needs a name, such as [DEFAULT]")
	errBefore       = errors.New("an option must come after a section; put [DEFAULT] above it")
)

// parse reads INI text as oslo.config does (oslo_config/iniparser.py): a comment takes a whole line, an indented line
// continues the value before it (joined by a newline), one pair of quotes around a value is removed.
func parse(text string) ([]assignment, error) {
	var out []assignment
	section := ""
	open := false // the last assignment can be continued
	number := 0
	for line := range strings.Lines(text) {
		number++
		line = strings.TrimRightFunc(line, unicode.IsSpace)
		fail := func(err error) ([]assignment, error) {
			return nil, &lineError{number, fmt.Errorf("%w: %q", err, shorten(line))}
		}
		switch {
		case line == "":
			open = false
		case line[0] == ' ' || line[0] == '\t':
			if !open {
				return fail(errContinuation)
			}
			out[len(out)-1].value += "\n" + strings.TrimLeftFunc(line, unicode.IsSpace)
		case line[0] == '#' || line[0] == ';':
			open = false
		case line[0] == '[':
			open = false
			if !strings.HasSuffix(line, "]") {
				return fail(errBracket)
			}
			if section = line[1 : len(line)-1]; section == "" {
				return fail(errNoSection)
			}
		default:
			a, err := split(line)
			if err == nil && section == "" {
				err = errBefore
			}
			if err != nil {
				return fail(err)
			}
			a.section, a.line = section, number
			out = append(out, a)
			open = true
		}
	}
	return out, nil
}

// split takes the first of = and : as the separator.
func split(line string) (assignment, error) {
	i := strings.IndexAny(line, "=:")
	if i < 0 {
		return assignment{}, errNoSeparator
	}
	key := strings.TrimSpace(line[:i])
	if key == "" {
		return assignment{}, errNoKey
	}
	value := strings.TrimSpace(line[i+1:])
	if value != "" && (value[0] == '"' || value[0] == '\'') && value[len(value)-1] == value[0] {
		value = value[1:max(1, len(value)-1)]
	}
	return assignment{key: key, value: value}, nil
}

// shorten keeps what may be a secret out of messages: a line without a separator has no name to tell.
func shorten(line string) string {
	const limit = 20
	if r := []rune(line); len(r) > limit {
		return string(r[:limit]) + "…"
	}
	return line
}

// lineError is an error of one line of a file.
type lineError struct {
	line int
	err  error
}

func (e *lineError) Error() string { return fmt.Sprintf("line %d: %v", e.line, e.err) }
func (e *lineError) Unwrap() error { return e.err }
