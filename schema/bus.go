package schema

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/lib/pq"
)

// Engines of a fleet say things to each other by rows of imcd_bus, which each of them reads with its beat. Each
// engine numbers its rows and has one goroutine that writes them, so that a reader needs to know only the
// last number that it has read of each engine. An engine that has failed to write repeats all rows
// that live: the server may have lost some in a crash, and those that it has stay as they are.

const (
	// busLife is how long a row lives: others have read it by then.
	busLife = 10 * time.Second
	// busBytes bounds the rows of an engine that live, and busRows those of them that one statement writes.
	busBytes = 2 << 20
	busRows  = 64
	// busOverhead is what a row counts beside its body.
	busOverhead = 256
	// sweepAfter is when rows of engines that may have ended are deleted, after some were read.
	sweepAfter = 30 * time.Second
	// busTimeout is the deadline of a statement, and busAgain the pause after one that failed.
	busTimeout = 2 * time.Second
	busAgain   = 300 * time.Millisecond
	// busLast is the deadline of the last one, when the engine ends.
	busLast = 200 * time.Millisecond
)

// ErrBusFull: more is to be said to other engines than the database takes.
var ErrBusFull = errors.New("too much is to be said to other imcd")

// BusRow is what one engine of a fleet says to others.
type BusRow struct {
	From int64  // the engine that says it
	To   int64  // the engine that it is for; 0: all
	Kind string // a word without spaces
	Body string // valid UTF-8 without NUL
	// Within is how soon it must be written: if the database is away for longer, nobody hears it. 0: as long as it lives.
	Within time.Duration
}

// sqlPublish writes rows of the engine $1, unless it is gone, and deletes those up to number $2.
const sqlPublish = `WITH old AS (DELETE FROM imcd_bus WHERE origin = $1 AND n <= $2)
	INSERT INTO imcd_bus (origin, n, target, kind, body)
	SELECT $1, v.n, NULLIF(v.target, 0), v.kind, v.body
	FROM unnest($3::bigint[], $4::bigint[], $5::text[], $6::text[]) AS v(n, target, kind, body)
	WHERE EXISTS (SELECT 1 FROM imcd_fences WHERE id = $1 AND NOT gone) ON CONFLICT DO NOTHING`

// sqlSweepBus deletes rows of engines that have ended.
const sqlSweepBus = `DELETE FROM imcd_bus WHERE at < now() - interval '20 seconds'`

// bus has the rows of this engine.
type bus struct {
	wake chan struct{} // holds a token while rows may wait to be written,

	mu      sync.Mutex
	rows    []publishedRow // by mu: those that live, by their numbers, which have no gaps
	last    int64          // by mu: the number of the last row
	written int64          // by mu: rows up to this number are in the table
	bytes   int            // by mu: of rows
	sweep   time.Time      // by mu: when rows of others are to be deleted; zero: there are none
}

type publishedRow struct {
	BusRow
	n  int64
	at time.Time // when it was published
}

func (r *publishedRow) size() int { return len(r.Kind) + len(r.Body) + busOverhead }

func newBus() *bus { return &bus{wake: make(chan struct{}, 1)} }

func (b *bus) signal() {
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

// publish lets a row be written soon.
func (b *bus) publish(r BusRow, now time.Time) error {
	one := publishedRow{BusRow: r, at: now}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.bytes+one.size() > busBytes {
		return ErrBusFull
	}
	b.last++
	one.n = b.last
	b.rows = append(b.rows, one)
	b.bytes += one.size()
	b.signal()
	return nil
}

// due returns rows to be written and the number up to which rows are over. sweep: rows of others may be.
func (b *bus) due(now time.Time) (write []publishedRow, over int64, sweep bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	over = b.last - int64(len(b.rows))
	for len(b.rows) > 0 && now.Sub(b.rows[0].at) >= busLife {
		over = b.rows[0].n
		b.bytes -= b.rows[0].size()
		b.rows[0] = publishedRow{}
		b.rows = b.rows[1:]
	}
	for i := range b.rows {
		r := &b.rows[i]
		if late := r.Within > 0 && now.Sub(r.at) > r.Within; r.n > b.written && !late && len(write) < busRows {
			write = append(write, *r)
		}
	}
	if sweep = !b.sweep.IsZero() && now.After(b.sweep); sweep {
		b.sweep = time.Time{}
	}
	return write, over, sweep
}

// done notes that rows up to last are in the table, or, after an error, that this is not known of any.
func (b *bus) done(last int64, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err != nil {
		b.written = 0
	} else {
		b.written = max(b.written, last)
	}
	if b.written < b.last {
		b.signal()
	}
}

// lives reports whether rows of this engine live.
func (b *bus) lives() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.rows) > 0
}

// heardOthers notes that another engine has published something.
func (b *bus) heardOthers(now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.sweep.IsZero() {
		b.sweep = now.Add(sweepAfter)
	}
}

// speak writes rows until ctx ends. While there is nothing to say, it leaves the database alone.
func (m *member) speak(ctx context.Context) {
	for pause, over := busLife, int64(0); ; {
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			timer.Stop()
			m.lastWords(context.WithoutCancel(ctx))
			return
		case <-timer.C:
		case <-m.bus.wake:
			timer.Stop()
		}
		write, until, sweep := m.bus.due(time.Now())
		pause = busLife
		if len(write) > 0 || until > over {
			last, err := m.write(ctx, write, until)
			m.bus.done(last, err)
			if err != nil { // commits report that the database is away
				m.log.Debug().Err(err).Msg("other imcd do not hear this one")
				pauseFor(ctx, busAgain)
				continue
			}
			over = until
		}
		if m.bus.lives() {
			pause = busLife / 4
		}
		if sweep {
			m.sweepBus(ctx)
		}
	}
}

// lastWords writes what is left when the engine ends.
func (m *member) lastWords(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, busLast)
	defer cancel()
	if write, over, _ := m.bus.due(time.Now()); len(write) > 0 {
		if _, err := m.write(ctx, write, over); err != nil {
			m.log.Debug().Err(err).Msg("other imcd do not hear this one")
		}
	}
}

// pauseFor waits, or until ctx ends.
func pauseFor(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

// write puts rows into the table, and returns the number of the last one.
func (m *member) write(ctx context.Context, rows []publishedRow, over int64) (last int64, err error) {
	ctx, cancel := context.WithTimeout(ctx, busTimeout)
	defer cancel()
	var ns, targets []int64
	var kinds, bodies []string
	for i := range rows {
		last = rows[i].n
		ns, targets = append(ns, last), append(targets, rows[i].To)
		kinds, bodies = append(kinds, rows[i].Kind), append(bodies, rows[i].Body)
	}
	_, err = m.db.ExecContext(ctx, sqlPublish, m.me, over, pq.Array(ns), pq.Array(targets), pq.Array(kinds),
		pq.Array(bodies))
	return last, wrap(ctx, "say something to other imcd", err)
}

func (m *member) sweepBus(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, busTimeout)
	defer cancel()
	if _, err := m.db.ExecContext(ctx, sqlSweepBus); err != nil && ctx.Err() == nil {
		m.log.Debug().Err(err).Msg("old rows of imcd_bus were not deleted")
	}
}

// listener knows what an engine has read of the bus. The goroutine of beat owns it.
type listener struct {
	read map[int64]lastRead // by engine
}

type lastRead struct {
	n  int64
	at time.Time // when it was read
}

// forgetAfter is how long an engine must have said nothing until its number is forgotten: none of its rows is left.
const forgetAfter = 2 * time.Minute

// query adds to sqlBeat what other engines have published for this one.
func (l *listener) query(me int64) string {
	var b strings.Builder
	fmt.Fprintf(&b, ` UNION ALL SELECT 4, b.origin, b.n, b.target, b.kind || ' ' || b.body FROM imcd_bus b
		WHERE b.origin <> %d AND (b.target IS NULL OR b.target = %[1]d)`, me)
	for engine, last := range l.read {
		fmt.Fprintf(&b, " AND NOT (b.origin = %d AND b.n <= %d)", engine, last.n)
	}
	return b.String()
}

// heardRow is a row as it was read.
type heardRow struct {
	BusRow
	n int64
}

func newHeardRow(engine, n, target int64, text string) heardRow {
	kind, body, _ := strings.Cut(text, " ")
	return heardRow{BusRow{From: engine, To: target, Kind: kind, Body: body}, n}
}

// take notes rows as read and returns them in the order in which they were published.
func (l *listener) take(rows []heardRow, now time.Time) []BusRow {
	slices.SortFunc(rows, func(a, b heardRow) int { return int(a.n - b.n) })
	all := make([]BusRow, len(rows))
	for i, r := range rows {
		all[i] = r.BusRow
		l.read[r.From] = lastRead{r.n, now}
	}
	for engine, last := range l.read {
		if now.Sub(last.at) > forgetAfter {
			delete(l.read, engine)
		}
	}
	return all
}

// Publish lets other engines of the fleet know something, in a moment. It does not block. A row is lost if the
// database is away for longer than it lives. ErrBusFull: it was not taken. Without a fleet there is nobody, and
// Publish does nothing.
func (s *Store) Publish(r BusRow) error {
	if m, ok := s.lease.(*member); ok {
		return m.bus.publish(r, time.Now())
	}
	return nil
}

// Shared reports whether other engines own shards, as far as this one has seen: they care for users and rooms.
func (s *Store) Shared() bool {
	m, ok := s.lease.(*member)
	return ok && m.shared.Load()
}

// Lives reports whether an engine of the fleet is not known to be gone.
func (s *Store) Lives(engine int64) bool {
	m, ok := s.lease.(*member)
	if !ok {
		return false
	}
	_, other := m.look().heard[engine]
	return other || engine == m.me
}

// Owner is the engine that owns the room with this hash, as this one saw it last; 0: nobody, or there is no fleet.
func (s *Store) Owner(hash uint32) int64 {
	m, ok := s.lease.(*member)
	if !ok {
		return 0
	}
	owners := m.look().owners
	if len(owners) == 0 {
		return 0
	}
	return owners[hash&uint32(len(owners)-1)]
}

// Owners are the engines that own shards, as this one saw it last, in order. There is none without a fleet.
func (s *Store) Owners() []int64 {
	m, ok := s.lease.(*member)
	if !ok {
		return nil
	}
	all := slices.Clone(m.look().owners)
	slices.Sort(all)
	return slices.DeleteFunc(slices.Compact(all), func(engine int64) bool { return engine == 0 })
}
