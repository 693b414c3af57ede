package engine

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"pgregory.net/rapid"

	"imcd/engine/store"
	"imcd/evapi"
)

// memFleet are the tables of a fleet in memory, of which one engine owns all shards. All is guarded by the
// memStore's mutex.
type memFleet struct {
	*memStore
	owner  int64
	epoch  int64
	last   map[int64]uint64
	writes []string // "engine epoch" of each commit that was carried out
}

const fleetShards = 8

// fleetStore is the Store of one engine of a memFleet.
type fleetStore struct {
	*memFleet
	id      int64
	trouble []bool        // commits to come whose answers are lost: whether they are carried out; by mu
	gate    chan struct{} // if not nil, the engine is frozen or cut off until it is closed; by mu
}

// wait waits as long as the engine is frozen.
func (s *fleetStore) wait(ctx context.Context) error {
	s.mu.Lock()
	gate := s.gate
	s.mu.Unlock()
	if gate == nil {
		return nil
	}
	select {
	case <-gate:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", store.ErrUncertain, ctx.Err())
	}
}

func (s *fleetStore) Commit(ctx context.Context, f store.Fence, changes []store.Change) error {
	if err := s.wait(ctx); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.owner != s.id || f.Batch <= s.last[s.id] || len(f.Owned.Shards) == 0 ||
		slices.ContainsFunc(f.Owned.Epochs, func(e int64) bool { return e != s.epoch }) {
		return store.ErrDeposed
	}
	lost, done := len(s.trouble) > 0, true
	if lost {
		done, s.trouble = s.trouble[0], s.trouble[1:]
	}
	if done {
		s.last[s.id] = f.Batch
		s.writes = append(s.writes, fmt.Sprint(s.id, " ", f.Owned.Epochs[0]))
		s.apply(changes)
	}
	if lost {
		return store.ErrUncertain
	}
	return nil
}

func (s *fleetStore) CommitAgain(ctx context.Context, f store.Fence, changes []store.Change) error {
	if err := s.wait(ctx); err != nil {
		return err
	}
	s.mu.Lock()
	gone, stored := s.owner != s.id, s.last[s.id] >= f.Batch
	s.mu.Unlock()
	switch {
	case gone:
		return store.ErrDeposed
	case stored:
		return nil
	}
	return s.Commit(ctx, f, changes)
}

// fleetRelay is that of one engine. Kamailio drops what comes from one that was deposed.
type fleetRelay struct {
	*fakeRelay
	world   *fleetWorld
	deposed bool // by fakeRelay.mu
}

func (r *fleetRelay) Reply(m *evapi.Message, a evapi.Answer) {
	r.mu.Lock()
	ch := r.answers[m]
	delete(r.answers, m)
	drop := r.deposed
	r.mu.Unlock()
	if !drop {
		ch <- a
	}
}

func (r *fleetRelay) Send(via *evapi.Conn, c evapi.Copy) (*evapi.Conn, error) {
	r.mu.Lock()
	drop := r.deposed
	r.mu.Unlock()
	if drop {
		return nil, nil
	}
	r.world.relay.set(func() { r.world.relay.copies = append(r.world.relay.copies, decode(c)) })
	return r.fakeRelay.Send(via, c)
}

// fleetEngine is an engine of the world.
type fleetEngine struct {
	e     *Engine
	store *fleetStore
	relay *fleetRelay
}

// fleetRequest is a message that a client has sent, maybe more than once.
type fleetRequest struct {
	msg     *evapi.Message
	room    string
	body    string
	answers []chan evapi.Answer
	code    int // of the first answer that was final; 0: none yet
}

// fleetWorld is a Kamailio with several engines one after the other.
type fleetWorld struct {
	t        *rapid.T
	fleet    *memFleet
	engines  []*fleetEngine // the last one owns the rooms
	requests []*fleetRequest
	relay    *fakeRelay // what all members have got
	maker    *house     // of requests
}

func newFleetWorld(t *rapid.T) *fleetWorld {
	w := &fleetWorld{t: t, fleet: &memFleet{memStore: newMemStore(), last: map[int64]uint64{}}, relay: &fakeRelay{}}
	w.maker = &house{t: t, store: w.fleet.memStore}
	return w
}

// takeOver starts an engine that owns everything.
func (w *fleetWorld) takeOver() {
	w.fleet.mu.Lock()
	w.fleet.owner++
	w.fleet.epoch++
	s := &fleetStore{memFleet: w.fleet, id: w.fleet.owner}
	fleet := store.Fleet{Shards: fleetShards}
	for i := range int64(fleetShards) {
		fleet.Owned.Shards = append(fleet.Owned.Shards, i)
		fleet.Owned.Epochs = append(fleet.Owned.Epochs, w.fleet.epoch)
	}
	w.fleet.mu.Unlock()
	if n := len(w.engines); n > 0 {
		r := w.engines[n-1].relay
		r.set(func() { r.deposed = true })
	}
	relay := &fleetRelay{world: w, fakeRelay: &fakeRelay{answers: map[*evapi.Message]chan evapi.Answer{},
		codes: map[string]evapi.Result{}, once: map[string]evapi.Result{}, rtt: time.Millisecond}}
	cfg := DefaultConfig()
	cfg.HashSize = 2
	e, err := New(cfg, s, relay, prometheus.NewRegistry(), zerolog.Nop())
	if err != nil {
		w.t.Fatal(err)
	}
	relay.engine = e
	if err := e.Start(context.Background(), fleet); err != nil {
		w.t.Fatal(err)
	}
	w.engines = append(w.engines, &fleetEngine{e: e, store: s, relay: relay})
}

// send gives a request to the owner, as Kamailio does.
func (w *fleetWorld) send(q *fleetRequest) {
	now := w.engines[len(w.engines)-1]
	m := *q.msg
	m.Received = time.Now()
	ch := make(chan evapi.Answer, 1)
	now.relay.set(func() { now.relay.answers[&m] = ch })
	q.answers = append(q.answers, ch)
	now.e.Message(&m)
}

func (w *fleetWorld) say(user, room, body string) *fleetRequest {
	q := &fleetRequest{msg: w.maker.request(user, room+"@x.org", body), room: room, body: body}
	w.requests = append(w.requests, q)
	w.send(q)
	return q
}

// listen takes answers that have come. Answers of 200 to one request may not be followed by others.
func (w *fleetWorld) listen() {
	for _, q := range w.requests {
		for _, ch := range q.answers {
			select {
			case a := <-ch:
				if q.code != 0 && a.Code < 500 && a.Code != q.code {
					w.t.Errorf("%s was answered %d and %d", q.body, q.code, a.Code)
				}
				if a.Code < 500 && q.code == 0 {
					q.code = a.Code
				}
			default:
			}
		}
	}
}

// must sends a request until it is answered.
func (w *fleetWorld) must(q *fleetRequest) {
	for range 100 {
		<-time.After(time.Second)
		if w.listen(); q.code != 0 {
			return
		}
		w.send(q)
	}
	w.t.Fatalf("%s is never answered", q.body)
}

// TestFleetModel: whatever freezes engines or loses their answers while others take over, what is answered 200
// is stored once and reaches each member once, in the order of the room.
func TestFleetModel(t *testing.T) {
	checkTimed(t, func(r *rapid.T) {
		w := newFleetWorld(r)
		w.takeOver()
		users, rooms := []string{"alice", "bob", "carol"}, []string{"r", "s"}
		for _, room := range rooms {
			w.must(w.say("alice", room, "#create"))
			for _, user := range users[1:] {
				w.must(w.say(user, room, "#join"))
			}
		}
		w.requests = nil
		said := 0
		current := func() *fleetEngine { return w.engines[len(w.engines)-1] }
		lock := func(f func()) {
			w.fleet.mu.Lock()
			defer w.fleet.mu.Unlock()
			f()
		}
		wake := func(e *fleetEngine) {
			lock(func() {
				if e.store.gate != nil {
					close(e.store.gate)
					e.store.gate = nil
				}
			})
			e.relay.set(func() { e.relay.down = false })
		}
		r.Repeat(map[string]func(*rapid.T){
			"say": func(*rapid.T) {
				said++
				w.say(rapid.SampledFrom(users).Draw(r, "user"), rapid.SampledFrom(rooms).Draw(r, "room"), fmt.Sprint("m", said))
			},
			"repeat": func(*rapid.T) {
				if len(w.requests) > 0 {
					w.send(rapid.SampledFrom(w.requests).Draw(r, "request"))
				}
			},
			"lose": func(*rapid.T) {
				done := rapid.Bool().Draw(r, "done")
				lock(func() { current().store.trouble = append(current().store.trouble, done) })
			},
			"freeze": func(*rapid.T) {
				lock(func() {
					if current().store.gate == nil {
						current().store.gate = make(chan struct{})
					}
				})
				current().relay.set(func() { current().relay.down = true })
			},
			"wake": func(*rapid.T) { wake(rapid.SampledFrom(w.engines).Draw(r, "engine")) },
			"takeOver": func(*rapid.T) {
				if len(w.engines) < 5 {
					w.takeOver()
				}
			},
			"wait": func(*rapid.T) {
				<-time.After(time.Duration(rapid.IntRange(1, 3000).Draw(r, "ms")) * time.Millisecond)
				w.listen()
			},
		})
		for _, e := range w.engines {
			wake(e)
		}
		for _, q := range w.requests {
			if w.listen(); q.code == 0 {
				w.must(q)
			}
		}
		<-time.After(time.Minute) // members that could not be reached are tried again
		for _, e := range w.engines[:len(w.engines)-1] {
			e.e.Abandon()
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		current().e.Stop(ctx)
		cancel()
		w.judge(users, rooms)
	})
}

// judge counts what was stored and what has arrived.
func (w *fleetWorld) judge(users, rooms []string) {
	stored := map[string]int{}
	numbers := map[string]uint64{}
	for _, room := range rooms {
		for i, m := range w.fleet.said[w.fleet.rooms[room+"@x.org"].Room.ID] {
			stored[string(m.Body)]++
			numbers[string(m.Body)] = m.Seq
			if m.Seq != uint64(i+1) {
				w.t.Errorf("message %d has the number %d", i+1, m.Seq)
			}
		}
	}
	for _, q := range w.requests {
		if n := stored[q.body]; n != 1 || q.code != 200 {
			w.t.Errorf("%s was answered %d and is stored %d times", q.body, q.code, n)
		}
	}
	ids := map[string]string{}    // by member, room and body
	latest := map[string]uint64{} // by member and room
	for _, c := range w.relay.copies {
		user, _, _ := strings.Cut(strings.TrimPrefix(c.to, "sip:"), "@")
		_, rest, _ := strings.Cut(c.from, "<sip:")
		room, _, _ := strings.Cut(rest, "@")
		_, body, _ := strings.Cut(c.body, "]: ")
		if stored[body] == 0 {
			continue // a notice
		}
		key := user + " " + room + " " + body
		if id, again := ids[key]; again {
			if id != c.callID {
				w.t.Errorf("%s: Call-IDs %s and %s", key, id, c.callID)
			}
			continue
		}
		ids[key] = c.callID
		if numbers[body] <= latest[user+" "+room] {
			w.t.Errorf("%s: number %d after %d", key, numbers[body], latest[user+" "+room])
		}
		latest[user+" "+room] = numbers[body]
	}
	for _, q := range w.requests {
		sender := q.msg.Request.From().Address.User
		for _, user := range users {
			if _, has := ids[user+" "+q.room+" "+q.body]; has != (user != sender) {
				w.t.Errorf("%s of %s in %s: %s has it: %t", q.body, sender, q.room, user, has)
			}
		}
	}
	writers := map[string]bool{}
	last := ""
	for _, write := range w.fleet.writes {
		if write != last && writers[write] {
			w.t.Errorf("%s writes again after %s", write, last)
		}
		writers[write], last = true, write
	}
}

// TestFenceIsNamed: a commit names the shards of all rooms that it is about, each once.
func TestFenceIsNamed(t *testing.T) {
	for _, shards := range []int{1, 2, 4, 16} {
		e := &Engine{}
		for i := range 4 {
			e.shards = append(e.shards, &shard{index: i})
		}
		var fleet store.Fleet
		fleet.Shards = shards
		for i := range int64(shards) {
			fleet.Owned.Shards = append(fleet.Owned.Shards, i)
			fleet.Owned.Epochs = append(fleet.Owned.Epochs, 100+i)
		}
		c := &committer{fences: e.fencesOf(fleet)}
		all := c.fence([]*call{{shard: e.shards[0]}, {shard: e.shards[1]}, {shard: e.shards[2]}, {shard: e.shards[3]}})
		if !slices.Equal(all.Owned.Shards, fleet.Owned.Shards) || !slices.Equal(all.Owned.Epochs, fleet.Owned.Epochs) ||
			all.Batch != 1 {
			t.Errorf("of %d shards a commit of all names %v", shards, all)
		}
		for hash := range uint32(64) {
			one := c.fence([]*call{{shard: e.shards[hash&3]}})
			if !slices.Contains(one.Owned.Shards, int64(hash)&int64(shards-1)) {
				t.Errorf("of %d shards a commit of a room of hash %d names %v", shards, hash, one)
			}
		}
	}
	if f := (&committer{}).fence(nil); f.Batch != 0 {
		t.Errorf("without a fleet: %v", f)
	}
}
