package logging

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// process is what all records have in common.
type process struct {
	pid     int
	host    string
	program string
}

const timeFormat = "2006-01-02 15:04:05"

// text is oslo.log's default: logging_context_format_string, or logging_default_format_string without a request, and
// logging_debug_format_suffix. Attributes follow the message as key=value.
func (p process) text(out []byte, e *entry) []byte {
	out = e.Time.AppendFormat(out, timeFormat+".000")
	out = fmt.Appendf(out, " %d %s %s ", p.pid, levelName(e.Level), p.name(e))
	out = appendRequest(out, e)
	out = append(out, ' ')
	out = append(out, oneLine(e.Message)...)
	for _, a := range e.attrs {
		out = append(out, ' ')
		out = append(out, a.key...)
		out = append(out, '=')
		out = append(out, quoted(plain(a.value))...)
	}
	if f := source(e); f != nil && e.Level < slog.LevelInfo {
		out = fmt.Appendf(out, " %s %s:%d", f.Function, shortFile(f.File), f.Line)
	}
	return out
}

// appendRequest prints the fields in oslo.log's order. An absent global id is Python's None there, others are dashes.
func appendRequest(out []byte, e *entry) []byte {
	if !e.asked {
		return append(out, "[-]"...)
	}
	r := e.request
	global := r.GlobalID
	if global == "" {
		global = "None"
	}
	out = append(out, '[')
	out = append(out, oneLine(global)...)
	for _, s := range []string{r.ID, r.User, r.Project, r.Domain, r.SystemScope, r.UserDomain, r.ProjectDomain} {
		if s == "" {
			s = "-"
		}
		out = append(out, ' ')
		out = append(out, oneLine(s)...)
	}
	return append(out, ']')
}

// record is oslo.log's JSONFormatter, without what only Python has.
type record struct {
	Message  string            `json:"message"`
	Time     string            `json:"asctime"`
	Name     string            `json:"name"`
	Level    string            `json:"levelname"`
	LevelNo  int               `json:"levelno"`
	Path     string            `json:"pathname,omitempty"`
	Line     int               `json:"lineno,omitempty"`
	Function string            `json:"funcname,omitempty"`
	Created  float64           `json:"created"`
	Msecs    int               `json:"msecs"`
	Process  int               `json:"process"`
	Hostname string            `json:"hostname"`
	Context  map[string]string `json:"context"`
	Extra    map[string]any    `json:"extra"`
}

func (p process) json(out []byte, e *entry) []byte {
	r := record{
		Message: e.Message, Time: e.Time.Format(timeFormat), Name: p.name(e),
		Level: levelName(e.Level), LevelNo: levelNumber(e.Level),
		Created: float64(e.Time.UnixMicro()) / 1e6, Msecs: e.Time.Nanosecond() / int(time.Millisecond),
		Process: p.pid, Hostname: p.host, Context: contextOf(e), Extra: map[string]any{},
	}
	if f := source(e); f != nil {
		r.Path, r.Line, r.Function = f.File, f.Line, f.Function
	}
	for _, a := range e.attrs {
		r.Extra[a.key] = encodable(a.value)
	}
	data, err := json.Marshal(r)
	if err != nil { // an attribute of a type that JSON does not have
		for k, v := range r.Extra {
			r.Extra[k] = fmt.Sprint(v)
		}
		data, _ = json.Marshal(r)
	}
	return append(out, data...)
}

// contextOf names the request's fields as oslo.context does.
func contextOf(e *entry) map[string]string {
	out := map[string]string{}
	if !e.asked {
		return out
	}
	r := e.request
	for name, value := range map[string]string{
		"global_request_id": r.GlobalID, "request_id": r.ID, "user": r.User, "project": r.Project, "domain": r.Domain,
		"system_scope": r.SystemScope, "user_domain": r.UserDomain, "project_domain": r.ProjectDomain,
	} {
		if value != "" {
			out[name] = value
		}
	}
	return out
}

func (p process) name(e *entry) string {
	if e.logger != "" {
		return e.logger
	}
	return p.program
}

// levels are Python's. CRITICAL is what ends the daemon: slog.LevelError+4.
var levels = []struct {
	from   slog.Level
	name   string
	number int
}{
	{slog.LevelError + 4, "CRITICAL", 50},
	{slog.LevelError, "ERROR", 40},
	{slog.LevelWarn, "WARNING", 30},
	{slog.LevelInfo, "INFO", 20},
}

func levelName(l slog.Level) string {
	for _, k := range levels {
		if l >= k.from {
			return k.name
		}
	}
	return "DEBUG"
}

func levelNumber(l slog.Level) int {
	for _, k := range levels {
		if l >= k.from {
			return k.number
		}
	}
	return 10
}

func source(e *entry) *runtime.Frame {
	if e.PC == 0 {
		return nil
	}
	f, _ := runtime.CallersFrames([]uintptr{e.PC}).Next()
	return &f
}

// shortFile keeps the package's folder: the rest is where the program was built.
func shortFile(path string) string {
	return filepath.Join(filepath.Base(filepath.Dir(path)), filepath.Base(path))
}

func plain(v slog.Value) string {
	if v.Kind() == slog.KindTime {
		return v.Time().Format(time.RFC3339Nano)
	}
	return v.String() // of errors and Stringers their own text
}

func encodable(v slog.Value) any {
	switch v.Kind() {
	case slog.KindDuration:
		return v.String()
	case slog.KindAny:
		if err, ok := v.Any().(error); ok {
			return err.Error()
		}
	}
	return v.Any()
}

// quoted marks where a value ends if it has other than plain characters.
func quoted(s string) string {
	if s == "" || strings.ContainsFunc(s, func(r rune) bool { return r == ' ' || r == '"' || r == '=' || !unicode.IsPrint(r) }) {
		return strconv.Quote(s)
	}
	return s
}

// oneLine keeps texts of others from forging log lines or steering a terminal.
func oneLine(s string) string {
	if !strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return s
	}
	q := strconv.Quote(s)
	return strings.ReplaceAll(q[1:len(q)-1], `\"`, `"`)
}
