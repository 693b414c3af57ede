package schema

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"
)

const (
	// leaseBeat is how often the holder changes its row.
	leaseBeat = 500 * time.Millisecond
	// leaseBeatAway is how often it tries at least while the database is away. With the time
	// that a beat may take it is less than leaseTimeout: when the database is back, another
	// imcd sees the row change in time.
	leaseBeatAway = leaseTimeout / 4
	// leaseTimeout is how long another imcd must have seen the row unchanged before it takes
	// it over, unless it can see that the holder's process has ended.
	leaseTimeout = 4 * time.Second
	// leaseGap is how long it may take to look at the row again.
	leaseGap = 2 * leaseBeat
	// leasePoll is how often an imcd that wants the lease reads the row.
	leasePoll = 50 * time.Millisecond
)

const (
	sqlReadLease = `SELECT id, beat, holder FROM imcd_lease`
	sqlMakeLease = `INSERT INTO imcd_lease (id, beat, holder) VALUES (0, 0, '') ON CONFLICT DO NOTHING`
	sqlTakeLease = `UPDATE imcd_lease SET id = $1, beat = 0, holder = $2 WHERE id = $3 AND beat = $4`
	sqlBeat      = `WITH relaxed AS MATERIALIZED (SELECT set_config('synchronous_commit', 'off', true))
		UPDATE imcd_lease SET beat = beat + 1 FROM relaxed WHERE id = $1`
	sqlEndLease     = `UPDATE imcd_lease SET holder = $2 WHERE id = $1`
	sqlReleaseLease = `UPDATE imcd_lease SET id = 0, beat = 0, holder = '' WHERE id = $1`

	// sqlMustHold begins a transaction of several statements. If this imcd freezes in the
	// middle of it, the server ends it, so that another imcd can take over.
	sqlMustHold = `WITH holds AS (SELECT 1 FROM imcd_lease WHERE id = $1::bigint FOR KEY SHARE)
		SELECT set_config('idle_in_transaction_session_timeout', '3000', true), {holds}`
)

// sqlHolds fails with invalid_text_representation (see taken) if a statement with
// a CTE holds does not find its own lease. {me} is the parameter; 0: it need not.
const sqlHolds = `(CASE WHEN {me}::bigint = 0 OR EXISTS (SELECT 1 FROM holds) THEN '1' ELSE 'taken' END)::integer`

// holdsIn is sqlHolds where parameter me says who we are.
func holdsIn(me string) string { return strings.ReplaceAll(sqlHolds, "{me}", me) }

// mustHold begins a transaction that fails if another imcd has taken the lease.
func (d *postgresDialect) mustHold(ctx context.Context, tx *sql.Tx, me int64) error {
	if me == 0 {
		return nil
	}
	_, err := tx.ExecContext(ctx, strings.ReplaceAll(sqlMustHold, "{holds}", holdsIn("$1")), me)
	return taken(err)
}

// rowLease is the row of imcd_lease with an id of our own in it.
type rowLease struct {
	db   *sql.DB
	me   int64
	want Lease

	mu   sync.Mutex
	self holder // by mu

	stop context.CancelFunc // ends run
	done chan struct{}      // closed when no beat comes any more
}

// leaseRow is what imcd_lease says.
type leaseRow struct {
	id, beat int64
	holder   string
}

// leaseWatch sees whether the row changes.
type leaseWatch struct {
	row         leaseRow
	since, last time.Time // when it was first and last seen so
}

// look returns for how long the row has been seen not to change. After a pause it begins
// again: the database may have been away, for the row's holder as well.
func (w *leaseWatch) look(row leaseRow, now time.Time) time.Duration {
	if row != w.row || now.Sub(w.last) > leaseGap {
		w.row, w.since = row, now
	}
	w.last = now
	return now.Sub(w.since)
}

func (d *postgresDialect) takeLease(ctx context.Context, db *sql.DB, want Lease) (lease, error) {
	var random [8]byte
	_, _ = rand.Read(random[:]) // never fails
	l := &rowLease{db: db, want: want, self: thisProcess(want.Listen), done: make(chan struct{}),
		me: int64(binary.BigEndian.Uint64(random[:])>>1) | 1}
	if err := l.take(ctx); err != nil {
		return nil, err
	}
	beating, stop := context.WithCancel(context.Background())
	l.stop = stop
	go l.run(beating)
	return l, nil
}

// take waits until the row can be ours. Only our own clock judges whether another holder
// lives: no clocks are compared.
func (l *rowLease) take(ctx context.Context) error {
	if _, err := l.db.ExecContext(ctx, sqlMakeLease); err != nil {
		return err
	}
	poll := time.NewTicker(leasePoll)
	defer poll.Stop()
	var w leaseWatch
	for {
		row, err := l.read(ctx)
		if err != nil {
			return err
		}
		h := decodeHolder(row.holder)
		before := w.row
		still := w.look(row, time.Now())
		switch {
		case row.id == 0 || h.dead() || still >= leaseTimeout:
			if taken, err := l.takeFrom(ctx, row); taken || err != nil {
				return err
			}
		case row.id == before.id && row.beat != before.beat && !h.Ending:
			return errHeld(h)
		}
		select {
		case <-poll.C:
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", errHeld(h), ctx.Err())
		}
	}
}

func (l *rowLease) read(ctx context.Context) (row leaseRow, err error) {
	err = l.db.QueryRowContext(ctx, sqlReadLease).Scan(&row.id, &row.beat, &row.holder)
	return row, err
}

// takeFrom makes the row ours if it still is as it was seen. It waits for commits of
// the former holder that are under way.
func (l *rowLease) takeFrom(ctx context.Context, row leaseRow) (bool, error) {
	return l.change(ctx, sqlTakeLease, l.me, l.self.encode(), row.id, row.beat)
}

// change executes an update of the row and reports whether the row was still as expected.
func (l *rowLease) change(ctx context.Context, update string, args ...any) (bool, error) {
	result, err := l.db.ExecContext(ctx, update, args...)
	if err != nil {
		return false, err
	}
	n, err := result.RowsAffected()
	return n > 0, err
}

// run beats until ctx ends or the lease is lost.
func (l *rowLease) run(ctx context.Context) {
	defer close(l.done)
	wait := leaseBeat
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
		err := l.beat(ctx)
		if errors.Is(err, ErrTaken) {
			if l.want.Lost != nil {
				l.want.Lost(err)
			}
			return
		}
		// Any other error means that the database is away, and commits report that.
		wait = nextBeat(wait, err)
	}
}

// nextBeat is how long to wait after a beat that ended with err, if it was wait before it.
func nextBeat(wait time.Duration, err error) time.Duration {
	if err == nil {
		return leaseBeat
	}
	return min(2*wait, leaseBeatAway)
}

func (l *rowLease) beat(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, leaseTimeout/2)
	defer cancel()
	held, err := l.change(ctx, sqlBeat, l.me)
	if err == nil && !held {
		err = l.lost(ctx)
	}
	return err
}

// lost returns the error that names the present holder of the lease.
func (l *rowLease) lost(ctx context.Context) error {
	row, err := l.read(ctx)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrTaken, err)
	}
	return fmt.Errorf("%w: %s", ErrTaken, decodeHolder(row.holder))
}

func (l *rowLease) id() int64 { return l.me }

func (l *rowLease) ending(ctx context.Context) error {
	l.mu.Lock()
	l.self.Ending = true
	text := l.self.encode()
	l.mu.Unlock()
	_, err := l.change(ctx, sqlEndLease, l.me, text)
	return err
}

func (l *rowLease) release(ctx context.Context) error {
	l.stop()
	<-l.done
	_, err := l.change(ctx, sqlReleaseLease, l.me)
	return err
}
