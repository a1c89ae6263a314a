package logging

import (
	"fmt"
	"log/slog"
)

// Secret is text that no log and no output of fmt or encoding/json shows. Convert it to string to use it.
// A struct should have it in an exported field: fmt does not ask unexported ones how they want to be shown.
type Secret string

const hidden = "***"

// Format hides the text from every verb of fmt; %d, for example, would show it in its complaint.
func (Secret) Format(f fmt.State, _ rune) { fmt.Fprint(f, hidden) }

// String is for those who call it without fmt.
func (Secret) String() string { return hidden }

// MarshalText hides the text from encoders.
func (Secret) MarshalText() ([]byte, error) { return []byte(hidden), nil }

// LogValue hides the text from slog.
func (Secret) LogValue() slog.Value { return slog.StringValue(hidden) }
