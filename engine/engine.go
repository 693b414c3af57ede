package engine

import (
	"context"
	"fmt"
	"hash/maphash"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"imcd/engine/store"
	"imcd/evapi"
)

// Engine runs the rooms. New makes one. Its methods are safe for concurrent use.
type Engine struct {
	cfg       Config
	store     store.Store
	relay     Relay
	log       zerolog.Logger
	metrics   *metrics
	language  language
	notices   notices
	lineMarks lineMarks
	usesNames bool           // display names are shown
	headers   []evapi.Header // extra_hdrs

	shards    []*shard
	ownership ownership // of the rooms, if there are other engines
	committer *committer
	lister    *lister
	others    Others  // set by Beside; nil: there is no fleet
	loader    *loader // for members that lag
	keys      *keys
	reads     *reads // for users who ask to see messages
	credits   *credits
	senders   *senders
	speakers  *speakers
	ledger    *ledger
	signs     *signs
	creators  creators
	admins    map[string]bool // keys of service_admins; never changed
	traced    bool            // the log has requests and deliveries
	events    feed
	webhook   *webhook
	natives   *nativeDevices
	groupID   string // begins Call-IDs of groups, behind the prefix of the shard
	noticed   *noticed
	texts     atomic.Uint64 // counts the texts of the engine, for their marks
	seed      maphash.Seed  // of recipients
	tag       string        // distinguishes the Call-IDs of this run

	typingID string // begins Call-IDs of "is typing", behind the prefix of the shard; their outcomes are ignored

	welcomedMu sync.Mutex
	welcomed   map[string]evapi.Welcome // guarded by welcomedMu: the last one of each Kamailio, by its name
	served     atomic.Pointer[served]   // made of welcomed; never nil
	users      *users
	reports    *reports
	devices    *userDevices
	locator    *locator
	comebacks  *comebacks
	arrivals   *arrivals // users who have registered

	requests atomic.Int64 // that are not answered yet
	held     held
	stopping atomic.Bool
	idle     chan struct{} // closed once stopping is set and nothing is under way
	idleOnce sync.Once
	failed   chan error // holds one: see Failed

	cancel context.CancelFunc // nil before Start
	ended  <-chan struct{}    // closed when the goroutines are to end; nil before Start
	loops  sync.WaitGroup
	stop   sync.Once
}

// checkIdle ends Stop when nothing is under way. Shards call it after each round.
func (e *Engine) checkIdle() {
	if e.stopping.Load() && e.requests.Load() == 0 && e.held.waiting.Load() == 0 &&
		e.credits.inUse() == 0 && e.committer.idle() {
		e.idleOnce.Do(func() { close(e.idle) })
	}
}

// shardOf returns the shard that owns a room.
func (e *Engine) shardOf(room store.Name) *shard { return e.shardOfKey(room.Key()) }

func (e *Engine) shardOfKey(roomKey string) *shard { return e.shardOfHash(store.Hash(roomKey)) }

func (e *Engine) shardOfHash(hash uint32) *shard { return e.shards[hash&uint32(len(e.shards)-1)] }

// sizeOf is the charge for a waiting message or notice.
func (e *Engine) sizeOf(out *evapi.Outgoing) int {
	size := out.Size() + overhead
	if e.cfg.KeepOrigins || e.natives.some.Load() {
		size += out.BodyLen()
	}
	return size
}

// charge adds to the charge for waiting messages and notices.
func (e *Engine) charge(n int) { e.held.waiting.Add(int64(n)) }

// opened counts a request until it is answered.
func (e *Engine) opened(req *request) {
	e.requests.Add(1)
	e.held.requests.Add(int64(req.size))
}

// closed ends that.
func (e *Engine) closed(req *request) {
	e.requests.Add(-1)
	e.held.requests.Add(-int64(req.size))
}

// accepted is the answer to a request that was carried out.
func (e *Engine) accepted() evapi.Answer {
	if e.cfg.SuccessCode == 202 {
		return evapi.Answer{Code: 202, Reason: "Accepted", RC: rcOK}
	}
	return evapi.Answer{Code: 200, Reason: "OK", RC: rcOK}
}

// heard notes that a user has sent something.
func (e *Engine) heard(user store.Name) {
	if user.IsZero() || !e.signs.heard(user, time.Now(), e.cfg.SignEvery) {
		return
	}
	key := user.Key()
	for _, s := range e.shards {
		s.inbox.heard(key, false)
	}
}

// fitCredits sets the bounds of the connections.
func (e *Engine) fitCredits() { e.credits.fit(e.relay.Bounds()) }

// gather asks all shards and joins their answers. It waits until ctx ends at
// most.
func gather[T any](ctx context.Context, e *Engine, f func(*shard) []T) ([]T, error) {
	answers := make(chan []T, len(e.shards))
	for _, s := range e.shards {
		s.inbox.post(func() { answers <- f(s) })
	}
	all := []T{}
	for range e.shards {
		select {
		case a := <-answers:
			all = append(all, a...)
		case <-ctx.Done():
			return all, fmt.Errorf("asking all rooms: %w", ctx.Err())
		}
	}
	return all, nil
}
