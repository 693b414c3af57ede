package engine

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"imcd/engine/store"
	"imcd/evapi"
)

// joinWindow is that of these tests, which is not the default.
const joinWindow = 7 * time.Second

// largeRoom is a room r of so many members, r0, its owner, and the others, in a bubble with
// a clock of its own.
func largeRoom(t *testing.T, members int, change func(*Config), run func(h *house)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		kept := crowd(map[string]int{"r": members})
		clear(kept.codes)
		kept.rooms["r@x.org"].Members[0].Flag = store.MemberOwner
		h := openHouse(t, kept, func(c *Config) {
			c.JoinNotices, c.JoinWindow = DefaultConfig().JoinNotices, joinWindow
			if change != nil {
				change(c)
			}
		})
		h.pass(time.Second)
		run(h)
	})
}

// sends posts a text of a user to the room r and lets everything come to rest.
func (h *house) sends(user, text string) {
	h.t.Helper()
	ch := h.post(user, "r@x.org", text)
	synctest.Wait()
	select {
	case a := <-ch:
		if a.Code != 200 {
			h.t.Errorf("%s %q: %+v", user, text, a)
		}
	default:
		h.t.Errorf("%s %q: no answer", user, text)
	}
}

// wantNotices wants r0 to have been sent these notices, and forgets all copies.
func (h *house) wantNotices(want ...string) {
	h.t.Helper()
	if got := h.to("r0"); !slices.Equal(got, want) {
		h.t.Errorf("r0 was sent %q, want %q", got, want)
	}
}

// Up to 50 members each join and each leave has a notice, above that they are put together.
func TestCountedMoves(t *testing.T) {
	for name, c := range map[string]struct {
		members int
		run     func(h *house)
	}{
		"one by one up to 50": {48, func(h *house) {
			for _, user := range []string{"anna", "bert"} {
				h.sends(user, "#join")
				h.wantNotices(user + " has joined the room.")
			}
			h.sends("anna", "#leave")
			h.wantNotices("anna has left the room.")
		}},
		"the first at once, the others together": {50, func(h *house) {
			h.sends("anna", "#join")
			if got := h.heard(); !slices.Contains(got, "anna<r: *** You are in r now (51 members). #help lists the commands.") ||
				len(got) != 51 {
				h.t.Errorf("%d notices: %q", len(got), got)
			}
			h.sends("bert", "#join")
			h.sends("carl", "#join")
			h.sends("r3", "#leave")
			h.pass(joinWindow - time.Second)
			if got := h.heard(); len(got) != 3 {
				h.t.Errorf("notices: %q", got)
			}
			h.pass(time.Second + tick)
			want := "anna<r: *** bert and carl have joined the room.\n*** r3 has left the room."
			if got := h.heard(); len(got) != 52 || got[0] != want {
				h.t.Errorf("%d notices: %q", len(got), got)
			}
			h.pass(time.Hour)
			h.wantNotices()
			h.sends("dora", "#join")
			h.wantNotices("dora has joined the room.")
		}},
		"joined and left in between": {60, func(h *house) {
			h.sends("r1", "#leave")
			h.wantNotices("r1 has left the room.")
			h.sends("anna", "#join")
			h.sends("anna", "#leave")
			h.sends("bert", "#join")
			h.pass(joinWindow + tick)
			h.wantNotices("bert has joined the room.")
			h.sends("carl", "#join")
			h.sends("carl", "#leave")
			h.pass(joinWindow + tick)
			h.wantNotices()
		}},
		"left and joined in between": {51, func(h *house) {
			h.sends("anna", "#join")
			h.wantNotices("anna has joined the room.")
			h.sends("r1", "#leave")
			h.sends("r2", "#leave")
			h.sends("r1", "#join")
			h.pass(joinWindow + tick)
			h.wantNotices("r2 has left the room.")
		}},
		"many": {60, func(h *house) {
			h.sends("anna", "#join")
			for i := range 20 {
				h.sends(fmt.Sprint("b", i), "#join")
			}
			for i := range 15 {
				h.sends(fmt.Sprint("r", i+1), "#leave")
			}
			kept, err := ask(h.t.(testing.TB).Context(), h.e, "sip:r@x.org", func(r *room) int { return len(r.moves.leavers) })
			if n := h.e.held.waiting.Load(); kept != joinsNamed || n != overhead || err != nil {
				h.t.Errorf("%d names and %d bytes are kept, %v", kept, n, err)
			}
			h.relay.take()
			h.pass(joinWindow + tick)
			h.wantNotices("b0, b1 and 18 others have joined the room.\n*** r1, r2 and 13 others have left the room.")
		}},
		"names of leavers who are back": {60, func(h *house) {
			h.sends("anna", "#join")
			for i := range 5 {
				h.sends(fmt.Sprint("r", i+1), "#leave")
			}
			for i := range 3 {
				h.sends(fmt.Sprint("r", i+1), "#join")
			}
			h.relay.take()
			h.pass(joinWindow + tick)
			h.wantNotices("2 members have left the room.")
		}},
		"removed in between": {51, func(h *house) {
			h.sends("anna", "#join")
			h.sends("bert", "#join")
			h.relay.take()
			h.sends("r0", "#remove bert")
			h.wantNotices("bert was removed from the room by r0.")
			h.pass(joinWindow + tick)
			h.wantNotices()
		}},
		"added, invited, with a notice to who acts": {51, func(h *house) {
			h.sends("r0", "#add anna")
			h.wantNotices("anna has joined the room.")
			h.sends("r0", "#add bert")
			h.wantNotices("bert has joined the room.")
			h.sends("r0", "#invite carl")
			h.wantNotices("carl has been invited.")
			h.sends("carl", "#accept")
			h.wantNotices()
			h.pass(joinWindow + tick)
			h.wantNotices("bert and carl have joined the room.")
		}},
		"role": {51, func(h *house) {
			h.sends("anna", "#join")
			h.sends("bert", "#join")
			h.relay.take()
			h.sends("r0", "#modify bert owner")
			h.wantNotices("bert is now owner.")
			h.pass(joinWindow + tick)
			h.wantNotices("bert has joined the room.")
		}},
		"few again before the notice": {51, func(h *house) {
			h.sends("anna", "#join")
			h.sends("bert", "#join")
			h.relay.take()
			for i := range 4 {
				h.sends(fmt.Sprint("r", i+1), "#leave")
			}
			h.wantNotices()
			h.pass(joinWindow + tick)
			h.wantNotices("bert has joined the room.\n*** r1, r2 and 2 others have left the room.")
			h.sends("r5", "#leave")
			h.wantNotices("r5 has left the room.")
		}},
		"destroyed in between": {51, func(h *house) {
			h.sends("anna", "#join")
			h.sends("bert", "#join")
			h.relay.take()
			h.sends("r0", "#destroy")
			h.wantNotices("Room r was destroyed by r0.")
			if n := h.e.held.waiting.Load(); n != 0 {
				h.t.Errorf("%d bytes are kept", n)
			}
			h.sends("r0", "#create")
			h.relay.take()
			h.pass(time.Minute)
			h.wantNotices()
		}},
		"the end": {51, func(h *house) {
			h.sends("anna", "#join")
			h.sends("bert", "#join")
			h.relay.take()
			h.close()
			h.wantNotices("bert has joined the room.")
		}},
		"not stored": {51, func(h *house) {
			h.sends("anna", "#join")
			h.store.set(func([]store.Change) (error, bool) { return errRefused, false })
			if a := <-h.post("bert", "r@x.org", "#join"); a.Code != 500 {
				h.t.Errorf("%+v", a)
			}
			h.store.set(nil)
			h.relay.take()
			h.pass(time.Minute)
			h.wantNotices()
		}},
		"put aside in between": {51, func(h *house) {
			h.sends("anna", "#join")
			h.sends("bert", "#join")
			h.store.mu.Lock()
			h.store.away, h.store.fail = true, func([]store.Change) (error, bool) { return store.ErrUnavailable, false }
			h.store.mu.Unlock()
			if a := <-h.post("carl", "r@x.org", "#join"); a.Code != 503 {
				h.t.Errorf("%+v", a)
			}
			h.relay.take()
			h.pass(time.Minute)
			h.wantNotices()
			h.store.mu.Lock()
			h.store.away, h.store.fail = false, nil
			h.store.mu.Unlock()
			h.pass(time.Minute)
			h.wantNotices("bert has joined the room.")
		}},
	} {
		t.Run(name, func(t *testing.T) { largeRoom(t, c.members, nil, c.run) })
	}
}

// Notices of moves show what members are called elsewhere.
func TestNamesOfMoves(t *testing.T) {
	largeRoom(t, 51, func(c *Config) { c.ShowNames = ShowDisplay }, func(h *house) {
		h.sends(named("Anna A.", "anna"), "#join")
		h.wantNotices("Anna A. has joined the room.")
		h.sends(named("Bert B.", "bert"), "#join")
		h.sends(named("r17", "carl"), "#join")
		h.sends(named("Anna A.", "anna"), "#leave")
		h.pass(joinWindow + tick)
		h.wantNotices("Bert B. and r17 (carl) have joined the room.\n*** Anna A. has left the room.")
	})
}

// The other settings: each has a notice in every room, or nobody has.
func TestJoinNotices(t *testing.T) {
	for setting, want := range map[string][]string{
		JoinsAll: {"anna has joined the room.", "bert has joined the room.", "anna has left the room.",
			"carl has joined the room."},
		JoinsOff: {"carl has joined the room."}, // which answers who has added carl
	} {
		for _, members := range []int{5, 60} {
			largeRoom(t, members, func(c *Config) { c.JoinNotices, c.JoinWindow = setting, joinWindow }, func(h *house) {
				h.sends("anna", "#join")
				h.sends("bert", "#join")
				h.sends("anna", "#leave")
				h.sends("r0", "#add carl")
				h.pass(time.Minute)
				copies := h.relay.take()
				for user, want := range map[string][]string{"r0": want, "anna": {"You are in", "You have left"}} {
					h.relay.set(func() { h.relay.copies = copies })
					if setting == JoinsAll && user == "anna" {
						want = []string{"You are in", "bert has joined", "You have left"}
					}
					h.wantTo(user, want...)
				}
			})
		}
	}
}

// TestJoiningStorm: 2000 people join a room one by one, as fast as they can. None of them
// waits for the notices of the others, and there are few.
func TestJoiningStorm(t *testing.T) {
	const people = 2000
	largeRoom(t, 1, nil, func(h *house) {
		h.relay.set(func() { h.relay.rtt = 20 * time.Millisecond })
		commits, done := make(chan struct{}), make(chan struct{})
		h.store.mu.Lock()
		h.store.gate = commits
		h.store.mu.Unlock()
		go func() { // a database that takes 5 ms for each
			for {
				<-time.After(5 * time.Millisecond)
				select {
				case commits <- struct{}{}:
				case <-done:
					return
				}
			}
		}()
		var began [people]time.Time
		var answered, greeted []time.Duration
		start := time.Now()
		for i := range people {
			began[i] = time.Now()
			if a := <-h.post(fmt.Sprint("u", i), "r@x.org", "#join"); a.Code != 200 {
				h.t.Fatalf("%d: %+v", i, a)
			}
			answered = append(answered, time.Since(began[i]))
		}
		h.pass(2 * joinWindow)
		close(done)
		h.relay.mu.Lock()
		defer h.relay.mu.Unlock()
		heard, notices := 0, 0
		for i, c := range h.relay.copies {
			at, rest := h.relay.results[i].at, strings.TrimPrefix(c.to, "sip:u")
			switch {
			case strings.HasPrefix(c.body, "*** You are in"):
				var n int
				if _, err := fmt.Sscanf(rest, "%d@x.org", &n); err != nil {
					h.t.Fatal(err)
				}
				greeted = append(greeted, at.Sub(began[n]))
			case c.to == "sip:r0@x.org":
				heard += joinersIn(c.body)
				notices++
			}
		}
		if heard != people || len(greeted) != people {
			h.t.Errorf("%d of %d joinings had a notice, %d were greeted", heard, people, len(greeted))
		}
		h.t.(testing.TB).Logf("%d copies, of them %d for a member that was there", len(h.relay.copies), notices)
		if most := joinsEach + 1 + int(time.Since(start)/joinWindow); notices > most {
			h.t.Errorf("a member was sent %d notices in %v, want %d at most", notices, time.Since(start), most)
		}
		if one := people * (people + 1) / 2; len(h.relay.copies)-people > one/60 {
			h.t.Errorf("%d copies, and %d notices each by itself", len(h.relay.copies), one)
		}
		for what, took := range map[string][]time.Duration{"answer": answered, "greeting": greeted} {
			first, last := slices.Max(took[:100]), slices.Max(took[people-100:])
			h.t.(testing.TB).Logf("%s: first hundred %v, last %v", what, first, last)
			if last >= 3*first {
				h.t.Errorf("the slowest %s of the first hundred took %v, of the last %v", what, first, last)
			}
		}
	})
}

// joinersIn is of how many a notice tells that they have joined.
func joinersIn(notice string) int {
	names, _, _ := strings.Cut(strings.TrimPrefix(notice, "*** "), " ha")
	n := 0
	for _, name := range strings.Split(strings.ReplaceAll(names, " and ", ", "), ", ") {
		others := 0
		if _, err := fmt.Sscanf(name, "%d other", &others); err == nil {
			n += others
		} else {
			n++
		}
	}
	return n
}

// fixed is a store that keeps nothing but has one room.
type fixed struct{ filled }

func (fixed) Commit(context.Context, store.Fence, []store.Change) error { return nil }

// TestJoinCost: what a join costs does not grow with its room, whatever is configured.
func TestJoinCost(t *testing.T) {
	joined := func(members int) time.Duration {
		cfg := DefaultConfig()
		cfg.JoinNotices, cfg.ShowNames, cfg.MaxMembers, cfg.MaxRooms = JoinsOff, ShowDisplay, 1<<20, 10
		state := loadedRoom("r", members)
		state.Room.ID, state.Members[0].Flag = 7, store.MemberOwner
		relay := &echo{asked: make(chan evapi.Answer, 1)}
		e, err := New(cfg, fixed{filled{newMemStore(), state}}, relay, prometheus.NewRegistry(), zerolog.Nop())
		if err != nil {
			t.Fatal(err)
		}
		relay.engine = e
		if err := e.Start(t.Context(), store.Fleet{}); err != nil {
			t.Fatal(err)
		}
		defer e.Stop(t.Context())
		h := &house{t: t, store: newMemStore()} // makes requests
		least := time.Hour
		for batch := range 20 { // of which one at least is undisturbed
			began := time.Now()
			for i := range 20 {
				e.Message(h.request(named(fmt.Sprint("N", batch, i), fmt.Sprintf("new%d-%d", batch, i)), "r@x.org", "#join"))
				if a := <-relay.asked; a.Code != 200 {
					t.Fatal(a)
				}
			}
			least = min(least, time.Since(began)/20)
		}
		return least
	}
	small, large := joined(100), joined(100_000)
	t.Logf("%v in a room of 100, %v in one of 100000", small, large)
	if large > 3*small {
		t.Errorf("a join takes %v in a room of 100 members, %v in one of 100000", small, large)
	}
}
