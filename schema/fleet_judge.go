package schema

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/lib/pq"

	"imcd/engine/store"
)

const (
	// deadAfter is how long another engine must have been seen not to beat before it is taken for
	// dead, unless its process is seen to have ended. No clocks are compared.
	deadAfter = 900 * time.Millisecond
	// suspectAfter is deadAfter for an engine that is suspected, which lasts for suspectFor.
	suspectAfter = 400 * time.Millisecond
	suspectFor   = 2 * time.Second
	// silentAfter is how long another engine may not beat until nobody expects it to take shards over.
	silentAfter = 3 * beatEvery
	// viewGap is how far apart two looks may be, and slowView how long one may take. Else the
	// database may have been away, for the other engine as well: the time begins again, and awayGrace
	// later, as the other one may still be waiting for the end of a try.
	viewGap   = deadAfter / 2
	slowView  = deadAfter
	awayGrace = beatTimeout
	// slowFor is how long a look that took long makes this engine patient, see pace.
	slowFor = 5 * time.Second
	// takeTimeout is the deadline of a takeover. It waits for a commit of the dead engine that the
	// server still has, and for the standby.
	takeTimeout = 2 * time.Second
)

// sqlTake deposes the engines $2 that have not beaten since the beats $3, and gives shards that
// nobody owns to the engine $1. Engines take one after the other: see fleet. It sees the rows as they
// were when it began, and those that another engine has changed meanwhile as they are; so it asks only
// for what stays true once it is: an engine that is gone remains so.
//
// An engine whose plan leaves some to others takes at most $4 of them, and none that another one takes now.
const sqlTake = `WITH fleet AS MATERIALIZED (SELECT 1 FROM imcd_fleet FOR UPDATE),
	me AS MATERIALIZED (SELECT f.id FROM imcd_fences f, fleet WHERE f.id = $1 AND NOT f.gone FOR UPDATE OF f),
	dead AS (UPDATE imcd_fences f SET gone = true
		FROM me, unnest($2::bigint[], $3::bigint[]) AS d(id, beat) JOIN imcd_engines e ON e.id = d.id AND e.beat = d.beat
		WHERE f.id = d.id AND NOT f.gone RETURNING f.id),
	free AS MATERIALIZED (SELECT s.shard FROM imcd_shards s, me
		WHERE NOT EXISTS (SELECT 1 FROM imcd_lease WHERE id <> 0) AND (s.engine IS NULL
			OR s.engine IN (SELECT id FROM dead UNION ALL SELECT id FROM imcd_fences WHERE gone))
		ORDER BY s.shard LIMIT $4 FOR UPDATE OF s SKIP LOCKED)
	UPDATE imcd_shards s SET engine = me.id, epoch = s.epoch + 1 FROM me, free WHERE s.shard = free.shard`

// sqlEndLease takes the database from an imcd that knows no fleet, if it has not beaten since: each
// of its commits wants to see its row. No other such imcd starts once our tables are there.
const sqlEndLease = `UPDATE imcd_lease SET id = 0, beat = 0, holder = '' WHERE id = $1 AND beat = $2`

// leaseDeadAfter is deadAfter for an imcd that knows no fleet: it beats twice a second, and every 2 s
// once the database was away.
const leaseDeadAfter = 4 * time.Second

// watch sees whether an engine beats.
type watch struct {
	beat        int64
	since, last time.Time // when it was first and last seen so
	moved       bool      // it was seen to beat
}

// look returns for how long the engine has been seen not to beat; less than 0 while nothing is known of that.
func (w *watch) look(beat int64, v *view) time.Duration {
	if w.since.IsZero() || beat != w.beat {
		w.moved = !w.since.IsZero()
		w.beat, w.since = beat, v.got
	} else if v.sent.Sub(w.last) > viewGap || v.got.Sub(v.sent) > slowView {
		w.since = v.got.Add(awayGrace)
	}
	w.last = v.got
	return v.sent.Sub(w.since)
}

// pace is how long the looks of this engine took. On a host that is starved, or with a database that is slow, those of
// the others take as long: they get so much more time. Without that, each takes the others for dead in turn.
type pace struct {
	slowest time.Duration // of slowFor; at most slowView
	at      time.Time     // when it was
}

func (p *pace) see(v *view) {
	took := min(v.got.Sub(v.sent), slowView)
	if took >= p.slowest || v.got.Sub(p.at) > slowFor {
		p.slowest, p.at = took, v.got
	}
}

// silent reports whether the engine has not beaten for so long that nobody expects it to take shards.
func (w *watch) silent(v *view) bool { return v.sent.Sub(w.since) >= silentAfter }

// judge takes over from engines that are dead until ctx ends.
func (m *member) judge(ctx context.Context) {
	watches := make(map[int64]*watch) // by engine
	lease := &watch{}
	var kept unready
	var follows planner
	for {
		select {
		case <-ctx.Done():
			return
		case v := <-m.views:
			dead := m.dead(&v, watches)
			plan := m.plan(&v, watches, dead)
			m.note(&v, watches, lease, plan.give(m.me))
			if err := m.takeLease(ctx, &v, lease); err != nil {
				m.failed(ctx, err)
				continue
			}
			m.elsewhere(&v)
			other := m.yields(&v, watches, dead)
			if kept.over(&v, other) && ownsAny(&v, m.me) {
				m.lost(fmt.Errorf("%w: no Kamailio is connected here, and another imcd has one", ErrDeposed))
				return
			}
			m.wish(follows.ask(&plan, m.me, &v))
			most := plan.take(m.me, follows.late(&plan, &v))
			if other || len(dead) == 0 && (most == 0 || !m.vacant(&v)) {
				continue
			}
			took, err := m.take(ctx, dead, most)
			m.failed(ctx, err)
			if err == nil && (took || len(dead) > 0) { // others may have taken some
				m.lookAgain()
			}
		}
	}
}

// lookAgain lets beat look at once.
func (m *member) lookAgain() {
	select {
	case m.again <- struct{}{}:
	default:
	}
}

// suspect notes that an engine seems to be dead.
func (m *member) suspect(engine int64, now time.Time) {
	m.mu.Lock()
	for id, at := range m.suspects {
		if now.Sub(at) > suspectFor {
			delete(m.suspects, id)
		}
	}
	if engine != m.me {
		m.suspects[engine] = now
	}
	m.mu.Unlock()
	m.lookAgain()
}

// limit is how long an engine may be seen not to beat.
func (m *member) limit(engine int64, now time.Time) time.Duration {
	if m.suspected(engine, now) {
		return suspectAfter + m.pace.slowest
	}
	return deadAfter + m.pace.slowest
}

// suspected reports whether an engine seemed to be dead a moment ago.
func (m *member) suspected(engine int64, now time.Time) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	at, suspected := m.suspects[engine]
	return suspected && now.Sub(at) <= suspectFor
}

// failed logs that a takeover failed; the next look tries again.
func (m *member) failed(ctx context.Context, err error) {
	if err != nil && ctx.Err() == nil {
		m.log.Warn().Err(err).Msg("the takeover failed, again in a moment")
	}
}

// dead returns the engines that are dead. watches are brought up to date.
func (m *member) dead(v *view, watches map[int64]*watch) (dead []engineRow) {
	m.pace.see(v)
	for _, e := range v.engines {
		if e.id == m.me {
			continue
		}
		w := watches[e.id]
		if w == nil {
			w = &watch{}
			watches[e.id] = w
		}
		if still := w.look(e.beat, v); still >= m.limit(e.id, v.sent) || decodeHolder(e.process).dead() {
			dead = append(dead, e)
		}
	}
	for id := range watches {
		if !slices.ContainsFunc(v.engines, func(e engineRow) bool { return e.id == id }) {
			delete(watches, id)
		}
	}
	return dead
}

// yields reports whether this engine leaves shards to another one, which is connected to a Kamailio as this one
// is not.
func (m *member) yields(v *view, watches map[int64]*watch, dead []engineRow) bool {
	m.mu.Lock()
	ready := m.self.Ready
	m.mu.Unlock()
	return !ready && slices.ContainsFunc(v.engines, func(e engineRow) bool {
		if w := watches[e.id]; w == nil || w.silent(v) || slices.Contains(dead, e) {
			return false
		}
		h := decodeHolder(e.process)
		return h.Ready && !h.Ending
	})
}

// vacant reports whether an engine that is gone, or nobody, owns a shard.
func (m *member) vacant(v *view) bool {
	return v.lease.id == 0 && slices.ContainsFunc(v.shards, func(s shardRow) bool {
		return !slices.ContainsFunc(v.engines, func(e engineRow) bool { return e.id == s.engine })
	})
}

// note keeps what v shows for own.
func (m *member) note(v *view, watches map[int64]*watch, lease *watch, asked []store.Move) {
	now := state{shards: len(v.shards), at: v.sent, asked: asked, heard: make(map[int64]watch, len(watches))}
	for id, w := range watches {
		now.heard[id] = *w
	}
	owners := make(map[int64]bool)
	for _, s := range v.shards {
		now.owners = append(now.owners, s.engine)
		if s.engine == m.me {
			now.owned.Shards = append(now.owned.Shards, s.shard)
			now.owned.Epochs = append(now.owned.Epochs, s.epoch)
		}
		owners[s.engine] = true
	}
	for _, e := range v.engines {
		if h := decodeHolder(e.process); owners[e.id] && e.id != m.me {
			now.other, now.held, now.alive = h, true, watches[e.id].moved && !h.Ending
		}
	}
	if v.lease.id != 0 {
		h := decodeHolder(v.lease.process)
		now.other, now.held, now.alive = h, true, lease.moved && !h.Ending
	}
	m.shared.Store(slices.ContainsFunc(v.shards, func(s shardRow) bool { return s.engine != 0 && s.engine != m.me }))
	m.mu.Lock()
	m.state = now
	m.mu.Unlock()
	select {
	case m.judged <- struct{}{}:
	default:
	}
}

// take makes this engine the owner of shards that nobody owns then, at most so many, and reports whether there were
// any.
func (m *member) take(ctx context.Context, dead []engineRow, most int) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, takeTimeout)
	defer cancel()
	ids, beats := make([]int64, len(dead)), make([]int64, len(dead))
	for i, e := range dead {
		ids[i], beats[i] = e.id, e.beat
		m.log.Warn().Int64("engine", e.id).Str("process", decodeHolder(e.process).String()).
			Bool("suspected", m.suspected(e.id, time.Now())).Msg("an engine is taken for dead")
	}
	result, err := m.db.ExecContext(ctx, sqlTake, m.me, pq.Array(ids), pq.Array(beats), most)
	if err != nil {
		return false, wrap(ctx, "take over", err)
	}
	n, err := result.RowsAffected()
	if len(dead) > 0 {
		m.buried = time.Now()
	}
	if n > 0 && time.Since(m.buried) < takeTimeout { // another engine may have been quicker with the fence
		m.buried = time.Time{}
		if m.want.TookOver != nil {
			m.want.TookOver()
		}
	}
	return n > 0, wrap(ctx, "take over", err)
}

// takeLease takes the database from an imcd that knows no fleet, if it is dead.
func (m *member) takeLease(ctx context.Context, v *view, w *watch) error {
	if v.lease.id == 0 {
		*w = watch{}
		return nil
	}
	// A change of id looks like a beat.
	if still := w.look(v.lease.id^v.lease.beat, v); still < leaseDeadAfter && !decodeHolder(v.lease.process).dead() {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, takeTimeout)
	defer cancel()
	_, err := m.db.ExecContext(ctx, sqlEndLease, v.lease.id, v.lease.beat)
	return wrap(ctx, "take over", err)
}
