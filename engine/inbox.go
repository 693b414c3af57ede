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

	mu         sync.Mutex
	inboxBatch // guarded by mu
}

// inboxBatch is the content of an inbox.
type inboxBatch struct {
	requests []*request
	results  []evapi.Result
	funcs    []func()
	users    map[string]bool // keys of users that gave a sign; true: they have registered
	receipts []receipt
}

func newInbox(limit int) *inbox {
	return &inbox{limit: limit, wake: make(chan struct{}, 1), inboxBatch: inboxBatch{users: make(map[string]bool)}}
}

// request reports false if the inbox is full.
func (b *inbox) request(r *request) bool {
	b.mu.Lock()
	full := len(b.requests) >= b.limit
	if !full {
		b.requests = append(b.requests, r)
	}
	b.mu.Unlock()
	b.signal()
	return !full
}

func (b *inbox) result(r evapi.Result) {
	b.mu.Lock()
	b.results = append(b.results, r)
	b.mu.Unlock()
	b.signal()
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
	b.signal()
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
	b.signal()
	return !full
}

func (b *inbox) post(f func()) {
	b.mu.Lock()
	b.funcs = append(b.funcs, f)
	b.mu.Unlock()
	b.signal()
}

// signal wakes the shard.
func (b *inbox) signal() {
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

// take moves everything into l, and reuses the old contents of l.
func (b *inbox) take(l *inboxBatch) {
	clear(l.requests)
	clear(l.funcs)
	clear(l.users)
	clear(l.receipts)
	if l.users == nil {
		l.users = make(map[string]bool)
	}
	next := inboxBatch{requests: l.requests[:0], results: l.results[:0], funcs: l.funcs[:0], users: l.users,
		receipts: l.receipts[:0]}
	b.mu.Lock()
	*l, b.inboxBatch = b.inboxBatch, next
	b.mu.Unlock()
}

// receipt is a receipt on its way to the room that it is about.
type receipt struct {
	room, from store.Name
	imdn       sipmsg.IMDN
}
