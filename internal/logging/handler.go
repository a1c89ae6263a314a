package logging

import (
	"context"
	"io"
	"log/slog"
	"slices"
	"sync"
)

// attr is an attribute with the names of its groups before its own, joined by dots.
type attr struct {
	key   string
	value slog.Value
}

// entry is a record with all that belongs to it.
type entry struct {
	slog.Record
	request RequestInfo
	asked   bool // there is a request
	logger  string
	attrs   []attr
}

// formatter appends an entry, without the newline.
type formatter func(out []byte, e *entry) []byte

// handler collects attributes and leaves their looks to a formatter.
type handler struct {
	out    *output
	level  slog.Level
	format formatter
	prefix string // of the open groups: "a.b."
	logger string
	attrs  []attr
}

// maxBuffer is what is kept between records.
const maxBuffer = 64 << 10

// output is shared by all handlers of one logger.
type output struct {
	mu     sync.Mutex
	w      io.Writer
	buffer []byte
}

func newHandler(w io.Writer, level slog.Level, format formatter) *handler {
	return &handler{out: &output{w: w}, level: level, format: format}
}

func (h *handler) Enabled(_ context.Context, l slog.Level) bool { return l >= h.level }

func (h *handler) WithGroup(group string) slog.Handler {
	if group == "" {
		return h
	}
	c := *h
	c.prefix += group + "."
	return &c
}

func (h *handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	c := *h
	c.attrs = slices.Clip(c.attrs)
	for _, a := range attrs {
		c.add(c.prefix, a)
	}
	return &c
}

// add takes an attribute apart: a group becomes its members, and the logger's name is not an attribute.
func (h *handler) add(prefix string, a slog.Attr) {
	v := a.Value.Resolve()
	switch {
	case v.Kind() == slog.KindGroup:
		if a.Key != "" {
			prefix += a.Key + "."
		}
		for _, member := range v.Group() {
			h.add(prefix, member)
		}
	case a.Key == LoggerKey && prefix == "":
		h.logger = v.String()
	case a.Key != "" || v.Kind() != slog.KindAny || v.Any() != nil: // slog ignores the empty attribute
		h.attrs = append(h.attrs, attr{prefix + a.Key, v})
	}
}

func (h *handler) Handle(ctx context.Context, r slog.Record) error {
	c := *h
	c.attrs = slices.Clip(c.attrs)
	r.Attrs(func(a slog.Attr) bool {
		c.add(c.prefix, a)
		return true
	})
	e := entry{Record: r, logger: c.logger, attrs: c.attrs}
	e.request, e.asked = Request(ctx)

	h.out.mu.Lock()
	defer h.out.mu.Unlock()
	h.out.buffer = append(h.format(h.out.buffer[:0], &e), '\n')
	_, err := h.out.w.Write(h.out.buffer)
	if cap(h.out.buffer) > maxBuffer {
		h.out.buffer = nil
	}
	return err
}
