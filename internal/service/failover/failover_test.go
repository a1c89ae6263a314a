package failover

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"

	"neutrino/internal/store/dbtest"
)

// Agents whose reports could not be written get the time to report again before anything is moved.
func TestPatienceAfterTrouble(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	const downTime = 2 * time.Second // a look each second
	began := time.Now()
	var looks []time.Duration
	Watch(ctx, dbtest.Open(t), slog.New(slog.DiscardHandler), "test", downTime, func(context.Context) error {
		looks = append(looks, time.Since(began))
		if len(looks) == 1 {
			return errors.New("no database")
		}
		cancel()
		return nil
	})
	if len(looks) != 2 || looks[0] < downTime || looks[1]-looks[0] < downTime {
		t.Errorf("looked after %v, agents count as dead after %s", looks, downTime)
	}
}
