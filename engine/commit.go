package engine

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"imcd/engine/store"
)

// Why a change is not written.
var (
	errBroken     = fmt.Errorf("%w: it is away", store.ErrUnavailable)
	errSuperseded = errors.New("an earlier change of the room failed, and the room is loaded again")
)

// Backoff of the committer while the database is away.
const (
	reloadBackoffMin = 50 * time.Millisecond
	reloadBackoffMax = 500 * time.Millisecond
)

// batchChanges bounds how many changes one transaction takes.
const batchChanges = 2000

// committer writes the changes of all shards, one transaction at a time: what
// gathers while one is written goes into the next (group commit). What nobody waits
// for waits for something else to travel with.
type committer struct {
	store   store.Store
	timeout time.Duration
	linger  time.Duration // how long that may take
	limit   int           // of waiting transactions
	log     zerolog.Logger
	metrics *metrics
	wake    chan struct{}

	mu      sync.Mutex
	waiting []*tx     // in the order in which they were made
	urgent  int       // of these, those that somebody waits for
	since   time.Time // when the first of them came
	writing bool      // a batch has been taken and is not settled yet; run's
	broken  bool      // the last commit failed and its rooms are not loaded again yet

	// Owned by run. epoch counts how often rooms were loaded again. minEpoch holds, for
	// rooms with a change that failed while the database was away, by key, the epoch
	// before which changes build on it. suspended are the rooms with a change that the
	// database refused: what comes of them until their shard asks for them to be loaded
	// again builds on it, too.
	epoch     uint64
	minEpoch  map[*shard]map[string]uint64
	suspended map[*shard]map[string]struct{}

	refusals quiet  // run's, as what follows
	stuck    outage // of changes that nobody waits for, which the database refuses
	failures outage // of commits, because the database is away
	away     outage // of the tries to load what a failed commit has left
	told     bool   // the log says that it is away, and not yet that it is back
}

func newCommitter(store store.Store, cfg Config, log zerolog.Logger, m *metrics) *committer {
	return &committer{store: store, timeout: cfg.CommitTimeout, linger: cfg.CursorFlush / 2, limit: cfg.CommitQueue, log: log, metrics: m,
		wake: make(chan struct{}, 1), minEpoch: make(map[*shard]map[string]uint64),
		suspended: make(map[*shard]map[string]struct{})}
}

// ready reports whether a change would be taken now; nil or the reason why not.
func (c *committer) ready() *refusal {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.broken:
		return refuseUnavailable("Database unavailable")
	case len(c.waiting) >= c.limit:
		return refuseOverloaded()
	}
	return nil
}

// put queues t. It never blocks; shards ask ready first, so the queue exceeds
// its limit by one step of each shard at most.
func (c *committer) put(t *tx) {
	c.mu.Lock()
	if len(c.waiting) == 0 {
		c.since = time.Now()
	}
	c.waiting = append(c.waiting, t)
	if !t.lazy {
		c.urgent++
	}
	c.mu.Unlock()
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// healthy reports whether the last commit succeeded, or its rooms are loaded
// again.
func (c *committer) healthy() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return !c.broken
}

// pending counts what waits, and what is being written as one.
func (c *committer) pending() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := len(c.waiting)
	if c.writing {
		n++
	}
	return n
}

func (c *committer) idle() bool { return c.pending() == 0 }

// run commits until ctx ends.
func (c *committer) run(ctx context.Context) {
	timer := newStoppedTimer()
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-c.wake:
		case <-timer.C:
		}
		d := c.due()
		for ; d == 0; d = c.due() {
			c.commit(ctx, c.take())
			c.settled()
		}
		timer.Reset(d)
	}
}

// due is how long what waits may wait for something else; 0: not at all.
func (c *committer) due() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case len(c.waiting) == 0:
		return time.Hour // until it is woken
	case c.urgent > 0:
		return 0
	}
	return max(0, c.linger-time.Since(c.since))
}

// settled ends what take began.
func (c *committer) settled() {
	c.mu.Lock()
	c.writing = false
	c.mu.Unlock()
}

// take removes the next batch from the queue; empty if there is nothing in it.
func (c *committer) take() []*tx {
	c.mu.Lock()
	defer c.mu.Unlock()
	n, changes := 0, 0
	for n < len(c.waiting) {
		t := c.waiting[n]
		if n > 0 && (t.again || changes+len(t.changes) > batchChanges) {
			break
		}
		changes += len(t.changes)
		if !t.lazy {
			c.urgent--
		}
		if n++; t.again {
			break // by itself
		}
	}
	c.writing = c.writing || n > 0
	batch := c.waiting[:n:n]
	c.waiting = c.waiting[n:]
	if len(c.waiting) == 0 {
		c.waiting = nil
	}
	return batch
}

func (c *committer) commit(ctx context.Context, batch []*tx) {
	if len(batch) == 1 && batch[0].again {
		c.loadAgain(ctx, batch[0])
		return
	}
	batch = c.sift(batch)
	changes := signed(changesOf(batch))
	err := c.write(ctx, c.store.Commit, changes)
	var behind map[*room]*tx
	if errors.Is(err, store.ErrUncertain) {
		behind, err = c.resolve(ctx, batch, changes, err)
	}
	if len(batch) == 1 && batch[0].apart && errors.Is(err, store.ErrInvalid) {
		err = c.salvage(ctx, batch[0].changes, err)
	}
	switch {
	case err == nil:
		for _, t := range batch {
			t.shard.inbox.post(func(s *shard) { s.done(t, nil) })
		}
	case errors.Is(err, store.ErrUnavailable):
		if c.failures.failed(time.Now(), err) {
			c.told = true
			c.log.Error().Err(err).Int("transactions", len(batch)).Msg("commit failed, its senders are answered 503")
		}
		c.setBroken(true) // before anybody hears of the failure
		c.fail(batch, err)
		c.recover(ctx, roomsOf(batch))
	case len(batch) > 1:
		// One of them may be what the database refuses: the others must not suffer
		// for it.
		half := len(batch) / 2
		c.commit(ctx, batch[:half])
		c.commit(ctx, batch[half:])
	default:
		c.refuse(batch[0], err)
	}
	if behind != nil {
		c.recover(ctx, behind)
	}
}

// roomsOf lists the rooms that a batch changes, each with one of its changes.
func roomsOf(batch []*tx) map[*room]*tx {
	rooms := make(map[*room]*tx)
	for _, t := range batch {
		if t.room != nil {
			rooms[t.room] = t
		}
	}
	return rooms
}

// sift fails what builds on a failed change and returns the others.
func (c *committer) sift(batch []*tx) []*tx {
	if len(c.minEpoch) == 0 && len(c.suspended) == 0 {
		return batch
	}
	kept := batch[:0]
	for _, t := range batch {
		if c.isSuspended(t) || t.room != nil && t.epoch < c.minEpoch[t.shard][t.room.key] {
			t.shard.inbox.post(func(s *shard) { s.done(t, errSuperseded) })
			continue
		}
		if t.room != nil {
			delete(c.minEpoch[t.shard], t.room.key)
		}
		kept = append(kept, t)
	}
	return kept
}

// changesOf lists what a batch changes.
func changesOf(batch []*tx) []store.Change {
	if len(batch) == 1 {
		return batch[0].changes
	}
	var changes []store.Change
	for _, t := range batch {
		changes = append(changes, t.changes...)
	}
	return changes
}

// write commits changes in one transaction, by Commit or CommitAgain of the Store.
func (c *committer) write(ctx context.Context, commit func(context.Context, []store.Change) error, changes []store.Change) error {
	if len(changes) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	start := time.Now()
	err := commit(ctx, changes)
	c.metrics.commit(time.Since(start), len(changes), err)
	return err
}

func (c *committer) fail(batch []*tx, err error) {
	for _, t := range batch {
		if t.again {
			c.lift(t)
			continue // its room is loaded with those that failed
		}
		if t.room != nil {
			if c.minEpoch[t.shard] == nil {
				c.minEpoch[t.shard] = make(map[string]uint64)
			}
			c.minEpoch[t.shard][t.room.key] = c.epoch + 1
		}
		t.shard.inbox.post(func(s *shard) { s.done(t, err) })
	}
}

// recover loads the rooms of failed transactions again, as often as it takes, and
// fails meanwhile what else comes.
//
// A shard that has not yet seen the failure may send on what builds on it. What
// arrives before the rooms are loaded is failed like the rest; what arrives
// later has an old epoch, and sift fails it without the room being distrusted
// again.
func (c *committer) recover(ctx context.Context, failed map[*room]*tx) {
	c.setBroken(true)
	for backoff := reloadBackoffMin; ; backoff = longer(backoff, reloadBackoffMin, reloadBackoffMax) {
		c.failWaiting(failed)
		err := c.reload(ctx, failed)
		if err == nil {
			break
		}
		if c.away.failed(time.Now(), err) {
			c.told = true
			c.log.Warn().Err(err).Msg("database is away")
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(backoff):
		}
	}
	c.setBroken(false)
	if c.told {
		c.told = false
		c.log.Info().Int("rooms", len(failed)).Msg("database is back")
	}
}

// failWaiting fails all that waits and adds its rooms to failed.
func (c *committer) failWaiting(failed map[*room]*tx) {
	for more := c.take(); len(more) > 0; more = c.take() {
		c.fail(more, errBroken)
		maps.Copy(failed, roomsOf(more))
	}
}

// reload hands the stored state of the failed rooms to their shards.
func (c *committer) reload(ctx context.Context, failed map[*room]*tx) error {
	var names []store.Name
	for r := range failed {
		names = append(names, r.name)
	}
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	if err := c.store.Ping(ctx); err != nil {
		return err
	}
	states, err := c.store.LoadRooms(ctx, names)
	if err != nil {
		return err
	}
	stored := make(map[string]*store.RoomState, len(states))
	for i := range states {
		stored[states[i].Room.Name.Key()] = &states[i]
	}
	c.epoch++
	epoch := c.epoch
	for r, t := range failed {
		t.shard.inbox.post(func(s *shard) { s.reload(r.key, stored[r.key], epoch) })
	}
	return nil
}

func (c *committer) setBroken(b bool) {
	c.mu.Lock()
	c.broken = b
	c.mu.Unlock()
}
