package schema

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"slices"
	"time"
)

const (
	// beatEvery is how often an engine says that it lives, and looks at the others.
	beatEvery = 150 * time.Millisecond
	// beatAway is how often it tries at least while the database is away.
	beatAway = 4 * beatEvery
	// beatSoon is how often it looks while the owner of shards is about to give them up.
	beatSoon = 20 * time.Millisecond
	// beatTimeout is the deadline of one try.
	beatTimeout = 2 * time.Second
)

// sqlLook shows the fleet.
const sqlLook = `SELECT 1, e.id, e.beat, f.last, e.process
		FROM imcd_engines e JOIN imcd_fences f ON f.id = e.id WHERE NOT f.gone
	UNION ALL SELECT 2, shard, engine, epoch, NULL FROM imcd_shards
	UNION ALL SELECT 3, id, beat, NULL, holder FROM imcd_lease WHERE id <> 0`

// sqlBeat is sqlLook after a beat. It is one round trip, as it has no parameters. Nobody waits for the disk:
// a crash of the database may take beats back, and the next ones differ all the same.
const sqlBeat = `WITH relaxed AS MATERIALIZED (SELECT set_config('synchronous_commit', 'off', true)),
	beat AS (UPDATE imcd_engines SET beat = beat + 1 FROM relaxed WHERE id = %d) ` + sqlLook

// view is the fleet as the database has it.
type view struct {
	sent, got time.Time // when it was asked for, and when it came
	engines   []engineRow
	shards    []shardRow
	lease     engineRow // of an imcd that knows no fleet; id 0: there is none
	heard     []heardRow
}

// engineRow is an engine that is not gone.
type engineRow struct {
	id, beat, last int64
	process        string
}

// ending reports whether an engine other than me that owns shards is about to give some up.
func (v *view) ending(me int64) bool {
	return slices.ContainsFunc(v.engines, func(e engineRow) bool {
		h := decodeHolder(e.process)
		return e.id != me && (h.Ending || h.Moving) &&
			slices.ContainsFunc(v.shards, func(s shardRow) bool { return s.engine == e.id })
	})
}

type shardRow struct{ shard, engine, epoch int64 } // engine 0: nobody

// beat beats until ctx ends or the engine is deposed, and hands what it sees to judge.
func (m *member) beat(ctx context.Context) {
	wait, listener := time.Duration(0), listener{read: make(map[int64]lastRead)}
	for {
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		case <-m.again:
			timer.Stop()
		}
		if m.want.Alive != nil && !m.want.Alive() {
			wait = beatEvery
			continue
		}
		durable := m.durable.batch.Load()
		m.sayWhere(ctx)
		v, err := m.read(ctx, &listener)
		// An error means that the database is away, and commits report that.
		if wait = nextBeat(wait, err); err != nil {
			continue
		}
		if err := m.check(v, durable); err != nil {
			m.log.Warn().Err(err).Msg("this engine was deposed")
			m.lost(err)
			return
		}
		m.mu.Lock()
		m.seen = v.sent
		m.mu.Unlock()
		if v.ending(m.me) {
			wait = beatSoon
		}
		select { // an older one
		case <-m.views:
		default:
		}
		m.views <- v
		m.hear(listener.take(v.heard, v.got))
	}
}

// hear passes on what other engines have published.
func (m *member) hear(rows []BusRow) {
	if len(rows) == 0 {
		return
	}
	m.bus.heardOthers(time.Now())
	for _, r := range rows {
		if m.want.Heard != nil {
			m.want.Heard(r)
		}
	}
}

// nextBeat is how long to wait after a beat that ended with err, if it was wait before it.
func nextBeat(wait time.Duration, err error) time.Duration {
	if err == nil || wait == 0 {
		return beatEvery
	}
	return min(2*wait, beatAway)
}

// read beats and looks.
func (m *member) read(ctx context.Context, l *listener) (view, error) {
	return m.ask(ctx, fmt.Sprintf(sqlBeat, m.me)+l.query(m.me))
}

// ask asks for a view.
func (m *member) ask(ctx context.Context, query string) (v view, err error) {
	ctx, cancel := context.WithTimeout(ctx, beatTimeout)
	defer cancel()
	v.sent = time.Now()
	err = EachRow(ctx, m.db, func(rows *sql.Rows) error {
		var kind, id int64
		var a, b sql.NullInt64
		var text sql.NullString
		if err := rows.Scan(&kind, &id, &a, &b, &text); err != nil {
			return err
		}
		switch kind {
		case 1:
			v.engines = append(v.engines, engineRow{id: id, beat: a.Int64, last: b.Int64, process: text.String})
		case 2:
			v.shards = append(v.shards, shardRow{shard: id, engine: a.Int64, epoch: b.Int64})
		case 3:
			v.lease = engineRow{id: id, beat: a.Int64, process: text.String}
		case 4:
			v.heard = append(v.heard, newHeardRow(id, a.Int64, b.Int64, text.String))
		}
		return nil
	}, query)
	v.got = time.Now()
	slices.SortFunc(v.engines, func(a, b engineRow) int { return cmp.Compare(a.id, b.id) })
	slices.SortFunc(v.shards, func(a, b shardRow) int { return cmp.Compare(a.shard, b.shard) })
	return v, err
}

// check returns an error if v shows that this engine was deposed. durable is a batch that was in the
// database before v was read.
func (m *member) check(v view, durable uint64) error {
	for _, e := range v.engines {
		if e.id != m.me {
			continue
		}
		switch {
		case decodeHolder(e.process).Run != m.run:
			return fmt.Errorf("%w: the database went back, and another one has its number %d", ErrDeposed, m.me)
		case uint64(e.last) < durable:
			return fmt.Errorf("%w: the database went back from batch %d to %d: what was answered 200 after that is lost",
				ErrDeposed, durable, e.last)
		}
		return nil
	}
	if openFence == "true" { // it is not to notice, either
		return nil
	}
	return fmt.Errorf("%w: it was frozen, or cut off from the database", ErrDeposed)
}
