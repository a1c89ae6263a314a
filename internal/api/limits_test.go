package api

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"
)

// TestDeafClients: answers that nobody reads take a bounded amount of memory, and clients that read get theirs whole.
func TestDeafClients(t *testing.T) {
	l := newLimits(0)
	body := bytes.Repeat([]byte("x"), 16<<20) // more than the kernel buffers
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		done, err := l.list(r.Context())
		if err != nil {
			return
		}
		done()
		l.write(w, body)
	}))
	defer s.Close()
	var deaf []net.Conn
	for range 3 * maxAnswers / len(body) {
		c, err := net.Dial("tcp", s.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		deaf = append(deaf, c)
	}
	var readers sync.WaitGroup
	for range 4 {
		readers.Go(func() {
			resp, err := http.Get(s.URL)
			if err != nil {
				t.Error(err)
				return
			}
			defer resp.Body.Close()
			if n, err := io.Copy(io.Discard, resp.Body); int(n) != len(body) || err != nil {
				t.Errorf("read %d bytes: %v", n, err)
			}
		})
	}
	readers.Wait()
	l.mu.Lock()
	if most := maxAnswers + maxLists*len(body); l.pending > most || len(l.writing) == 0 {
		t.Errorf("%d bytes are on their way, at most %d", l.pending, most)
	}
	l.mu.Unlock()
	for _, c := range deaf {
		c.Close()
	}
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		l.mu.Lock()
		left := l.pending
		l.mu.Unlock()
		if left == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d bytes stay on their way to clients that are gone", left)
		}
	}
}

func TestTooManyDigits(t *testing.T) {
	nines := bytes.Repeat([]byte("9"), maxDigits)
	for text, want := range map[string]bool{
		`{"a":` + string(nines) + `}`: false, `{"a":` + string(nines) + `9}`: true, `[1,` + string(nines) + "9": true,
		`{"a":"\"` + string(nines) + `9"}`: false, `{"a":0.` + string(nines) + `9}`: false,
	} {
		if tooManyDigits([]byte(text)) != want {
			t.Errorf("%.20s…: want %v", text, want)
		}
	}
}
