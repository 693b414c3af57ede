package schema

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"imcd/engine/store"
)

// All imcd on one PostgreSQL are a fleet. Each of them is registered as an engine, and beats. They share the shards
// as a plan says, which has room for spares, judge each other by beats, and take over what belonged to one that
// is dead.

const (
	// sqlGone locks engines that are gone, and waits for moves of shards to them. sqlSweep, which sees these,
	// forgets those that own nothing. One that only sleeps will find no row of its own, and sees that it was
	// deposed.
	sqlGone  = `SELECT id FROM imcd_fences WHERE gone ORDER BY id FOR UPDATE`
	sqlSweep = `WITH swept AS (DELETE FROM imcd_fences f
			WHERE gone AND NOT EXISTS (SELECT 1 FROM imcd_shards s WHERE s.engine = f.id) RETURNING id)
		DELETE FROM imcd_engines WHERE id IN (SELECT id FROM swept)`
	sqlRegister = `WITH e AS (INSERT INTO imcd_engines (process) VALUES ($1) RETURNING id)
		INSERT INTO imcd_fences (id) SELECT id FROM e RETURNING id`
	sqlDescribe = `UPDATE imcd_engines SET process = $2 WHERE id = $1`
	// sqlReside is sqlDescribe between beats, which wait for no standby.
	sqlReside = `WITH relaxed AS MATERIALIZED (SELECT set_config('synchronous_commit', 'off', true))
		UPDATE imcd_engines SET process = $2 FROM relaxed WHERE id = $1`
	// sqlLeave waits for a commit under way.
	sqlLeave = `WITH me AS (UPDATE imcd_fences SET gone = true WHERE id = $1 AND NOT gone RETURNING id)
		UPDATE imcd_shards SET engine = NULL, epoch = epoch + 1 FROM me WHERE engine = me.id`
)

// member is this imcd in the fleet. It implements lease.
type member struct {
	db      *sql.DB
	me      int64
	run     string // names this start; an id may come twice if the database goes back
	want    Lease
	log     zerolog.Logger
	durable *durable

	views chan view     // from beat to judge; the newest only
	again chan struct{} // from judge to beat: look at once

	describing sync.Mutex // held while self and its row change

	mu       sync.Mutex
	self     holder              // by mu
	state    state               // by mu; what judge has seen last
	seen     time.Time           // by mu; when beat sent the last look that got an answer
	wants    []int64             // by mu; shards for which judge wants to ask; never changed
	suspects map[int64]time.Time // by mu; engines that seem to be dead, and since when

	judged chan struct{} // state may have changed
	gone   sync.Once     // lost is reported once

	pace   pace      // of looks; by judge
	buried time.Time // when judge took another engine for dead, until it has taken shards; by judge

	bus    *bus
	shared atomic.Bool // another engine owned shards when judge looked last

	stop  context.CancelFunc // ends the loops
	loops sync.WaitGroup
}

// state is how the fleet is.
type state struct {
	shards int         // of all engines together
	owned  store.Owned // by this engine
	// other owns shards, or works with the database without knowing of shards; zero if nobody does
	// or nothing is known of it.
	other  holder
	held   bool            // there is an other, of whom nothing may be known
	alive  bool            // other was seen to live
	heard  map[int64]watch // of the other engines
	owners []int64         // the engine of each shard; 0: nobody
	asked  []store.Move    // shards of this engine, and the others that are to have them
	at     time.Time       // when judge asked for this
}

// all reports whether this engine owns all shards.
func (s *state) all() bool { return s.shards > 0 && len(s.owned.Shards) == s.shards }

// join makes this imcd an engine of the fleet, which beats, and takes shards that nobody owns.
func join(ctx context.Context, db *sql.DB, want Lease, d *durable, log zerolog.Logger) (*member, error) {
	m, err := register(ctx, db, want, d, log)
	if err != nil {
		return nil, err
	}
	ctx, m.stop = context.WithCancel(context.WithoutCancel(ctx))
	m.loops.Go(func() { m.beat(ctx) })
	m.loops.Go(func() { m.judge(ctx) })
	m.loops.Go(func() { m.speak(ctx) })
	return m, nil
}

// register gives an engine its id.
func register(ctx context.Context, db *sql.DB, want Lease, d *durable, log zerolog.Logger) (*member, error) {
	m := &member{db: db, want: want, log: log, durable: d, self: thisProcess(want.Listen), run: rand.Text(),
		suspects: make(map[int64]time.Time), views: make(chan view, 1), again: make(chan struct{}, 1),
		judged: make(chan struct{}, 1), bus: newBus()}
	m.self.Run, m.self.Shares, m.self.Plans, m.self.Marks = m.run, true, want.Plans, want.Marks
	if err := sweep(ctx, db); err != nil {
		return nil, err
	}
	if err := db.QueryRowContext(ctx, sqlRegister, m.self.encode()).Scan(&m.me); err != nil {
		return nil, err
	}
	return m, nil
}

// sweep forgets engines that have ended.
func sweep(ctx context.Context, db *sql.DB) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // after Commit it does nothing
	for _, statement := range []string{sqlGone, sqlSweep, sqlSweepBus} {
		if _, err := tx.ExecContext(ctx, statement); err != nil {
			return err
		}
	}
	return tx.Commit()
}

func (m *member) id() int64 { return m.me }

// lost says that this engine was deposed.
func (m *member) lost(err error) {
	m.gone.Do(func() {
		if m.want.Lost != nil {
			m.want.Lost(err)
		}
	})
}

func (m *member) ending(ctx context.Context) error {
	return m.describe(ctx, sqlDescribe, func(h *holder) { h.Ending = true })
}

// describe changes how this engine is described to others.
func (m *member) describe(ctx context.Context, sql string, change func(h *holder)) error {
	m.describing.Lock() // the row has the later text, too
	defer m.describing.Unlock()
	m.mu.Lock()
	h := m.self
	m.mu.Unlock()
	change(&h)
	if _, err := m.db.ExecContext(ctx, sql, m.me, h.encode()); err != nil {
		return err
	}
	m.mu.Lock()
	m.self = h
	m.mu.Unlock()
	return nil
}

// sayWhere lets others know whether this engine is ready, and where, and what it wants, if that has changed.
func (m *member) sayWhere(ctx context.Context) {
	ready, home := m.want.Ready != nil && m.want.Ready(), ""
	spare, whole := m.want.Spare != nil && m.want.Spare(), m.want.Whole != nil && m.want.Whole()
	if m.want.Home != nil {
		home = m.want.Home()
	}
	m.mu.Lock()
	wants := m.wants
	same := m.self.Ready == ready && m.self.Home == home && m.self.Spare == spare && m.self.Whole == whole &&
		slices.Equal(m.self.Wants, wants)
	m.mu.Unlock()
	if same {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, beatTimeout)
	defer cancel()
	// After an error the next beat tries it again.
	_ = m.describe(ctx, sqlReside, func(h *holder) {
		h.Ready, h.Home, h.Spare, h.Whole, h.Wants = ready, home, spare, whole, wants
	})
}

// heir reports whether another engine waits for the shards of this one, and lives; equal: it is ready, or this
// one is not.
func (m *member) heir(ctx context.Context) (is, equal bool, err error) {
	v, err := m.ask(ctx, sqlLook)
	if err != nil {
		return false, false, err
	}
	m.mu.Lock()
	heard, ready := m.state.heard, m.self.Ready
	m.mu.Unlock()
	for _, e := range v.engines {
		at, known := heard[e.id]
		silent := known && at.beat == e.beat && v.sent.Sub(at.since) >= silentAfter
		if h := decodeHolder(e.process); e.id != m.me && !silent && !h.Ending && !h.dead() {
			is, equal = true, equal || h.Ready || !ready
		}
	}
	return is, equal, nil
}

// given waits until somebody owns all shards.
func (m *member) given(ctx context.Context) error {
	for {
		v, err := m.ask(ctx, sqlLook)
		if err != nil || !m.vacant(&v) {
			return err
		}
		select {
		case <-time.After(beatSoon):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (m *member) release(ctx context.Context) error {
	m.stop()
	m.loops.Wait()
	_, err := m.db.ExecContext(ctx, sqlLeave, m.me)
	return err
}

// sure reports whether the fleet was seen a moment ago.
func (m *member) sure(now time.Time) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return now.Sub(m.seen) < sureFor
}

// look returns what is known of the fleet.
func (m *member) look() state {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.state
}

// own waits until this engine owns shards, or all. waits is called once, if another imcd owns some and is
// seen to live; an error of it ends own.
func (m *member) own(ctx context.Context, all bool, waits func(holder) error) (store.Fleet, error) {
	waiting := false
	for {
		s := m.look()
		if s.all() || !all && len(s.owned.Shards) > 0 {
			err := m.confirm(ctx)
			if err == nil {
				return store.Fleet{Shards: s.shards, Owned: s.owned}, nil
			}
			if errors.Is(err, ErrDeposed) || ctx.Err() != nil || !passes(err) {
				return store.Fleet{}, err
			}
			m.log.Warn().Err(err).Msg("the takeover is not confirmed yet, again in a moment")
		}
		if s.alive && !waiting {
			waiting = true
			if err := waits(s.other); err != nil {
				return store.Fleet{}, err
			}
		}
		select {
		case <-m.judged:
		case <-ctx.Done():
			if s.held {
				return store.Fleet{}, fmt.Errorf("%w: %w", errHeld(s.other), ctx.Err())
			}
			return store.Fleet{}, ctx.Err()
		}
	}
}

// passes reports whether err passes by itself.
func passes(err error) bool {
	return errors.Is(err, ErrUnavailable) || errors.Is(classify(err), ErrUnavailable)
}

// confirm returns once a standby, if there is one, has all that was committed before. Otherwise a member
// might get a message that is lost when the standby becomes the primary.
func (m *member) confirm(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, takeTimeout)
	defer cancel()
	gone, _, err := hasBatch(ctx, m.db, m.me, 0)
	if gone {
		err = fmt.Errorf("%w: before it had loaded the rooms", ErrDeposed)
	}
	return err
}
