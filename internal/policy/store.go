package policy

import (
	"io/fs"
	"log/slog"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// checkEvery is how often the files are looked at while requests come in.
const checkEvery = time.Second

// Store keeps the rules up to date with the policy files. A request looks at the files at most once a second; nothing
// runs in the background.
type Store struct {
	opts  Options
	log   *slog.Logger
	now   func() time.Time
	rules atomic.Pointer[Rules]
	next  atomic.Int64 // when to look again, Unix nanoseconds

	mu   sync.Mutex // held while looking
	seen []stamp
}

// stamp tells one version of a file from another.
type stamp struct {
	path     string
	modified time.Time
	size     int64
}

// Open loads the rules. Errors are those of Load.
func Open(opts Options, log *slog.Logger) (*Store, error) {
	return open(opts, log, time.Now)
}

func open(opts Options, log *slog.Logger, now func() time.Time) (*Store, error) {
	s := &Store{opts: opts, log: log, now: now}
	s.next.Store(now().Add(checkEvery).UnixNano())
	s.seen = s.stamps() // before reading: a change in between is seen as one
	rules, err := Load(opts)
	if err != nil {
		return nil, err
	}
	s.use(rules)
	return s, nil
}

// Rules gives the rules in force. When a file has changed they are read again; while the new files are broken the old
// rules stay.
func (s *Store) Rules() *Rules {
	now := s.now()
	due := s.next.Load()
	if now.UnixNano() >= due && s.next.CompareAndSwap(due, now.Add(checkEvery).UnixNano()) {
		s.refresh()
	}
	return s.rules.Load()
}

func (s *Store) refresh() {
	s.mu.Lock()
	defer s.mu.Unlock()
	stamps := s.stamps()
	if slices.Equal(stamps, s.seen) {
		return
	}
	s.seen = stamps
	rules, err := Load(s.opts)
	if err != nil {
		s.log.Error("policy files are broken; the old rules stay in force until they are repaired", "error", err)
		return
	}
	s.use(rules)
	s.log.Info("policy files have changed; the new rules are in force")
}

func (s *Store) use(rules *Rules) {
	s.rules.Store(rules)
	for _, w := range rules.Warnings() {
		s.log.Warn("policy", "problem", w)
	}
}

// stamps describes the files as they are now. What cannot be looked at counts as missing: Load reports it.
func (s *Store) stamps() []stamp {
	paths, err := policyFiles(s.opts.Files, s.opts.Dirs)
	if err != nil {
		return nil
	}
	stamps := make([]stamp, len(paths))
	for i, path := range paths {
		stamps[i].path = path
		var info fs.FileInfo
		if info, err = os.Stat(path); err == nil {
			stamps[i].modified, stamps[i].size = info.ModTime(), info.Size()
		}
	}
	return stamps
}
