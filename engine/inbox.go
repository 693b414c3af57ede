package engine

import (
	"sync"

	"imcd/engine/store"
	"imcd/evapi"
	"imcd/evapi/sipmsg"
)

// inbox is the queue of a shard. A limit bounds its requests. Results and functions that the engine posts
// are bounded by the copies and calls under way, and never refused.
type inbox struct {
	limit int           // of requests
	wake  chan struct{} // holds one token while the inbox may not be empty

	mu       sync.Mutex
	requests []*request
	results  []evapi.Result
	funcs    []func()
	users    map[string]bool // keys of users that gave a sign; true: they have registered
	receipts []receipt
}

// inboxBatch is what was taken out of an inbox at once.
type letters struct {
	requests []*request
	results  []evapi.Result
	funcs    []func()
	users    map[string]bool
	receipts []receipt
}

func newInbox(limit int) *inbox {
	return &inbox{limit: limit, wake: make(chan struct{}, 1), users: make(map[string]bool)}
}

// request reports false if the inbox is full.
func (b *inbox) request(r *request) bool {
	b.mu.Lock()
	full := len(b.requests) >= b.limit
	if !full {
		b.requests = append(b.requests, r)
	}
	b.mu.Unlock()
	b.ring()
	return !full
}

func (b *inbox) result(r evapi.Result) {
	b.mu.Lock()
	b.results = append(b.results, r)
	b.mu.Unlock()
	b.ring()
}

// usersLimit bounds the waiting users. Further ones are tried again at their time.
const usersLimit = 4096

// heard notes the key of a user who has registered, or has sent something.
func (b *inbox) heard(user string, registered bool) {
	b.mu.Lock()
	if len(b.users) < usersLimit {
		b.users[user] = b.users[user] || registered
	}
	b.mu.Unlock()
	b.ring()
}

// receiptsLimit bounds the waiting receipts.
const receiptsLimit = 4096

// receipt reports false if there are too many.
func (b *inbox) receipt(r receipt) bool {
	b.mu.Lock()
	full := len(b.receipts) >= receiptsLimit
	if !full {
		b.receipts = append(b.receipts, r)
	}
	b.mu.Unlock()
	b.ring()
	return !full
}

func (b *inbox) post(f func()) {
	b.mu.Lock()
	b.funcs = append(b.funcs, f)
	b.mu.Unlock()
	b.ring()
}

// signal wakes the shard.
func (b *inbox) ring() {
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

// take moves everything into l, and reuses the old contents of l.
func (b *inbox) take(l *letters) {
	clear(l.requests)
	clear(l.funcs)
	clear(l.users)
	clear(l.receipts)
	if l.users == nil {
		l.users = make(map[string]bool)
	}
	b.mu.Lock()
	l.requests, b.requests = b.requests, l.requests[:0]
	l.results, b.results = b.results, l.results[:0]
	l.funcs, b.funcs = b.funcs, l.funcs[:0]
	l.users, b.users = b.users, l.users
	l.receipts, b.receipts = b.receipts, l.receipts[:0]
	b.mu.Unlock()
}

// receipt is a receipt on its way to the room that it is about.
type receipt struct {
	room, from store.Name
	imdn       sipmsg.IMDN
}
