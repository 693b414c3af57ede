package schema

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"syscall"
	"time"

	"imcd/engine/store"
)

// leaseSuffix makes the name of the file that is locked. It is not the database
// itself: closing a file that SQLite has open would drop SQLite's own locks on it.
const leaseSuffix = ".lock"

// leaseRetry is how often a lease that another process has is tried again.
const leaseRetry = 20 * time.Millisecond

// leaseUnknown is how long a process may hold the lock before it has written its name into
// the file.
const leaseUnknown = time.Second

// fileLease is a lock of a file, with the holder as its content. The file stays when
// the lock is released.
type fileLease struct {
	mu   sync.Mutex
	file *os.File // by mu; nil when released
	self holder   // by mu
}

func (d *sqliteDialect) takeLease(ctx context.Context, want Lease) (*fileLease, error) {
	const doing = "lock the SQLite file"
	f, err := os.OpenFile(d.path+leaseSuffix, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", doing, err)
	}
	if err := lockLease(ctx, f); err != nil {
		_ = f.Close() // nothing was written
		return nil, fmt.Errorf("%s: %w", doing, err)
	}
	l := &fileLease{file: f, self: thisProcess(want.Listen)}
	if err := l.write(l.self.encode()); err != nil {
		_ = f.Close() // the first error tells more
		return nil, fmt.Errorf("%s: %w", doing, err)
	}
	return l, nil
}

// lockLease waits for the holder of the lock only if that is ending, or not known yet.
func lockLease(ctx context.Context, f *os.File) error {
	retry := time.NewTicker(leaseRetry)
	defer retry.Stop()
	began := time.Now()
	for {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) && !errors.Is(err, syscall.EINTR) {
			return err
		}
		text, err := io.ReadAll(io.NewSectionReader(f, 0, 1<<16))
		if err != nil {
			return err
		}
		h := decodeHolder(string(text))
		if known := h.PID != 0; known && !h.Ending && !h.dead() || !known && time.Since(began) > leaseUnknown {
			return errHeld(h)
		}
		select {
		case <-retry.C:
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", errHeld(h), ctx.Err())
		}
	}
}

// The lock lasts as long as the process.

func (l *fileLease) id() int64  { return 0 }
func (l *fileLease) lost(error) {}
func (l *fileLease) own(context.Context, bool, func(holder) error) (store.Fleet, error) {
	return store.Fleet{}, nil
}

func (l *fileLease) write(text string) error {
	if err := l.file.Truncate(0); err != nil {
		return err
	}
	_, err := l.file.WriteAt([]byte(text), 0)
	return err
}

func (l *fileLease) ending(context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file == nil {
		return nil
	}
	l.self.Ending = true
	return l.write(l.self.encode())
}

func (l *fileLease) release(context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file == nil {
		return nil
	}
	err := errors.Join(l.write(""), l.file.Close())
	l.file = nil
	return err
}
