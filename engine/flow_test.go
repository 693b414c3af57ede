package engine

import (
	"context"
	"fmt"
	"hash/maphash"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

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
	store := newMemStore()
	for room, users := range rooms {
		state := RoomState{Room: RoomRow{Name: Name{User: room, Host: "x.org"}}}
		for _, user := range users {
			state.Members = append(state.Members, MemberRow{Room: state.Room.Name, User: Name{User: user, Host: "x.org"}})
		}
		store.rooms[state.Room.Name.Key()] = state
	}
	cfg := DefaultConfig()
	if change != nil {
		change(&cfg)
	}
	p.answers, p.arrived, p.n = map[*evapi.Message]chan evapi.Answer{}, map[string]time.Time{}, map[string]int{}
	p.under, p.most = map[string]int{}, map[string]int{}
	e, err := New(cfg, store, p, prometheus.NewRegistry(), zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	p.engine = e
	if err := e.Start(context.Background()); err != nil {
		t.Fatal(err)
	}
	e.Welcomed("kamailio", evapi.Welcome{})
	h := &town{&house{t: t, e: e, store: store}, p}
	t.Cleanup(h.close)
	if known {
		for _, s := range e.shards {
			s.inbox.post(func(s *shard) {
				for _, r := range s.rooms {
					for _, m := range r.order {
						m.last = newLastResult(200, s.now)
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

// TestSilentHoldUpNobody: phones that do not answer, in one large room or in many small
// ones, hold up neither the messages nor the commands of others. Nor does one user that is
// in all of these rooms.
func TestSilentHoldUpNobody(t *testing.T) {
	many := func(silent func(i int) string) map[string][]string {
		rooms := map[string][]string{}
		for i := range 1500 {
			rooms[fmt.Sprint("room", i)] = []string{fmt.Sprint("speaker", i), silent(i)}
		}
		return rooms
	}
	for name, rooms := range map[string]map[string][]string{
		"a sixth of a large room": {"big": append(people("big", 8334), people("silent", 1666)...)},
		"many small rooms":        many(func(i int) string { return fmt.Sprint("silent", i) }),
		"one user in many rooms":  many(func(int) string { return "silent" }),
	} {
		for _, known := range []bool{true, false} {
			t.Run(fmt.Sprint(name, ", known ", known), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					rooms["small"] = people("small", 5)
					h := newTown(t, rooms, &phones{bounds: evapi.Bounds{Paced: true}, away: func(user string) time.Duration {
						if strings.HasPrefix(user, "silent") {
							return never
						}
						return time.Millisecond
					}}, known, nil)
					for range 3 {
						for room, users := range rooms {
							if room != "small" {
								h.talk(users[0], room, 1)
							}
						}
					}
					for i := range 40 { // until they are given up, and tried again
						h.pass(500 * time.Millisecond)
						said := time.Now()
						h.accepted(h.talk("small0", "small", 1))
						h.pass(10 * time.Millisecond)
						if n := h.phones.heard("small"); n != 4+5*i {
							t.Fatalf("%v after silence began %d copies have reached the small room, want %d",
								time.Duration(i+1)*500*time.Millisecond, n, 4+5*i)
						}
						if d := h.last("small").Sub(said); d > 2*time.Millisecond {
							t.Fatalf("a message took %v", d)
						}
						m, ch := h.request("small1", "small@x.org", "#list"), make(chan evapi.Answer, 1)
						h.mu.Lock()
						h.phones.answers[m] = ch
						h.mu.Unlock()
						h.e.Message(m)
						said = time.Now()
						h.accepted([]chan evapi.Answer{ch})
						h.pass(10 * time.Millisecond)
						if d := h.last("small1").Sub(said); d > 2*time.Millisecond || h.phones.heard("small") != 5+5*i {
							t.Fatalf("an answer to a command took %v", d)
						}
					}
				})
			})
		}
	}
}

// TestFarPhones: what is delivered in a time is bounded by how long each phone takes, and
// not by a number for all. Nothing is refused for that.
func TestFarPhones(t *testing.T) {
	for _, away := range []time.Duration{20 * time.Millisecond, 100 * time.Millisecond, 300 * time.Millisecond} {
		members := int(36000 * away / time.Second) // that make 36,000 copies a second
		for _, c := range []struct{ rooms, members int }{{1, members}, {8, members / 8}} {
			t.Run(fmt.Sprintf("%d rooms of %d, %v", c.rooms, c.members, away), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					rooms := map[string][]string{}
					for i := range c.rooms {
						rooms[fmt.Sprint("r", i)] = append(people(fmt.Sprintf("m%d-", i), c.members), fmt.Sprint("speaker", i))
					}
					h := newTown(t, rooms, &phones{bounds: evapi.Bounds{Paced: true},
						away: func(string) time.Duration { return away }}, true, nil)
					const seconds, first = 3, 1 // it takes a moment until it is known how far they are
					began, before := time.Now(), 0
					for range int((first + seconds) * time.Second / away) {
						if time.Since(began) <= first*time.Second {
							before = h.phones.heard("m")
						}
						for i := range c.rooms {
							h.accepted(h.talk(fmt.Sprint("speaker", i), fmt.Sprint("r", i), 1))
						}
						h.pass(away)
					}
					want := int(seconds*time.Second/away) * c.rooms * c.members
					if n := h.phones.heard("m") - before; n < want*9/10 {
						t.Errorf("%d copies in %d s, want %d", n, seconds, want)
					}
				})
			})
		}
	}
}

// TestSuspectsAreBounded: what may go at a time to phones that may not answer is a part of
// what may be under way.
func TestSuspectsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newTown(t, map[string][]string{"big": people("big", 300)}, &phones{bounds: evapi.Bounds{Paced: true},
			away: func(string) time.Duration { return never }}, false, func(c *Config) { c.MaxOutstanding = 80 })
		h.accepted(h.talk("big0", "big", 1))
		for range 100 {
			h.pass(100 * time.Millisecond)
		}
		if n := h.mostAtATime(); n > 80/suspectsPart || n < 80/suspectsPart-1 {
			t.Errorf("%d copies were under way, want %d", n, 80/suspectsPart)
		}
		// They have all been tried after a while.
		h.pass(10 * time.Minute)
		tried := map[string]bool{}
		for _, user := range h.users() {
			tried[user] = true
		}
		if len(tried) != 299 {
			t.Errorf("%d of 299 were tried", len(tried))
		}
	})
}

// TestOneUserInManyRooms: few copies are under way at a time to one user, whose rooms take
// turns, and nobody else waits for them.
func TestOneUserInManyRooms(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rooms := map[string][]string{}
		for i := range 300 {
			rooms[fmt.Sprint("r", i)] = []string{fmt.Sprint("speaker", i), "far", fmt.Sprint("other", i)}
		}
		h := newTown(t, rooms, &phones{bounds: evapi.Bounds{Paced: true}, away: func(user string) time.Duration {
			if user == "far" {
				return 50 * time.Millisecond
			}
			return time.Millisecond
		}}, true, func(c *Config) { c.HashSize = 0 })
		h.e.shards[0].inbox.post(func(s *shard) {
			c := &s.recipients
			for i := 0; i < 300; i++ { // none of them is to be taken for that user
				if c.slot(fmt.Sprint("other", i, "@x.org")) == c.slot("far@x.org") {
					c.seed, i = maphash.MakeSeed(), -1
				}
			}
		})
		for i := range 300 {
			h.accepted(h.talk(fmt.Sprint("speaker", i), fmt.Sprint("r", i), 2))
		}
		h.pass(10 * time.Millisecond)
		if n := h.phones.heard("other"); n != 600 {
			t.Errorf("%d copies have reached the others, want 600", n)
		}
		h.mu.Lock()
		most := h.most["far"]
		h.mu.Unlock()
		if most != userCopies {
			t.Errorf("%d copies were under way to one user, want %d", most, userCopies)
		}
		h.pass((600/userCopies + 1) * 50 * time.Millisecond)
		if n := h.phones.heard("far"); n != 600 {
			t.Errorf("%d copies have reached it, want 600", n)
		}
		for _, s := range h.e.shards {
			if n := len(s.recipients.wait); n != 0 {
				t.Errorf("%d users are waited for at the end", n)
			}
			for _, n := range s.recipients.under {
				if n != 0 {
					t.Fatal("copies are under way at the end")
				}
			}
		}
	})
}

// TestFinishedFlightsAreForgotten: one phone that does not answer does not keep what went
// to others in memory.
func TestFinishedFlightsAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newTown(t, map[string][]string{"r": people("m", 100), "q": {"speaker", "silent"}},
			&phones{bounds: evapi.Bounds{Paced: true}, away: func(user string) time.Duration {
				if user == "silent" {
					return never
				}
				return 0
			}}, true, func(c *Config) { c.HashSize = 0 })
		h.accepted(h.talk("speaker", "q", 1))
		h.pass(time.Second)
		for range 100 {
			h.accepted(h.talk("m0", "r", 1))
		}
		h.pass(time.Millisecond)
		if n := h.phones.heard("m"); n != 9900 {
			t.Errorf("%d copies arrived", n)
		}
		kept := func() (flights, expiry, fresh int) {
			h.e.shards[0].inbox.post(func(s *shard) { flights, expiry, fresh = len(s.flights), len(s.expiry), len(s.fresh) })
			synctest.Wait()
			return flights, expiry, fresh
		}
		if _, expiry, fresh := kept(); max(expiry, fresh) > 2+compactFrom {
			t.Errorf("%d flights are kept, and %d as just sent; one is under way", expiry, fresh)
		}
		h.pass(h.e.cfg.ResultTimeout)
		if flights, expiry, _ := kept(); flights+expiry > compactFrom {
			t.Errorf("%d and %d are kept at the end", flights, expiry)
		}
	})
}

// TestQueueFull: a connection whose queue is full is waited for, without looking at the
// clock, and rooms go on taking turns.
func TestQueueFull(t *testing.T) {
	for _, hash := range []int{0, 4} {
		synctest.Test(t, func(t *testing.T) {
			h := newTown(t, map[string][]string{"big": people("big", 2000), "small": people("small", 5)},
				&phones{bounds: evapi.Bounds{Paced: true}, queue: 64, away: func(string) time.Duration { return 0 }}, true,
				func(c *Config) { c.HashSize = hash })
			began := time.Now()
			h.accepted(h.talk("big0", "big", 3))
			h.accepted(h.talk("small0", "small", 1))
			for range 3*1999/64 + 1 {
				h.drained()
				synctest.Wait()
			}
			if d := time.Since(began); d != 0 {
				t.Errorf("it took %v", d)
			}
			if n, m := h.phones.heard("big"), h.phones.heard("small"); n != 3*1999 || m != 4 {
				t.Errorf("%d and %d copies arrived", n, m)
			}
			first := 0
			for i, user := range h.users() {
				if strings.HasPrefix(user, "small") {
					first = i
				}
			}
			if first > 3*64+4 {
				t.Errorf("the small room's last copy was number %d", first)
			}
			// Nobody says that there is space: it is tried again all the same.
			h.mu.Lock()
			h.taken = 64
			h.mu.Unlock()
			h.accepted(h.talk("small0", "small", 1))
			h.mu.Lock()
			h.taken = 0
			h.mu.Unlock()
			h.pass(2 * tick)
			if m := h.phones.heard("small"); m != 8 {
				t.Errorf("%d copies arrived without a word of the connection", m)
			}
		})
	}
}

// TestBurst: how many copies may have been sent just now, without an answer.
func TestBurst(t *testing.T) {
	for name, c := range map[string]struct {
		set    int
		bounds evapi.Bounds
		away   time.Duration
		most   int // at a time, in the end
	}{
		"as set":                {50, evapi.Bounds{Paced: true}, 100 * time.Millisecond, 50},
		"paced, near":           {0, evapi.Bounds{Paced: true}, 4 * time.Millisecond, soonBurst},
		"paced, 20 ms":          {0, evapi.Bounds{Paced: true}, 20 * time.Millisecond, 4 * soonBurst},
		"paced, far":            {0, evapi.Bounds{Paced: true}, 100 * time.Millisecond, 3000},
		"unpaced, near":         {0, evapi.Bounds{}, 10 * time.Millisecond, soonBurst},
		"unpaced, far":          {0, evapi.Bounds{}, 100 * time.Millisecond, 2 * soonBurst},
		"unpaced, as set":       {50, evapi.Bounds{}, 100 * time.Millisecond, 50},
		"memory of Kamailio":    {0, evapi.Bounds{Paced: true, Copies: 500}, 100 * time.Millisecond, 500},
		"more memory than that": {0, evapi.Bounds{Paced: true, Copies: 50000}, 100 * time.Millisecond, 3000},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newTown(t, map[string][]string{"r": append(people("m", 3000), "speaker")},
					&phones{bounds: c.bounds, away: func(string) time.Duration { return c.away }}, true,
					func(cfg *Config) { cfg.MaxBurst, cfg.MaxDelay = c.set, 0 })
				h.accepted(h.talk("speaker", "r", 60))
				h.pass(2 * time.Second)
				h.mu.Lock()
				h.mostAll = 0
				h.mu.Unlock()
				h.pass(time.Second)
				if c.most == 3000 {
					h.accepted(h.talk("speaker", "r", 20))
					h.pass(time.Second)
				}
				if n, more := h.mostAtATime(), soonBurst; c.set == 0 && n <= c.most+more && n >= c.most*8/10 {
					return
				}
				if n := h.mostAtATime(); n != c.most {
					t.Errorf("%d copies were under way, want %d", n, c.most)
				}
			})
		})
	}
}

// TestSilentTriesLeavePlaces: who comes back gets its messages at once, however many are
// being tried that do not answer.
func TestSilentTriesLeavePlaces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		back := false
		p := &phones{bounds: evapi.Bounds{Paced: true}, away: func(user string) time.Duration {
			if strings.HasPrefix(user, "silent") && (!back || user != "silent0") {
				return never
			}
			return 0
		}}
		h := newTown(t, map[string][]string{"r": append(people("silent", 4*maxCatching), "speaker")}, p, true,
			func(c *Config) { c.HashSize, c.RetryMin, c.RetryMax = 0, time.Second, time.Second })
		h.accepted(h.talk("speaker", "r", 1))
		h.pass(h.e.cfg.ResultTimeout + 5*time.Second)
		h.mu.Lock()
		back = true
		h.mu.Unlock()
		h.e.Registered("sip:silent0@x.org")
		h.pass(time.Millisecond)
		if n := h.phones.heard("silent0"); n != 1 {
			t.Errorf("%d copies reached who has come back", n)
		}
		var catching int
		h.e.shards[0].inbox.post(func(s *shard) { catching = s.catching })
		synctest.Wait()
		if catching > maxSilent+1 {
			t.Errorf("%d are being tried, want %d at most", catching, maxSilent)
		}
	})
}
