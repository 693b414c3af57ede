package engine

import (
	"fmt"
	"hash/maphash"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"imcd/evapi"
)

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
						h.pass(20 * time.Millisecond)
						if n := h.phones.heard("small"); n != 4+5*i {
							t.Fatalf("%v after silence began %d copies have reached the small room, want %d",
								time.Duration(i+1)*500*time.Millisecond, n, 4+5*i)
						}
						if d := h.last("small").Sub(said); d > 12*time.Millisecond {
							t.Fatalf("a message took %v", d)
						}
						m, ch := h.request("small1", "small@x.org", "#list"), make(chan evapi.Answer, 1)
						h.mu.Lock()
						h.phones.answers[m] = ch
						h.mu.Unlock()
						h.e.Message(m)
						said = time.Now()
						h.accepted([]chan evapi.Answer{ch})
						h.pass(20 * time.Millisecond)
						if d := h.last("small1").Sub(said); d > 12*time.Millisecond || h.phones.heard("small") != 5+5*i {
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
		onShard(h.e.shards[0], func(s *shard) {
			c := &s.delivery.recipients
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
			if n := len(s.delivery.recipients.wait); n != 0 {
				t.Errorf("%d users are waited for at the end", n)
			}
			for _, n := range s.delivery.recipients.under {
				if n != 0 {
					t.Fatal("copies are under way at the end")
				}
			}
		}
	})
}

// TestFinishedCopiesAreForgotten: one phone that does not answer does not keep what went
// to others in memory.
func TestFinishedCopiesAreForgotten(t *testing.T) {
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
		kept := func() (open, expiry, fresh int) {
			onShard(h.e.shards[0], func(s *shard) {
				open, expiry, fresh = len(s.delivery.inFlight), len(s.delivery.expiry), len(s.delivery.fresh)
			})
			synctest.Wait()
			return open, expiry, fresh
		}
		if _, expiry, fresh := kept(); max(expiry, fresh) > 2+compactFrom {
			t.Errorf("%d copies are kept, and %d as just sent; one is under way", expiry, fresh)
		}
		h.pass(h.e.cfg.ResultTimeout)
		if open, expiry, _ := kept(); open+expiry > compactFrom {
			t.Errorf("%d and %d are kept at the end", open, expiry)
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
			if first > 2*64+4 { // it is ahead in its shard, and shards take turns
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

// TestSmallRoomsLeaveTurns: small rooms that always have something to send leave half to a large one.
func TestSmallRoomsLeaveTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rooms := map[string][]string{"big": people("big", 2000)}
		for i := range 40 {
			rooms[fmt.Sprint("small", i)] = people(fmt.Sprint("small", i, "-"), 10)
		}
		h := newTown(t, rooms, &phones{bounds: evapi.Bounds{Paced: true}, queue: 64,
			away: func(string) time.Duration { return 0 }}, true, func(c *Config) { c.HashSize = 0 })
		for i := range 40 {
			h.accepted(h.talk(fmt.Sprint("small", i, "-0"), fmt.Sprint("small", i), 20))
		}
		h.accepted(h.talk("big0", "big", 1))
		for h.phones.heard("big") < 1999 && h.phones.heard("small") < 40*20*9 {
			h.drained()
			synctest.Wait()
		}
		if n := len(h.users()); h.phones.heard("big") < 1999 || n < 2*1999-2*64 || n > 2*1999+3*64 {
			t.Errorf("the large room had its copies after %d of all", n)
		}
	})
}

// TestLargeRoomsTakeTurns: large rooms take turns also if small ones speak between any two of their copies.
func TestLargeRoomsTakeTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newTown(t, map[string][]string{"one": people("one", 1000), "two": people("two", 1000),
			"small": people("small", 5)}, &phones{bounds: evapi.Bounds{Paced: true},
			away: func(string) time.Duration { return 4 * time.Millisecond }}, true,
			func(c *Config) { c.HashSize, c.MaxBurst, c.MaxDelay = 0, 16, 0 })
		h.accepted(h.talk("one0", "one", 1))
		h.accepted(h.talk("two0", "two", 1))
		for range 40 {
			h.accepted(h.talk("small0", "small", 1))
			h.pass(4 * time.Millisecond)
		}
		if one, two := h.phones.heard("one"), h.phones.heard("two"); min(one, two) < max(one, two)*4/5 {
			t.Errorf("%d copies of one room, %d of the other", one, two)
		}
	})
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
		"paced, near":           {0, evapi.Bounds{Paced: true}, 4 * time.Millisecond, pacedBurst},
		"paced, 20 ms":          {0, evapi.Bounds{Paced: true}, 20 * time.Millisecond, 4 * pacedBurst},
		"paced, far":            {0, evapi.Bounds{Paced: true}, 100 * time.Millisecond, 3000},
		"unpaced, near":         {0, evapi.Bounds{}, 10 * time.Millisecond, unpacedBurst},
		"unpaced, far":          {0, evapi.Bounds{}, 100 * time.Millisecond, 10 * unpacedBurst},
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
				if n, more := h.mostAtATime(), pacedBurst; c.set == 0 && n <= c.most+more && n >= c.most*8/10 {
					return
				}
				if n := h.mostAtATime(); n != c.most {
					t.Errorf("%d copies were under way, want %d", n, c.most)
				}
			})
		})
	}
}

// TestLargeRoomsLeaveSpace: while a small room speaks, few copies of a large one are under way, and as many as before
// a moment later.
func TestLargeRoomsLeaveSpace(t *testing.T) {
	for name, c := range map[string]struct {
		bounds evapi.Bounds
		burst  int
	}{
		"paced":   {evapi.Bounds{Paced: true}, pacedBurst},
		"unpaced": {evapi.Bounds{}, unpacedBurst},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { largeRoomsLeaveSpace(t, c.bounds, c.burst) })
		})
	}
}

func largeRoomsLeaveSpace(t *testing.T, bounds evapi.Bounds, burst int) {
	h := newTown(t, map[string][]string{"big": people("big", 6000), "small": people("small", 5)},
		&phones{bounds: bounds, away: func(string) time.Duration { return 4 * time.Millisecond }}, true,
		func(c *Config) { c.MaxDelay = 0 })
	most := func() int {
		h.accepted(h.talk("big0", "big", 1))
		h.pass(8 * time.Millisecond)
		h.mu.Lock()
		h.mostAll = 0
		h.mu.Unlock()
		h.pass(20 * time.Millisecond)
		n := h.mostAtATime()
		h.pass(5 * time.Second)
		return n
	}
	if n := most(); n < burst/2 {
		t.Errorf("%d copies at a time without a small room", n)
	}
	h.accepted(h.talk("small0", "small", 1))
	if n := most(); n > burst/sharedPart+4 {
		t.Errorf("%d copies at a time beside a small room", n)
	}
	if n := most(); n < burst/2 {
		t.Errorf("%d copies at a time, long after the small room spoke", n)
	}
}

// TestStuck: when near phones stop to answer, few copies go until they do: all that was sent
// is answered at once then.
func TestStuck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var stuck time.Time
		h := newTown(t, map[string][]string{"r": append(people("m", 3000), "speaker")},
			&phones{bounds: evapi.Bounds{Paced: true}, away: func(string) time.Duration {
				return max(2*time.Millisecond, time.Until(stuck))
			}}, true, func(cfg *Config) { cfg.MaxDelay = 0 })
		h.accepted(h.talk("speaker", "r", 1))
		h.pass(2 * time.Second)
		for range 4 {
			h.mu.Lock()
			h.mostAll, stuck = 0, time.Now().Add(100*time.Millisecond)
			h.mu.Unlock()
			h.accepted(h.talk("speaker", "r", 1))
			h.pass(2 * time.Second)
			if n := h.mostAtATime(); n > pacedBurst+pacedBurst/firstMore+int(100*time.Millisecond/stuckAgain) {
				t.Fatalf("%d copies had no answer", n)
			}
		}
	})
}

// TestNearHoldUpNoFar: near phones that stop to answer do not keep copies to far ones waiting.
func TestNearHoldUpNoFar(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const trip = 100 * time.Millisecond
		silent := false
		h := newTown(t, map[string][]string{"r": append(append(people("near", 50), people("far", 2000)...), "speaker")},
			&phones{bounds: evapi.Bounds{Paced: true}, away: func(user string) time.Duration {
				switch near := strings.HasPrefix(user, "near"); {
				case near && silent:
					return never
				case near:
					return time.Millisecond
				}
				return trip
			}}, true, func(cfg *Config) { cfg.MaxDelay = 0 })
		for range 2 {
			h.accepted(h.talk("speaker", "r", 1))
			h.pass(2 * time.Second)
		}
		h.mu.Lock()
		silent = true
		h.mu.Unlock()
		said := time.Now()
		h.accepted(h.talk("speaker", "r", 1))
		h.pass(2 * time.Second)
		if d := h.last("far").Sub(said); d > 2*trip {
			t.Errorf("the last far phone answered after %v", d)
		}
	})
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
		onShard(h.e.shards[0], func(s *shard) { catching = s.delivery.catching })
		synctest.Wait()
		if catching > maxSilent+1 {
			t.Errorf("%d are being tried, want %d at most", catching, maxSilent)
		}
	})
}
