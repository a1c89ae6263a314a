package api

import (
	"context"
	"io"
	"net/http"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"
)

// What clients can make the server hold in memory. Decoded JSON takes up to about 60 times the space of its text.
const (
	longBody    = 64 << 10 // bytes; shorter ones are not counted
	maxBodies   = 8 << 20  // bytes of long bodies that are worked on at a time; others wait
	maxDrained  = 64 << 20 // bytes of a body that is too long are read and thrown away, for clients that send all of it first
	maxBulk     = 10_000   // objects of one request
	longAnswer  = 256 << 10
	maxAnswers  = 128 << 20 // bytes of long answers that are not yet written
	maxLists    = 16        // lists that are made at a time
	shortPage   = 100       // objects; shorter lists do not wait
	answerPart  = 64 << 10
	stall       = 30 * time.Second // for which a client may take nothing of a long answer
	shortStall  = time.Second      // likewise, when maxAnswers is reached
	roomLatency = 50 * time.Millisecond
)

// limits bound memory where clients are slow or want too much.
type limits struct {
	bodies *semaphore.Weighted // bytes
	lists  *semaphore.Weighted

	mu      sync.Mutex
	pending int // bytes of long answers
	writing map[*writing]bool
}

func newLimits(maxBody int64) *limits {
	return &limits{bodies: semaphore.NewWeighted(max(maxBodies, maxBody)), lists: semaphore.NewWeighted(maxLists), writing: map[*writing]bool{}}
}

// drain reads what is left of a body that is not wanted, so that the client gets to read the answer: closing the
// connection while data comes in would take the answer away.
func drain(body io.Reader) { _, _ = io.CopyN(io.Discard, body, maxDrained) }

// list waits until there is room for one more list; done must be called once its answer is made.
func (l *limits) list(ctx context.Context) (done func(), err error) {
	if err := l.lists.Acquire(ctx, 1); err != nil {
		return nil, err
	}
	for !l.room() {
		select {
		case <-ctx.Done():
			l.lists.Release(1)
			return nil, ctx.Err()
		case <-time.After(roomLatency):
		}
	}
	return func() { l.lists.Release(1) }, nil
}

// room tells whether the answers that are being written leave room for more. If not, those clients lose theirs that take
// nothing.
func (l *limits) room() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.pending < maxAnswers {
		return true
	}
	now := time.Now()
	for w := range l.writing {
		if now.Sub(w.took) > shortStall {
			_ = w.conn.SetWriteDeadline(now) // its write fails, and ends it
		}
	}
	return false
}

// writing is one long answer on its way.
type writing struct {
	conn  *http.ResponseController
	size  int
	until time.Time
	took  time.Time // when the client last took some
}

// write writes an answer. That the client is gone or does not read is no error of the server's.
func (l *limits) write(w http.ResponseWriter, body []byte) {
	if len(body) < longAnswer {
		_, _ = w.Write(body)
		return
	}
	one := &writing{conn: http.NewResponseController(w), size: len(body), until: time.Now().Add(writeTimeout)}
	l.mu.Lock()
	l.pending += one.size
	l.writing[one] = true
	l.mu.Unlock()
	defer func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.pending -= one.size
		delete(l.writing, one)
	}()
	for part := range slices.Chunk(body, answerPart) {
		l.progress(one)
		if _, err := w.Write(part); err != nil {
			return
		}
	}
}

func (l *limits) progress(w *writing) {
	l.mu.Lock()
	defer l.mu.Unlock()
	w.took = time.Now()
	deadline := w.took.Add(stall)
	if deadline.After(w.until) {
		deadline = w.until
	}
	_ = w.conn.SetWriteDeadline(deadline) // an error: not a real connection, as in tests
}
