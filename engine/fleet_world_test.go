package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"imcd/engine/store"
	"imcd/evapi"
)

// memFleet are the tables of a fleet in memory. All is guarded by the memStore's mutex.
type memFleet struct {
	*memStore
	owner  [fleetShards]int64 // 0: nobody
	epoch  [fleetShards]int64
	gone   map[int64]bool
	last   map[int64]uint64
	writes [fleetShards][]string // "engine epoch" of each commit that was carried out
	faults []string              // commits that wrote to shards which they did not name

	loadErr error // of loads of rooms, behind the first room; nil: none
}

func (f *memFleet) Load(ctx context.Context, part store.Part, fn func(store.RoomState) error) error {
	f.mu.Lock()
	fails := f.loadErr
	f.mu.Unlock()
	return f.memStore.Load(ctx, part, func(state store.RoomState) error {
		if err := fn(state); err != nil || fails == nil {
			return err
		}
		return fails
	})
}

const fleetShards = 8

func newMemFleet() *memFleet {
	return &memFleet{memStore: newMemStore(), gone: map[int64]bool{}, last: map[int64]uint64{}}
}

// owned is what an engine owns.
func (f *memFleet) owned(id int64) (o store.Owned) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i, owner := range f.owner {
		if owner == id && !f.gone[id] {
			o.Shards, o.Epochs = append(o.Shards, int64(i)), append(o.Epochs, f.epoch[i])
		}
	}
	return o
}

// holds reports whether a commit is to be carried out. It needs mu.
func (f *memFleet) holds(id int64, fence store.Fence) bool {
	if f.gone[id] || fence.Batch <= f.last[id] {
		return false
	}
	for i, s := range fence.Owned.Shards {
		if f.owner[s] != id || f.epoch[s] != fence.Owned.Epochs[i] {
			return false
		}
	}
	return true
}

// touches lists the shards that changes are about. It needs mu.
func (f *memFleet) touches(changes []store.Change) (shards []int64) {
	byID := func(id int64) {
		for key, r := range f.rooms {
			if r.Room.ID == id {
				shards = append(shards, int64(store.Hash(key)%fleetShards))
			}
		}
	}
	for _, c := range changes {
		switch c.Op {
		case store.PutRoom, store.DeleteRoom:
			shards = append(shards, int64(store.Hash(c.Room.Name.Key())%fleetShards))
		case store.PutMember, store.DeleteMember:
			shards = append(shards, int64(store.Hash(c.Member.Room.Key())%fleetShards))
		case store.PutMessage:
			byID(c.Message.Room)
		case store.PutCursor:
			byID(c.Cursor.Room)
		case store.PutProgress:
			byID(c.Progress.Room)
		case store.PutPlaces:
			byID(c.Places.Room)
		case store.PutSetting:
			byID(c.Setting.Room)
		case store.MoveShard:
			shards = append(shards, c.Move.Shard)
		}
	}
	return shards
}

// errGone is that of a commit which gives a shard to an engine that is gone.
var errGone = fmt.Errorf("%w: the engine is gone", store.ErrInvalid)

// write carries a commit out. It needs mu.
func (f *memFleet) write(id int64, fence store.Fence, changes []store.Change) error {
	var moves []*store.Move
	var others []store.Change
	for _, c := range changes {
		if c.Op != store.MoveShard {
			others = append(others, c)
		} else if moves = append(moves, c.Move); f.gone[c.Move.To] {
			return errGone
		}
	}
	for _, s := range f.touches(changes) {
		if !slices.Contains(fence.Owned.Shards, s) {
			f.faults = append(f.faults, fmt.Sprintf("engine %d wrote to shard %d: %+v", id, s, changes))
		}
	}
	f.last[id] = fence.Batch
	for i, s := range fence.Owned.Shards {
		f.writes[s] = append(f.writes[s], fmt.Sprint(id, " ", fence.Owned.Epochs[i]))
	}
	f.apply(others)
	for _, m := range moves {
		f.owner[m.Shard] = m.To
		f.epoch[m.Shard]++
	}
	return nil
}

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
	if !s.holds(s.id, f) {
		return store.ErrDeposed
	}
	lost, done := len(s.trouble) > 0, true
	if lost {
		done, s.trouble = s.trouble[0], s.trouble[1:]
	}
	if done {
		if err := s.write(s.id, f, changes); err != nil {
			return err
		}
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
	gone, stored := s.gone[s.id], s.last[s.id] >= f.Batch
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
	engine  *fleetEngine
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

func (r *fleetRelay) Move(m *evapi.Message, slot int) error {
	r.mu.Lock()
	ch := r.answers[m]
	delete(r.answers, m)
	drop := r.deposed
	r.mu.Unlock()
	if !drop {
		r.world.pass(m, ch, slot%fleetShards, r.engine)
	}
	return nil
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

// fleetEngine is an engine of the world, with a goroutine that takes shards and hands them over.
type fleetEngine struct {
	e     *Engine
	store *fleetStore
	relay *fleetRelay
	moves chan handOver
	cease chan struct{} // closed to end the goroutine
}

// handOver asks an engine to hand shards over.
type handOver struct {
	moves []store.Move
	done  chan error // takes the outcome
}

// fleetRequest is a message that a client has sent, maybe more than once.
type fleetRequest struct {
	msg     *evapi.Message
	room    string
	body    string
	answers []chan evapi.Answer
	code    int // of the first answer that was final; 0: none yet
}

// parkedRequest waits in Kamailio.
type parkedRequest struct {
	msg    *evapi.Message
	answer chan evapi.Answer
	shard  int
}

// fleetWorld is a Kamailio with several engines.
type fleetWorld struct {
	t        tester
	fleet    *memFleet
	engines  []*fleetEngine
	requests []*fleetRequest
	relay    *fakeRelay // what all members have got
	maker    *house     // of requests
	loops    sync.WaitGroup
	handed   int // shards that engines have handed over; by mu

	mu     sync.Mutex
	routes [fleetShards]*fleetEngine // nil: requests wait; by mu
	epochs [fleetShards]int64        // of routes; by mu
	parked []parkedRequest           // by mu
}

func newFleetWorld(t tester) *fleetWorld {
	w := &fleetWorld{t: t, fleet: newMemFleet(), relay: &fakeRelay{}}
	w.maker = &house{t: t, store: w.fleet.memStore}
	return w
}

// start starts an engine that owns nothing.
func (w *fleetWorld) start() *fleetEngine {
	s := &fleetStore{memFleet: w.fleet, id: int64(len(w.engines) + 1)}
	f := &fleetEngine{store: s, moves: make(chan handOver, 1), cease: make(chan struct{})}
	f.relay = &fleetRelay{world: w, engine: f, fakeRelay: &fakeRelay{answers: map[*evapi.Message]chan evapi.Answer{},
		codes: map[string]evapi.Result{}, once: map[string]evapi.Result{}, rtt: time.Millisecond}}
	cfg := DefaultConfig()
	cfg.HashSize = 2
	var err error
	if f.e, err = New(cfg, s, f.relay, prometheus.NewRegistry(), zerolog.Nop()); err != nil {
		w.t.Fatal(err)
	}
	f.relay.fakeRelay.engine = f.e
	if err := f.e.Start(context.Background(), store.Fleet{Shards: fleetShards}); err != nil {
		w.t.Fatal(err)
	}
	w.engines = append(w.engines, f)
	w.loops.Go(func() { w.follow(f) })
	return f
}

// follow does for f what a daemon does: it takes what the database gives it, and hands over what it is asked to.
func (w *fleetWorld) follow(f *fleetEngine) {
	for {
		select {
		case <-f.cease:
			return
		case h := <-f.moves:
			w.park(f, h.moves)
			err := f.e.HandOver(context.Background(), h.moves)
			if h.done <- err; err == nil {
				w.mu.Lock()
				w.handed += len(h.moves)
				w.mu.Unlock()
			} else if errors.Is(err, store.ErrDeposed) || errors.Is(err, errEnded) {
				continue
			}
		case <-time.After(20 * time.Millisecond):
		}
		mine := w.fleet.owned(f.store.id)
		if err := f.e.Own(context.Background(), mine); err == nil {
			w.announce(f, mine)
		}
	}
}

// park lets requests wait that are for f.
func (w *fleetWorld) park(f *fleetEngine, moves []store.Move) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, m := range moves {
		if w.routes[m.Shard] == f {
			w.routes[m.Shard] = nil
		}
	}
}

// announce lets Kamailio give f the requests for what it owns.
func (w *fleetWorld) announce(f *fleetEngine, mine store.Owned) {
	w.mu.Lock()
	for i, s := range mine.Shards {
		if epoch := mine.Epochs[i]; epoch > w.epochs[s] || epoch == w.epochs[s] && w.routes[s] == nil {
			w.routes[s], w.epochs[s] = f, epoch
		}
	}
	waiting := w.parked
	w.parked = nil
	w.mu.Unlock()
	for _, p := range waiting {
		w.pass(p.msg, p.answer, p.shard, nil)
	}
}

// pass gives a request to the engine of its shard. from does not have its room.
func (w *fleetWorld) pass(m *evapi.Message, answer chan evapi.Answer, shard int, from *fleetEngine) {
	w.mu.Lock()
	to := w.routes[shard]
	if to == nil || to == from {
		w.parked = append(w.parked, parkedRequest{m, answer, shard})
		w.mu.Unlock()
		return
	}
	w.mu.Unlock()
	to.relay.set(func() { to.relay.answers[m] = answer })
	to.e.Message(m)
}

// takeOver gives the shards of an engine that is taken for dead to others.
func (w *fleetWorld) takeOver(dead *fleetEngine, takers ...*fleetEngine) {
	w.fleet.mu.Lock()
	defer w.fleet.mu.Unlock()
	if dead != nil {
		w.fleet.gone[dead.store.id] = true
	}
	for i, owner := range w.fleet.owner {
		if owner == 0 || w.fleet.gone[owner] {
			w.fleet.owner[i] = takers[i%len(takers)].store.id
			w.fleet.epoch[i]++
		}
	}
	if dead != nil {
		dead.relay.set(func() { dead.relay.deposed = true })
		w.mu.Lock()
		defer w.mu.Unlock()
		for i, f := range w.routes {
			if f == dead {
				w.routes[i] = nil
			}
		}
	}
}

// living are the engines that nobody has taken for dead.
func (w *fleetWorld) living() (living []*fleetEngine) {
	w.fleet.mu.Lock()
	defer w.fleet.mu.Unlock()
	for _, f := range w.engines {
		if !w.fleet.gone[f.store.id] {
			living = append(living, f)
		}
	}
	return living
}

// end stops the engines.
func (w *fleetWorld) end() {
	living := w.living()
	for _, f := range w.engines {
		close(f.cease)
		if !slices.Contains(living, f) {
			f.e.Abandon() // and what it hands over ends with it
		}
	}
	w.loops.Wait()
	for _, f := range living {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		f.e.Stop(ctx)
		cancel()
	}
}

// freeze lets an engine neither write nor send until it wakes.
func (w *fleetWorld) freeze(f *fleetEngine) {
	w.fleet.mu.Lock()
	if f.store.gate == nil {
		f.store.gate = make(chan struct{})
	}
	w.fleet.mu.Unlock()
	f.relay.set(func() { f.relay.down = true })
}

func (w *fleetWorld) wake(f *fleetEngine) {
	w.fleet.mu.Lock()
	if f.store.gate != nil {
		close(f.store.gate)
		f.store.gate = nil
	}
	w.fleet.mu.Unlock()
	f.relay.set(func() { f.relay.down = false })
}

// send gives a request to Kamailio.
func (w *fleetWorld) send(q *fleetRequest) {
	m := *q.msg
	m.Received = time.Now()
	ch := make(chan evapi.Answer, 1)
	q.answers = append(q.answers, ch)
	w.pass(&m, ch, int(store.Hash(q.room+"@x.org")%fleetShards), nil)
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
