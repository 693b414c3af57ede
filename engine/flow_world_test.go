package engine

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"imcd/engine/store"
	"imcd/evapi"
)

// never is the distance of a phone that does not answer.
const never = -1

// phones is a relay whose recipients answer 200 after some time, or never.
type phones struct {
	engine *Engine
	away   func(user string) time.Duration
	queue  int // copies that it takes until drained is called; 0: any number
	bounds evapi.Bounds

	mu      sync.Mutex // guards what follows
	due     map[time.Time][]func()
	answers map[*evapi.Message]chan evapi.Answer
	taken   int // copies, since drained
	order   []string
	arrived map[string]time.Time // when a user has answered last
	n       map[string]int       // answers
	under   map[string]int       // copies without an answer
	all     int                  // of all users
	most    map[string]int       // of under, at a time
	mostAll int
}

func (p *phones) Move(*evapi.Message, int) error { return evapi.ErrAlone }

func (p *phones) Reply(m *evapi.Message, a evapi.Answer) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.answers[m] <- a
}

func (p *phones) Bounds() evapi.Bounds { return p.bounds }

func (p *phones) Send(_ *evapi.Conn, c evapi.Copy) (*evapi.Conn, error) {
	user, _, _ := strings.Cut(strings.TrimPrefix(c.To, "sip:"), "@")
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.queue > 0 && p.taken >= p.queue {
		return nil, evapi.ErrFull
	}
	p.taken++
	p.order = append(p.order, user)
	p.all++
	p.under[user]++
	p.most[user], p.mostAll = max(p.most[user], p.under[user]), max(p.mostAll, p.all)
	switch d := p.away(user); {
	case d == 0:
		p.answer(user, c.CallID)
	case d > 0:
		p.answerAt(time.Now().Add(d), func() { p.answer(user, c.CallID) })
	}
	return nil, nil
}

// answerAt lets answer be called at a time. All that is for one moment is done by one
// goroutine: the race detector ends a program that has 8,000. It is called with mu held.
func (p *phones) answerAt(due time.Time, answer func()) {
	if p.due == nil {
		p.due = make(map[time.Time][]func())
	}
	if p.due[due] = append(p.due[due], answer); len(p.due[due]) > 1 {
		return
	}
	time.AfterFunc(time.Until(due), func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		for _, answer := range p.due[due] {
			answer()
		}
		delete(p.due, due)
	})
}

// answer is called with mu held.
func (p *phones) answer(user, callID string) {
	p.under[user]--
	p.all--
	p.n[user]++
	p.arrived[user] = time.Now()
	p.engine.Result(evapi.Result{CallID: callID, Code: 200})
}

// mostAtATime is how many copies were without an answer at a time.
func (p *phones) mostAtATime() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.mostAll
}

// users are those that copies were sent to, in that order.
func (p *phones) users() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.order)
}

// drained empties the queue.
func (p *phones) drained() {
	p.mu.Lock()
	p.taken = 0
	p.mu.Unlock()
	p.engine.Drained()
}

// heard counts the answers of users whose names begin so.
func (p *phones) heard(prefix string) (n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for user, k := range p.n {
		if strings.HasPrefix(user, prefix) {
			n += k
		}
	}
	return n
}

// last is when the last of them has answered.
func (p *phones) last(prefix string) (at time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for user, t := range p.arrived {
		if strings.HasPrefix(user, prefix) && t.After(at) {
			at = t
		}
	}
	return at
}

// town is an engine with rooms of members that are phones: of room r these are r0, r1, …
// Known ones have answered before.
type town struct {
	*house
	*phones
}

func newTown(t *testing.T, rooms map[string][]string, p *phones, known bool, change func(*Config)) *town {
	t.Helper()
	kept := newMemStore()
	for room, users := range rooms {
		state := store.RoomState{Room: store.RoomRow{Name: store.Name{User: room, Host: "x.org"}}}
		for _, user := range users {
			state.Members = append(state.Members, store.MemberRow{Room: state.Room.Name,
				User: store.Name{User: user, Host: "x.org"}})
		}
		kept.rooms[state.Room.Name.Key()] = state
	}
	cfg := DefaultConfig()
	if change != nil {
		change(&cfg)
	}
	p.answers, p.arrived, p.n = map[*evapi.Message]chan evapi.Answer{}, map[string]time.Time{}, map[string]int{}
	p.under, p.most = map[string]int{}, map[string]int{}
	e, err := New(cfg, kept, p, prometheus.NewRegistry(), zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	p.engine = e
	if err := e.Start(context.Background(), store.Fleet{}); err != nil {
		t.Fatal(err)
	}
	e.Welcomed("kamailio", evapi.Welcome{})
	h := &town{&house{t: t, e: e, store: kept}, p}
	t.Cleanup(h.close)
	if known {
		for _, s := range e.shards {
			s.inbox.post(func() {
				for _, r := range s.rooms {
					for _, m := range r.order {
						m.last = m.last.with(200, s.now)
					}
				}
			})
		}
		synctest.Wait()
	}
	return h
}

// people are n names that begin so.
func people(prefix string, n int) []string {
	list := make([]string, n)
	for i := range list {
		list[i] = fmt.Sprint(prefix, i)
	}
	return list
}

// talk posts messages of a user to a room and returns the answers.
func (h *town) talk(user, room string, n int) []chan evapi.Answer {
	h.t.Helper()
	var chans []chan evapi.Answer
	for range n {
		m, ch := h.request(user, room+"@x.org", "hello"), make(chan evapi.Answer, 1)
		h.mu.Lock()
		h.phones.answers[m] = ch
		h.mu.Unlock()
		h.e.Message(m)
		chans = append(chans, ch)
	}
	return chans
}

func (h *town) accepted(chans []chan evapi.Answer) {
	h.t.Helper()
	synctest.Wait()
	for _, ch := range chans {
		select {
		case a := <-ch:
			if a.Code != 200 {
				h.t.Fatalf("answered %+v", a)
			}
		default:
			h.t.Fatal("no answer")
		}
	}
}
