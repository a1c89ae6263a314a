// Package logging writes log records as oslo.log does, so that what reads Neutron's logs reads ours: one line of text
// or one JSON object per record, with the request that caused it.
package logging

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
)

// LoggerKey is the attribute that names the part of the program; it takes the place of Python's module name.
const LoggerKey = "logger"

// Config of a logger. The zero value logs from INFO on, as text.
type Config struct {
	Program string // stands for the logger's name where no record names one
	Debug   bool
	JSON    bool
}

// New makes a logger. Each record is one Write on w.
func New(w io.Writer, c Config) *slog.Logger {
	level := slog.LevelInfo
	if c.Debug {
		level = slog.LevelDebug
	}
	host, err := os.Hostname()
	if err != nil {
		host = ""
	}
	p := process{pid: os.Getpid(), host: host, program: c.Program}
	format := p.text
	if c.JSON {
		format = p.json
	}
	return slog.New(newHandler(w, level, format))
}

// Named gives the logger of a part of the program.
func Named(log *slog.Logger, part string) *slog.Logger {
	return log.With(slog.String(LoggerKey, part))
}

// Open opens the log file that the options log_dir and log_file name, for appending; program names the file if only
// the directory is given. Without both it is standard error, which Close leaves open.
func Open(dir, file, program string) (io.WriteCloser, error) {
	if dir == "" && file == "" {
		return standardError{}, nil
	}
	if file == "" {
		file = program + ".log"
	}
	if !filepath.IsAbs(file) {
		file = filepath.Join(dir, file)
	}
	f, err := os.OpenFile(file, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o640)
	if err != nil {
		return nil, fmt.Errorf("open the log file: %w", err)
	}
	return f, nil
}

type standardError struct{}

func (standardError) Write(b []byte) (int, error) { return os.Stderr.Write(b) }
func (standardError) Close() error                { return nil }

// RequestInfo is the request that records belong to; every field may be empty.
type RequestInfo struct {
	GlobalID      string // X-Openstack-Request-ID that the caller sent
	ID            string // req-<uuid>
	User          string
	Project       string
	Domain        string
	SystemScope   string
	UserDomain    string
	ProjectDomain string
}

type requestKey struct{}

// WithRequest makes records logged with the context carry r.
func WithRequest(ctx context.Context, r RequestInfo) context.Context {
	return context.WithValue(ctx, requestKey{}, r)
}

// Request is the one that WithRequest put into the context; ok tells whether there is one.
func Request(ctx context.Context) (r RequestInfo, ok bool) {
	r, ok = ctx.Value(requestKey{}).(RequestInfo)
	return r, ok
}
