package engine

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"
	"pgregory.net/rapid"

	"imcd/engine/store"
	"imcd/evapi"
)

// refuses makes a store refuse commits with changes that bad tells.
func (s *memStore) refuses(bad func(*store.Change) bool) {
	s.set(func(changes []store.Change) (error, bool) {
		for i := range changes {
			if bad(&changes[i]) {
				return errRefused, false
			}
		}
		return nil, false
	})
}

// badText tells messages that cannot be stored.
func badText(c *store.Change) bool {
	return c.Op == store.PutMessage && strings.HasPrefix(string(c.Message.Body), "bad")
}

// hold lets no commit through until release is called.
func (s *memStore) hold() (release func()) {
	gate := make(chan struct{})
	s.mu.Lock()
	s.gate = gate
	s.mu.Unlock()
	return func() { close(gate) }
}

// One request that cannot be stored, among others that are committed with it: in the
// same room, before it and behind it, and in another one.
func TestRefusedAmongOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := startHouse(t, newMemStore(), nil)
		defer h.close()
		for _, room := range []string{"r", "s"} {
			h.want(<-h.post("alice", room+"@x.org", "#create"), 200, 1)
			h.want(<-h.post("bob", room+"@x.org", "#join"), 200, 1)
		}
		synctest.Wait()
		h.relay.take()
		h.store.refuses(badText)
		release := h.store.hold()
		first := h.post("alice", "s@x.org", "first") // what comes now waits for this
		synctest.Wait()
		bodies := []string{"one", "two", "bad", "three", "bad again", "#help", "four", "#list", "five"}
		var answers []chan evapi.Answer
		for _, body := range bodies {
			answers = append(answers, h.post("alice", "r@x.org", body), h.post("alice", "s@x.org", "s "+body))
			synctest.Wait()
		}
		release()
		h.want(<-first, 200, 1)
		for i, body := range bodies {
			if strings.HasPrefix(body, "bad") {
				h.want(<-answers[2*i], 500, -209)
			} else {
				h.want(<-answers[2*i], 200, 1)
			}
			h.want(<-answers[2*i+1], 200, 1)
		}
		synctest.Wait()
		copies := h.relay.take()
		var heard []string
		for _, c := range copies {
			if c.to == "sip:bob@x.org" && strings.Contains(c.from, "sip:r@") {
				heard = append(heard, c.body)
			}
		}
		if want := []string{"[alice]: one", "[alice]: two", "[alice]: three", "[alice]: four",
			"[alice]: five"}; !slices.Equal(heard, want) {
			t.Errorf("bob heard %q, want %q", heard, want)
		}
		h.store.mu.Lock()
		defer h.store.mu.Unlock()
		for room, said := range h.store.said {
			for i, m := range said {
				if m.Seq != uint64(i+1) {
					t.Errorf("room %d: message %d is %d", room, i, m.Seq)
				}
			}
		}
	})
}

// Only data is answered 500: what else the database says is nothing that the sender
// could do something about.
func TestAnswersOfFailedCommits(t *testing.T) {
	for _, tc := range []struct {
		err    error
		code   int
		reason string
	}{
		{fmt.Errorf("wrapped: %w", store.ErrInvalid), 500, "Cannot be stored"},
		{fmt.Errorf("wrapped: %w", store.ErrUnavailable), 503, "Database unavailable"},
		{errors.New("permission denied"), 503, "Database unavailable"},
	} {
		h := pair(t, nil)
		h.store.set(func([]store.Change) (error, bool) { return tc.err, false })
		if a := h.say2("alice", "r", "x"); a.Code != tc.code || a.Reason != tc.reason || a.Code == 503 != (a.RetryAfter > 0) {
			t.Errorf("%v: %+v", tc.err, a)
		}
		h.store.set(nil)
		h.until("healthy", h.e.Healthy)
		h.quiet()
		h.want(h.say("alice", "r", "y"), 200, 1)
	}
}

// Requests wait for a room that is loaded again: not for ever, and not without bound.
func TestRequestsThatWaitForARoom(t *testing.T) {
	start := func(t *testing.T) *house {
		h := startHouse(t, newMemStore(), func(c *Config) { c.MailboxSize = 3 })
		h.want(<-h.post("alice", "r@x.org", "#create"), 200, 1)
		s := h.e.shardOf(store.Name{User: "r", Host: "x.org"})
		s.inbox.post(func() {
			s.distrust(s.rooms["r@x.org"], nil)
			s.stale["r@x.org"].parking = true // and nobody has asked for it
		})
		synctest.Wait()
		return h
	}
	post := func(h *house, n int) (answers []chan evapi.Answer) {
		for range n {
			answers = append(answers, h.post("alice", "r@x.org", "x"))
			synctest.Wait()
		}
		return answers
	}
	t.Run("bound", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			h := start(t)
			defer h.close()
			answers := post(h, 4)
			h.want(<-answers[3], 503, -209)
			h.want(<-h.post("alice", "r@x.org", "#rooms"), 200, 1) // concerns no room
			onShard(h.e.shardOf(store.Name{User: "r", Host: "x.org"}), func(s *shard) {
				s.engine.committer.put(&call{shard: s, room: s.stale["r@x.org"], again: true})
			})
			for _, a := range answers[:3] {
				h.want(<-a, 200, 1)
			}
		})
	})
	t.Run("away", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			h := start(t)
			defer h.close()
			answers := post(h, 3)
			h.e.committer.setBroken(true)
			for _, a := range answers {
				h.want(<-a, 503, -209)
			}
			h.e.committer.setBroken(false)
		})
	})
	t.Run("lost while it is loaded", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			h := startHouse(t, newMemStore(), nil)
			defer h.close()
			h.want(<-h.post("alice", "r@x.org", "#create"), 200, 1)
			h.store.set(func(changes []store.Change) (error, bool) { // refuses, and is away from then on
				h.store.away = true
				return errRefused, false
			})
			refused := h.post("alice", "r@x.org", "one")
			h.want(<-refused, 500, -209)
			synctest.Wait()
			h.want(<-h.post("alice", "r@x.org", "two"), 503, -209)
			h.store.mu.Lock()
			h.store.away, h.store.fail = false, nil
			h.store.mu.Unlock()
			<-time.After(2 * reloadBackoffMax)
			h.want(<-h.post("alice", "r@x.org", "three"), 200, 1)
		})
	})
}

// A stranger whose invitation is not stored, or whose request came while the room was
// loaded again, does not come in.
func TestStrangersBehindARefusal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := startHouse(t, newMemStore(), func(c *Config) { c.ForeignUsers = ForeignInvited })
		defer h.close()
		h.e.Welcomed("k", stock())
		h.want(<-h.post("alice", "chat-r@x.org", "#create"), 200, 1)
		h.store.refuses(func(c *store.Change) bool { return c.Op == store.PutMember && c.Member.Flag == store.MemberInvited })
		release := h.store.hold()
		first := h.post("alice", "chat-r@x.org", "first")
		synctest.Wait()
		invite := h.post("alice", "chat-r@x.org", "#invite m@far.example")
		synctest.Wait()
		var joins []chan evapi.Answer
		for _, user := range []string{"m", "n"} {
			m := h.request("<sip:"+user+"@far.example>", "chat-r@x.org", "#join")
			m.Foreign = true
			joins = append(joins, h.send(m))
			synctest.Wait()
			if user == "m" { // so that the other one finds the room put aside
				s := h.e.shardOf(store.Name{User: "chat-r", Host: "x.org"})
				s.inbox.post(func() {
					s.distrust(s.rooms["chat-r@x.org"], nil)
					s.stale["chat-r@x.org"].parking = true
				})
				synctest.Wait()
			}
		}
		release()
		h.want(<-first, 200, 1)
		if a := <-invite; a.Code != 500 {
			t.Errorf("invitation: %+v", a)
		}
		for _, a := range joins {
			if a := <-a; a.Code != 403 {
				t.Errorf("joining: %+v", a)
			}
		}
	})
}

// What is refused may be anything, at any place of a burst: who is at fault hears so, all
// others have what they asked for, in their order.
func TestRefusalsInBursts(t *testing.T) {
	checkTimed(t, checkRefusals)
}

func checkRefusals(rt *rapid.T) {
	h := startHouse(rt, newMemStore(), func(c *Config) { c.HashSize = rapid.IntRange(0, 2).Draw(rt, "hash_size") })
	defer h.close()
	rooms := []string{"r", "s", "t"}
	for _, room := range rooms {
		h.want(<-h.post("alice", room+"@x.org", "#create"), 200, 1)
		h.want(<-h.post("bob", room+"@x.org", "#join"), 200, 1)
	}
	synctest.Wait()
	h.relay.take()
	h.store.refuses(func(c *store.Change) bool {
		return badText(c) || c.Op == store.PutMember && strings.HasPrefix(c.Member.User.User, "bad") ||
			c.Op == store.DeleteRoom && c.Room.Name.User == "t"
	})
	said := map[string][]string{}
	for range rapid.IntRange(1, 3).Draw(rt, "bursts") {
		release := h.store.hold()
		var answers []chan evapi.Answer
		var codes []int
		left := rooms // those that are not to be destroyed
		for i := range rapid.IntRange(1, 12).Draw(rt, "burst") {
			room := rapid.SampledFrom(left).Draw(rt, "room")
			body, code := fmt.Sprint("good", i), 200
			switch rapid.SampledFrom([]string{"good", "good", "bad", "add", "destroy", "list"}).Draw(rt, "kind") {
			case "good":
				said[room] = append(said[room], body)
			case "bad":
				body, code = fmt.Sprint("bad", i), 500
			case "add":
				body, code = fmt.Sprint("#add bad", i), 500
			case "destroy":
				if body = "#list"; room == "t" {
					body, code, left = "#destroy", 500, rooms[:2]
				}
			case "list":
				body = "#list"
			}
			answers, codes = append(answers, h.post("alice", room+"@x.org", body)), append(codes, code)
			if rapid.Bool().Draw(rt, "settle") {
				synctest.Wait()
			}
		}
		release()
		for i, a := range answers {
			if a := <-a; a.Code != codes[i] {
				rt.Fatalf("request %d: %d %s, want %d", i, a.Code, a.Reason, codes[i])
			}
		}
	}
	<-time.After(time.Second)
	heard := map[string][]string{}
	for _, c := range h.relay.take() {
		if text, ok := strings.CutPrefix(c.body, "[alice]: "); ok && c.to == "sip:bob@x.org" {
			_, room, _ := strings.Cut(c.from, "sip:")
			room, _, _ = strings.Cut(room, "@")
			heard[room] = append(heard[room], text)
		}
	}
	for _, room := range rooms {
		if !slices.Equal(heard[room], said[room]) {
			rt.Fatalf("bob heard %q in %s, want %q", heard[room], room, said[room])
		}
	}
	if owed := h.store.owed(); owed != "" {
		rt.Fatalf("owed: %s", owed)
	}
}

// commitsIn counts the commits of a time.
func (h *house) commitsIn(d time.Duration) int {
	before := h.store.committed()
	<-time.After(d)
	return h.store.committed() - before
}

// Cursors that cannot be written are tried again, less and less often, and written when
// they can be. The others are written meanwhile.
func TestRefusedCursors(t *testing.T) {
	for name, tc := range map[string]struct {
		bad func(*store.Change) bool
		err error
		max int // commits in a minute
	}{
		"one member": {func(c *store.Change) bool { return c.Op == store.PutCursor && c.Cursor.User.User == "u7" },
			errRefused, 60},
		"progress": {func(c *store.Change) bool { return c.Op == store.PutProgress }, errRefused, 60},
		"all": {func(c *store.Change) bool { return c.Op == store.PutCursor || c.Op == store.PutProgress },
			errRefused, 300},
		"privilege": {func(c *store.Change) bool { return c.Op == store.PutCursor || c.Op == store.PutProgress },
			errors.New("permission denied"), 20},
		"away": {func(c *store.Change) bool { return c.Op == store.PutCursor || c.Op == store.PutProgress },
			store.ErrUnavailable, 40},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var log strings.Builder
				h := startHouse(t, newMemStore(), nil)
				defer h.close()
				h.e.committer.log = zerolog.New(&log)
				h.want(<-h.post("alice", "r@x.org", "#create"), 200, 1)
				for i := range 20 {
					h.want(<-h.post(fmt.Sprint("u", i), "r@x.org", "#join"), 200, 1)
				}
				h.want(<-h.post("alice", "r@x.org", "zero"), 200, 1)
				<-time.After(time.Second) // everybody has what the room has
				for i := range 20 {
					h.answers(fmt.Sprint("u", i), result(404)) // and is behind from now on
				}
				h.store.set(func(changes []store.Change) (error, bool) {
					if slices.ContainsFunc(changes, func(c store.Change) bool { return tc.bad(&c) }) {
						return tc.err, false
					}
					return nil, false
				})
				h.want(<-h.post("alice", "r@x.org", "one"), 200, 1)
				h.commitsIn(time.Minute)
				if n := h.commitsIn(time.Minute); n > tc.max {
					t.Errorf("%d commits in a minute", n)
				}
				synctest.Wait()
				if n := strings.Count(log.String(), "refuses a change"); n > 13 {
					t.Errorf("%d lines in two minutes", n)
				}
				if name == "one member" {
					h.store.mu.Lock()
					for i := range 20 {
						if _, stored := h.store.cursors[h.store.rooms["r@x.org"].Room.ID][fmt.Sprint("u", i,
							"@x.org")]; stored == (i == 7) {
							t.Errorf("cursor of u%d is stored: %t", i, stored)
						}
					}
					h.store.mu.Unlock()
				}
				h.store.set(nil)
				for i := range 20 {
					h.answers(fmt.Sprint("u", i), result(200))
					h.e.Registered(fmt.Sprintf("sip:u%d@x.org", i))
				}
				<-time.After(2 * flushWaitRefused)
				h.want(<-h.post("alice", "r@x.org", "two"), 200, 1)
				<-time.After(2 * flushWaitRefused)
				if owed := h.store.owed(); owed != "" {
					t.Errorf("when it can be stored again: %s", owed)
				}
				h.close()
				if owed := h.store.owed(); owed != "" {
					t.Errorf("at the end: %s", owed)
				}
			})
		})
	}
}

// What was refused a moment ago is tried once more at the end.
func TestRefusedCursorsAtTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := startHouse(t, newMemStore(), nil)
		h.want(<-h.post("alice", "r@x.org", "#create"), 200, 1)
		h.want(<-h.post("bob", "r@x.org", "#join"), 200, 1)
		h.store.refuses(func(c *store.Change) bool { return c.Op == store.PutCursor || c.Op == store.PutProgress })
		h.want(<-h.post("alice", "r@x.org", "one"), 200, 1)
		<-time.After(time.Second)
		if h.store.owed() == "" {
			t.Error("nothing was refused")
		}
		h.store.set(nil)
		h.close()
		if owed := h.store.owed(); owed != "" {
			t.Error(owed)
		}
	})
}

// However much is refused, the search for what is not is bounded, and so is what is
// remembered of it.
func TestRefusalsAreBounded(t *testing.T) {
	h := newHouse(t, nil)
	h.store.refuses(func(*store.Change) bool { return true })
	var changes []store.Change
	for i := range 2 * maxRefusedCursors {
		changes = append(changes, store.Change{Op: store.PutCursor,
			Cursor: &store.CursorRow{Room: 1, User: store.Name{User: fmt.Sprint("u", i),
				Host: "x.org"}}})
	}
	before := h.store.committed()
	refused := new(refusedChanges)
	if err := h.e.committer.salvage(t.Context(), []*call{{changes: changes}}, errRefused); !errors.As(err, &refused) ||
		len(refused.changes) != len(changes) {
		t.Errorf("%v", err)
	}
	if n := h.store.committed() - before; n != salvageTries {
		t.Errorf("%d commits", n)
	}
	done := make(chan int)
	onShard(h.e.shards[0], func(s *shard) {
		s.delivery.unstored(nil, refused.changes)
		n := len(s.delivery.refusedCursors)
		clear(s.delivery.refusedCursors)
		done <- n
	})
	if n := <-done; n != maxRefusedCursors {
		t.Errorf("%d are remembered", n)
	}
}

// What is refused is logged now and then, and counted.
func TestQuiet(t *testing.T) {
	var q quiet
	now := time.Now()
	for i, want := range []bool{true, false, false} {
		if _, ok := q.next(now.Add(time.Duration(i) * time.Second)); ok != want {
			t.Errorf("line %d is logged: %t", i, ok)
		}
	}
	if skipped, ok := q.next(now.Add(quietTime)); !ok || skipped != 2 {
		t.Errorf("%d, %t", skipped, ok)
	}
}

// TestRefusedThrice: places, and the deletion of a notice that was heard, are written again though nothing moves.
func TestRefusedThrice(t *testing.T) {
	for op, c := range map[store.Op]struct {
		cause func(h *house, copies []got)
		done  func(s *memStore) bool
	}{
		store.PutPlaces: {
			cause: func(h *house, copies []got) { h.receipt("bob", "r", imdn(copies[0].callID, "displayed")) },
			done:  func(s *memStore) bool { return len(s.places) == 1 },
		},
		store.DeleteNote: {
			cause: func(h *house, _ []got) { h.post("alice", "r@x.org", "#destroy") },
			done:  func(s *memStore) bool { return len(s.notes) == 0 },
		},
	} {
		bubble(t, nil, func(h *house) {
			h.says("1")
			copies := h.relay.take()
			refused := 0
			h.store.set(func(changes []store.Change) (error, bool) {
				if slices.ContainsFunc(changes, func(c store.Change) bool { return c.Op == op }) && refused < 3 {
					refused++
					return errRefused, false
				}
				return nil, false
			})
			c.cause(h, copies)
			h.pass(2 * time.Minute)
			h.store.mu.Lock()
			defer h.store.mu.Unlock()
			if refused != 3 || !c.done(h.store) {
				t.Errorf("op %v: refused %d times, stored are places of %d rooms and %d notices", op, refused,
					len(h.store.places), len(h.store.notes))
			}
		})
	}
}
