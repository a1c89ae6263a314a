package config

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
)

var (
	errBool   = errors.New("not a boolean; write true or false")
	errInt    = errors.New("not an integer; write digits only")
	errNumber = errors.New("not a number")
	errPair   = errors.New("not key:value pairs separated by commas")
)

// emptyIs takes an empty value for none, as oslo.config does for numbers.
func emptyIs[T any](def T, parse func(string) (T, error)) func(string) (T, error) {
	return func(s string) (T, error) {
		if s = strings.TrimSpace(s); s == "" {
			return def, nil
		}
		return parse(s)
	}
}

func parseInt(s string) (int, error) {
	n, err := strconv.Atoi(s)
	if err != nil {
		return 0, errInt
	}
	return n, nil
}

func parseFloat(s string) (float64, error) {
	n, err := strconv.ParseFloat(s, 64)
	if err != nil || n-n != 0 { // not finite
		return 0, errNumber
	}
	return n, nil
}

// maxSeconds keeps durations within their type; it is 31 years.
const maxSeconds = 1e9

func parseSeconds(s string) (time.Duration, error) {
	n, err := parseFloat(s)
	if err != nil {
		return 0, err
	}
	if n < -maxSeconds || n > maxSeconds {
		return 0, fmt.Errorf("more than %g seconds", maxSeconds)
	}
	return time.Duration(n * float64(time.Second)), nil
}

// parseBool knows the spellings of oslo.config.
func parseBool(s string) (bool, error) {
	switch strings.ToLower(s) {
	case "true", "1", "on", "yes":
		return true, nil
	case "false", "0", "off", "no":
		return false, nil
	}
	return false, errBool
}

func parseList(s string) ([]string, error) {
	s = strings.TrimRight(strings.TrimSpace(s), ",")
	if s == "" {
		return []string{}, nil
	}
	list := strings.Split(s, ",")
	for i := range list {
		list[i] = strings.TrimSpace(list[i])
	}
	return list, nil
}

func parseMap(s string) (map[string]string, error) {
	out := map[string]string{}
	if s = strings.TrimSpace(s); s == "" {
		return out, nil
	}
	for pair := range strings.SplitSeq(s, ",") {
		key, value, ok := strings.Cut(pair, ":")
		key = strings.TrimSpace(key)
		if !ok || key == "" {
			return nil, errPair
		}
		if _, twice := out[key]; twice {
			return nil, fmt.Errorf("the key %q is there twice", key)
		}
		out[key] = strings.TrimSpace(value)
	}
	return out, nil
}

// Limit is what values of an option must fulfil; text completes "must be …".
type Limit[T any] struct {
	text string
	ok   func(T) bool
}

// AtLeast is a lower limit.
func AtLeast[T cmp.Ordered](low T) Limit[T] {
	return Limit[T]{fmt.Sprintf("at least %v", low), func(v T) bool { return v >= low }}
}

// Between has both limits included.
func Between[T cmp.Ordered](low, high T) Limit[T] {
	return Limit[T]{fmt.Sprintf("between %v and %v", low, high), func(v T) bool { return v >= low && v <= high }}
}

// OneOf allows some values only.
func OneOf[T comparable](values ...T) Limit[T] {
	list := make([]string, len(values))
	for i, v := range values {
		list[i] = fmt.Sprint(v)
	}
	return Limit[T]{"one of " + strings.Join(list, ", "), func(v T) bool { return slices.Contains(values, v) }}
}

// Port is a TCP or UDP port.
func Port() Limit[int] { return Limit[int]{"a port number up to 65535", Between(0, 65535).ok} }

// Address is an IP address or nothing.
func Address() Limit[string] {
	return Limit[string]{"an IP address", func(s string) bool {
		_, err := netip.ParseAddr(s)
		return s == "" || err == nil
	}}
}

// parsePagination gives -1 for no limit.
func parsePagination(s string) (int, error) {
	if strings.EqualFold(s, "infinite") {
		return -1, nil
	}
	n, err := parseInt(s)
	return max(n, -1), err
}
