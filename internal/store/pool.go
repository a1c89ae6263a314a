package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"
	"log/slog"
	"time"
)

// Pool says how many connections are kept and how patiently they are made, in the terms of oslo.db. SQLite has a pool
// of its own.
type Pool struct {
	MaxSize     int // connections kept open; 0 means any number
	MaxOverflow int // how many more may be open for a while; negative means any number
	// Recycle closes connections that are older, before the server or a firewall between does; 0 means never.
	Recycle time.Duration
	// Timeout is how long a request waits for a connection when all are in use.
	Timeout time.Duration
	// Retries is how many times more Open tries to reach the database, after RetryInterval each; negative means
	// without end.
	Retries       int
	RetryInterval time.Duration
}

// DefaultPool has oslo.db's defaults, but reaches for the database once.
func DefaultPool() Pool {
	return Pool{MaxSize: 5, MaxOverflow: 50, Recycle: time.Hour, Timeout: 30 * time.Second}
}

// connectTimeout bounds making one connection, as PyMySQL does by default.
const connectTimeout = 10 * time.Second

// openPool uses one pool for reading and writing, and makes sure that the database answers.
func (db *DB) openPool(ctx context.Context, c driver.Connector, p Pool) error {
	pool := sql.OpenDB(c)
	if p.MaxSize > 0 {
		if p.MaxOverflow >= 0 {
			pool.SetMaxOpenConns(p.MaxSize + p.MaxOverflow)
		}
		pool.SetMaxIdleConns(p.MaxSize)
	} else {
		pool.SetMaxIdleConns(maxIdle)
	}
	pool.SetConnMaxLifetime(p.Recycle)
	db.writer, db.reader, db.acquire = pool, pool, p.Timeout
	db.closers = append(db.closers, pool.Close)
	for try := 0; ; try++ {
		err := pool.PingContext(ctx)
		if err == nil || !IsUnavailable(err) || p.Retries >= 0 && try >= p.Retries {
			return err
		}
		db.log.Warn("the database cannot be reached", "try", try+1, "again_in", p.RetryInterval, slog.Any("error", err))
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", ctx.Err(), err)
		case <-time.After(p.RetryInterval):
		}
	}
}

// maxIdle is how many connections a pool without limit keeps.
const maxIdle = 100
