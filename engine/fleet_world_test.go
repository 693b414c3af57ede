package engine

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"imcd/engine/store"
	"imcd/evapi"
)

// fleetRelay is that of one engine. Kamailio drops what comes from one that was deposed.
type fleetRelay struct {
	*fakeRelay
	world   *fleetWorld
	engine  *fleetEngine
	deposed bool // by fakeRelay.mu
}

// takeAnswer is where the answer of m goes, nil if Kamailio drops it.
func (r *fleetRelay) takeAnswer(m *evapi.Message) chan evapi.Answer {
	r.mu.Lock()
	defer r.mu.Unlock()
	ch := r.answers[m]
	delete(r.answers, m)
	if r.deposed {
		return nil
	}
	return ch
}

func (r *fleetRelay) Reply(m *evapi.Message, a evapi.Answer) {
	if ch := r.takeAnswer(m); ch != nil {
		ch <- a
	}
}

func (r *fleetRelay) Move(m *evapi.Message, slot int) error {
	if ch := r.takeAnswer(m); ch != nil {
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

	failing atomic.Bool // it gets no answers of others, and gives none
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
	maxRooms int // max_rooms_per_user

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

// besides are the other engines of a world.
type besides struct {
	w  *fleetWorld
	me *fleetEngine
}

func (b besides) Visible(ctx context.Context, user string) (all []ShownRoom, err error) {
	for _, f := range b.w.engines {
		if f == b.me || f.failing.Load() {
			continue
		}
		rooms, err := f.e.Visible(ctx, user)
		if err != nil {
			return nil, err
		}
		all = append(all, rooms...)
	}
	if b.me.failing.Load() {
		return nil, errors.New("no answer")
	}
	return all, nil
}

func (b besides) OwnedRooms(_ context.Context, user string) (sum int, err error) {
	for _, f := range b.w.engines {
		if f != b.me {
			n, err := f.e.OwnedRooms(user)
			if err != nil {
				return 0, err
			}
			sum += n
		}
	}
	return sum, nil
}

// start starts an engine that owns nothing.
func (w *fleetWorld) start() *fleetEngine {
	s := &fleetStore{memFleet: w.fleet, id: int64(len(w.engines) + 1)}
	f := &fleetEngine{store: s, moves: make(chan handOver, 1), cease: make(chan struct{})}
	f.relay = &fleetRelay{world: w, engine: f, fakeRelay: &fakeRelay{answers: map[*evapi.Message]chan evapi.Answer{},
		codes: map[string]evapi.Result{}, once: map[string]evapi.Result{}, rtt: time.Millisecond}}
	cfg := DefaultConfig()
	cfg.HashSize, cfg.MaxRooms = 2, w.maxRooms
	var err error
	if f.e, err = New(cfg, s, f.relay, prometheus.NewRegistry(), zerolog.Nop()); err != nil {
		w.t.Fatal(err)
	}
	f.relay.fakeRelay.engine = f.e
	f.e.Beside(besides{w, f})
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
