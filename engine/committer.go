package engine

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"imcd/engine/store"
)

// committer writes the changes of all shards, one transaction at a time. The next transaction takes all
// calls that came meanwhile (group commit). Lazy calls wait for others, to share a transaction.
type committer struct {
	store   store.Store
	timeout time.Duration
	linger  time.Duration // how long a lazy call may wait for that
	limit   int           // of waiting calls
	log     zerolog.Logger
	metrics *metrics
	wake    chan struct{}
	gone    chan struct{} // closed by run when the engine is deposed: nobody answers a call from then on

	mu      sync.Mutex
	fences  map[*shard]store.Owned // what each shard proves; nil: there are no fences
	waiting []*call                // in the order in which they were made
	urgent  int                    // of these, those that are not lazy
	since   time.Time              // when the first of them came
	writing bool                   // a batch was taken and is not settled; owned by run
	broken  bool                   // the last commit failed and its rooms are not loaded again

	// Owned by run. epoch counts how often rooms were loaded again. minEpoch holds, by key of the room, the
	// epoch before which calls build on a change that failed while the database was away. suspended are
	// rooms with a refused change: calls build on it until their shard asks to load the room again.
	epoch     uint64
	batches   uint64        // that were committed or tried, see store.Fence
	tryTime   time.Duration // of the next try of a commit with a fence
	deposed   bool          // another imcd has taken over
	minEpoch  map[*shard]map[string]uint64
	suspended map[*shard]map[string]struct{}

	refusals   quiet  // this and the following are owned by run
	retries    quiet  // of commits that failed
	stuck      outage // of lazy calls, which the database refuses
	failures   outage // of commits, because the database is away
	away       outage // of loading the rooms of a failed commit
	awayLogged bool   // the log says that the database is away, and not yet that it is back
}

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

// ready reports whether it takes changes now; nil, or the reason why not.
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

// put queues t and never blocks. Shards ask ready before, so the queue exceeds its limit by one call of
// each shard at most.
func (c *committer) put(t *call) {
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

// healthy reports whether the last commit succeeded, or its rooms are loaded again.
func (c *committer) healthy() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return !c.broken
}

// pending counts waiting calls, and the transaction that is being written as one.
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

// due is how long waiting calls may wait for others; 0: not at all.
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

// settled ends the work that take began.
func (c *committer) settled() {
	c.mu.Lock()
	c.writing = false
	c.mu.Unlock()
}

// batchChanges bounds how many changes one transaction takes.
const batchChanges = 2000

// take removes the next batch from the queue; it may be empty.
func (c *committer) take() []*call {
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

// roomsOf lists the rooms that a batch changes, each with one of its calls.
func roomsOf(batch []*call) map[*room]*call {
	rooms := make(map[*room]*call)
	for _, t := range batch {
		if t.room != nil {
			rooms[t.room] = t
		}
	}
	return rooms
}

// changesOf lists the changes of a batch.
func changesOf(batch []*call) []store.Change {
	if len(batch) == 1 {
		return batch[0].changes
	}
	var changes []store.Change
	for _, t := range batch {
		changes = append(changes, t.changes...)
	}
	return changes
}

// refusedChanges says which changes of a call are not stored; the others are.
type refusedChanges struct {
	changes []store.Change
	err     error
}

func (r *refusedChanges) Error() string {
	return fmt.Sprintf("%d changes: %v", len(r.changes), r.err)
}

func (r *refusedChanges) Unwrap() error { return r.err }
