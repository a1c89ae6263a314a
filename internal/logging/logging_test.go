package logging

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden files anew")

var (
	testProcess = process{pid: 4242, host: "node-1", program: "neutron-server"}
	testTime    = time.Date(2026, 11, 22, 20, 0, 0, 123_456_789, time.UTC)
	testRequest = RequestInfo{ID: "req-1", User: "alice", Project: "demo", UserDomain: "default", ProjectDomain: "default"}
)

// story logs one record of every kind.
func story(h slog.Handler) {
	asked := WithRequest(context.Background(), testRequest)
	full := WithRequest(context.Background(), RequestInfo{"req-0", "req-1", "u", "p", "d", "all", "ud", "pd"})
	log := func(ctx context.Context, h slog.Handler, l slog.Level, msg string, args ...any) {
		r := slog.NewRecord(testTime, l, msg, 0)
		r.Add(args...)
		if h.Enabled(ctx, l) {
			h.Handle(ctx, r)
		}
	}
	bg := context.Background()
	log(bg, h, slog.LevelInfo, "no request")
	log(asked, h, slog.LevelInfo, "with a request", "port", "p-1", "mtu", 1500, "took", 3*time.Millisecond)
	log(full, h, slog.LevelWarn, "with all fields")
	log(bg, h, slog.LevelError, "an error", "error", errors.New("disk full: /var"), "nil", nil, "empty", "")
	log(bg, h, slog.LevelError+4, "the end", "at", testTime)
	log(bg, h, slog.LevelDebug, "details")

	part := h.WithAttrs([]slog.Attr{slog.String(LoggerKey, "neutron.agent.dhcp"), slog.String("network", "n-1")})
	log(bg, part, slog.LevelInfo, "of a part", "n", 1)
	log(bg, h, slog.LevelInfo, "of a part too", LoggerKey, "neutron.db")
	inGroup := part.WithGroup("lease").WithAttrs([]slog.Attr{slog.String("ip", "10.0.0.5")})
	log(bg, inGroup, slog.LevelInfo, "groups", "logger", "an attribute here", slog.Group("client", "mac", "fa:16:3e:00:00:01"), slog.Group("", "inline", true))
	log(bg, part, slog.LevelInfo, "its siblings do not see them", "ports", []int{1, 2})

	log(bg, h, slog.LevelInfo, "forged\n2026-11-22 20:00:00.123 1 INFO x [-] line \"quoted\" \x1b[31m", "evil", "a\nb=c d", "umlaut", "ü")
	log(asked, h, slog.LevelInfo, "secrets", "token", Secret("hunter2"), "config", struct{ Password Secret }{"hunter2"})
	log(bg, h, slog.LevelInfo, "no JSON", "channel", (chan int)(nil), "n", 1)
}

func TestGolden(t *testing.T) {
	for name, format := range map[string]formatter{"text": testProcess.text, "json": testProcess.json} {
		t.Run(name, func(t *testing.T) {
			var got bytes.Buffer
			story(newHandler(&got, slog.LevelDebug, format))
			golden := filepath.Join("testdata", name+".golden")
			if *update {
				if err := os.WriteFile(golden, got.Bytes(), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got.String()); diff != "" {
				t.Error(diff)
			}
			if strings.Contains(got.String(), "hunter2") {
				t.Error("a secret was logged")
			}
		})
	}
}

func TestNew(t *testing.T) {
	tests := []struct {
		config Config
		want   []string // substrings of the lines
	}{
		{Config{Program: "p"}, []string{" INFO p [-] info"}},
		{Config{Program: "p", Debug: true}, []string{" DEBUG p [-] debug neutrino/internal/logging.TestNew logging/logging_test.go:", " INFO p [-] info"}},
		{Config{Program: "p", JSON: true}, []string{`"levelname":"INFO"`}},
	}
	for _, tt := range tests {
		var out bytes.Buffer
		log := New(&out, tt.config)
		log.Debug("debug")
		log.Info("info")
		lines := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
		if len(lines) != len(tt.want) {
			t.Fatalf("%+v: %q", tt.config, lines)
		}
		for i, want := range tt.want {
			if !strings.Contains(lines[i], want) {
				t.Errorf("%+v: line %q, want %q in it", tt.config, lines[i], want)
			}
		}
	}
}

// lineWriter fails the test if a Write is not exactly one line.
type lineWriter struct {
	t     *testing.T
	count int
}

func (w *lineWriter) Write(b []byte) (int, error) {
	if bytes.Count(b, []byte("\n")) != 1 || !json.Valid(b) {
		w.t.Errorf("not one whole record: %q", b)
	}
	w.count++
	return len(b), nil
}

func TestRecordsDoNotMix(t *testing.T) {
	w := &lineWriter{t: t}
	log := New(w, Config{JSON: true}).With("shared", 1)
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			for range 100 {
				log.With("own", i).Info(strings.Repeat("x", i*100))
			}
		})
	}
	log.Info(strings.Repeat("x", 2*maxBuffer))
	all.Wait()
	if w.count != 801 {
		t.Errorf("%d records", w.count)
	}
}

func TestSecretIsNeverShown(t *testing.T) {
	s := Secret("hunter2")
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d", "%10s"} {
		for _, v := range []any{s, &s, []Secret{s}, map[string]Secret{"k": s}, struct{ S Secret }{s}} {
			if got := fmt.Sprintf(verb, v); strings.Contains(got, "hunter2") || strings.Contains(got, "68756e74657232") {
				t.Errorf("%s of %T shows %s", verb, v, got)
			}
		}
	}
	if data, err := json.Marshal(map[string]Secret{"k": s}); err != nil || string(data) != `{"k":"***"}` {
		t.Errorf("json: %s, %v", data, err)
	}
	if string(s) != "hunter2" || s.String() != hidden {
		t.Error("the text itself is lost")
	}
}

func TestOpen(t *testing.T) {
	dir := t.TempDir()
	tests := []struct{ dir, file, want string }{
		{dir, "", "neutron-server.log"},
		{dir, "other.log", "other.log"},
		{"/nonexistent", filepath.Join(dir, "absolute.log"), "absolute.log"},
	}
	for _, tt := range tests {
		for range 2 { // the second time it is continued
			w, err := Open(tt.dir, tt.file, "neutron-server")
			if err != nil {
				t.Fatal(err)
			}
			fmt.Fprint(w, "line")
			if err := w.Close(); err != nil {
				t.Error(err)
			}
		}
		got, err := os.ReadFile(filepath.Join(dir, tt.want))
		if string(got) != "lineline" {
			t.Errorf("Open(%q, %q) wrote %q, %v", tt.dir, tt.file, got, err)
		}
	}
	if _, err := Open("/nonexistent", "", "p"); err == nil || !strings.Contains(err.Error(), "/nonexistent/p.log") {
		t.Errorf("no directory: %v", err)
	}
	w, err := Open("", "", "p")
	if err != nil || w.Close() != nil {
		t.Errorf("standard error: %v", err)
	}
}
