package engine

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"imcd/engine/store"
)

// loaders is how many queries for members run at a time.
const loaders = 2

// query asks the store for messages of a room.
type query struct {
	room   int64
	after  uint64
	limit  int
	upto   uint64                          // not 0: the last messages up to this number, without deleted ones
	named  string                          // not empty: those with this MessageID, the newest first
	until  time.Time                       // the deadline; zero: loadTimeout after it has begun
	answer func([]store.MessageRow, error) // called by the loader
}

// loader reads messages. There are two, each with its own queue and goroutines: one for members that lag,
// whose queue is bounded by one query per room and place, and one for users who ask to see messages
// (reads).
type loader struct {
	store store.Store
	held  *held // charged with the rows; their receiver discharges it
	log   zerolog.Logger
	wake  chan struct{}

	mu      sync.Mutex
	waiting []query
	open    int    // queries that are not answered yet
	outage  outage // of the store
}

func newLoader(store store.Store, held *held, log zerolog.Logger) *loader {
	return &loader{store: store, held: held, log: log, wake: make(chan struct{}, loaders)}
}

// put queues q and never blocks.
func (l *loader) put(q query) {
	l.mu.Lock()
	l.waiting = append(l.waiting, q)
	l.open++
	l.mu.Unlock()
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// pending counts the queries without an answer.
func (l *loader) pending() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.open
}

func (l *loader) take() (query, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.waiting) == 0 {
		l.waiting = nil
		return query{}, false
	}
	q := l.waiting[0]
	l.waiting[0] = query{}
	l.waiting = l.waiting[1:]
	return q, true
}

// run answers queries until ctx ends.
func (l *loader) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-l.wake:
		}
		for q, ok := l.take(); ok && l.waitForCapacity(ctx, q.until); q, ok = l.take() {
			l.answer(ctx, q)
		}
	}
}

// capacityPoll is how often a loader looks whether it may read more.
const capacityPoll = 10 * time.Millisecond

// waitForCapacity waits until more may be read, or until has passed; false: ctx has ended.
func (l *loader) waitForCapacity(ctx context.Context, until time.Time) bool {
	for !l.held.mayRead() && ctx.Err() == nil && (until.IsZero() || time.Now().Before(until)) {
		select {
		case <-ctx.Done():
		case <-time.After(capacityPoll):
		}
	}
	return ctx.Err() == nil
}

// errTooLong is the answer to a query whose deadline passed before it was read.
var errTooLong = fmt.Errorf("%w: others read for too long", store.ErrUnavailable)

func (l *loader) answer(ctx context.Context, q query) {
	now := time.Now()
	if q.until.IsZero() {
		q.until = now.Add(loadTimeout)
	}
	rows, err := []store.MessageRow(nil), errTooLong
	if now.Before(q.until) {
		rows, err = l.read(ctx, q)
	}
	l.held.pages.Add(rowsSize(rows))
	q.answer(rows, err)
	l.mu.Lock()
	l.open--
	l.mu.Unlock()
}

func (l *loader) read(ctx context.Context, q query) ([]store.MessageRow, error) {
	ctx, cancel := context.WithDeadline(ctx, q.until)
	defer cancel()
	var rows []store.MessageRow
	var err error
	switch {
	case q.named != "":
		rows, err = l.store.MessagesNamed(ctx, q.room, q.after, q.named, q.limit)
	case q.upto > 0:
		rows, err = l.store.LastMessages(ctx, q.room, q.upto, q.limit)
	default:
		rows, err = l.store.Messages(ctx, q.room, q.after, q.limit)
	}
	if err != nil && ctx.Err() != context.Canceled && l.failed(err) {
		l.log.Warn().Err(err).Msg("messages cannot be loaded, again in a moment")
	}
	return rows, err
}

func (l *loader) failed(err error) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.outage.failed(time.Now(), err)
}

// loadTimeout is the deadline of a query.
const loadTimeout = 3 * time.Second
