package engine

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"imcd/engine/store"
	"imcd/evapi"
)

// uncertain makes commits with a message of this text, or a member of this name, end
// without that it is known whether they were done, until the store is set otherwise.
func (h *house) uncertain(what string, stored bool) {
	h.store.set(func(changes []store.Change) (error, bool) {
		for _, c := range changes {
			if c.Op == store.PutMessage && string(c.Message.Body) == what || c.Op == store.PutMember &&
				c.Member.User.User == what {
				return fmt.Errorf("connection lost: %w", store.ErrUncertain), stored
			}
		}
		return nil, false
	})
}

// answer is what has come of a request; Code 0: nothing yet.
func answer(ch chan evapi.Answer) evapi.Answer {
	select {
	case a := <-ch:
		return a
	default:
		return evapi.Answer{}
	}
}

// copyOf is the same request once more, as its client sends it when it heard no answer.
func (h *house) copyOf(m *evapi.Message) *evapi.Message {
	again := *m
	again.Received = time.Now()
	return &again
}

// A commit whose outcome is not known is answered as it ended, if that is known soon. If
// not, it is answered 503, and its repetition gets the true answer: whether it was stored
// or not, once is what it is carried out.
func TestUncertainCommit(t *testing.T) {
	for _, stored := range []bool{true, false} {
		for _, takes := range []time.Duration{0, 2 * time.Second, 10 * time.Second, 3 * time.Minute} {
			t.Run(fmt.Sprintf("stored %t for %v", stored, takes), func(t *testing.T) {
				bubble(t, func(c *Config) { c.RetryAfter = 7 * time.Second }, func(h *house) {
					h.uncertain("x", stored)
					if takes > 0 {
						h.store.setAway(true)
					}
					m := h.request("alice", "r@x.org", "x")
					first := h.send(m)
					h.pass(time.Second)
					second := h.send(h.copyOf(m))
					synctest.Wait()
					if takes > 0 && len(first)+len(second) > 0 {
						t.Errorf("answered %d and %d before anything is known", answer(first).Code, answer(second).Code)
					}
					if takes > lateAfter {
						h.pass(lateAfter - time.Second)
						for _, ch := range []chan evapi.Answer{first, second, h.send(h.copyOf(m))} {
							synctest.Wait()
							if a := answer(ch); a.Code != 503 || a.RC != -209 || a.RetryAfter != 7*time.Second {
								t.Errorf("answered %+v while nothing is known", a)
							}
						}
						h.wantSent()
					}
					h.pass(takes)
					h.store.setAway(false)
					h.store.set(nil)
					h.pass(time.Second)
					answers := []chan evapi.Answer{h.send(h.copyOf(m)), h.send(h.copyOf(m))}
					if takes < lateAfter {
						answers = append(answers, first, second)
					}
					synctest.Wait()
					for i, ch := range answers {
						if a := answer(ch); a.Code != 200 || a.RC != 1 {
							t.Errorf("answer %d is %+v", i, a)
						}
					}
					h.wantSent("x")
					h.says("y")
					h.wantSent("y")
					if !h.e.Healthy() {
						t.Error("not healthy")
					}
				})
			})
		}
	}
}

// setAway makes everything but commits fail.
func (s *memStore) setAway(away bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.away = away
}

// What came behind such a commit waits with it, and if that takes too long was not done:
// it is answered 503, and evaluated again when it comes again.
func TestBehindAnUncertainCommit(t *testing.T) {
	for _, takes := range []time.Duration{2 * time.Second, 10 * time.Second} {
		t.Run(takes.String(), func(t *testing.T) {
			bubble(t, nil, func(h *house) {
				h.uncertain("x", true)
				h.store.setAway(true)
				post := func(texts ...string) (requests []*evapi.Message, answers []chan evapi.Answer) {
					for _, text := range texts {
						room := "r@x.org"
						if strings.HasPrefix(text, "#create") {
							room = "chat-" + strings.TrimPrefix(text, "#create ") + "@x.org"
							text = "#create"
						}
						m := h.request("alice", room, text)
						requests, answers = append(requests, m), append(answers, h.send(m))
						synctest.Wait()
					}
					return requests, answers
				}
				requests, answers := post("x", "y", "#add carol", "#create other", "z")
				h.pass(takes)
				want := 200
				if takes > lateAfter {
					want = 503
					other := h.send(h.request("alice", "s@x.org", "#create"))
					synctest.Wait()
					if a := answer(other); a.Code != want {
						t.Errorf("another room meanwhile: %+v", a)
					}
				}
				h.store.setAway(false)
				h.store.set(nil)
				h.pass(time.Second)
				for i, ch := range answers {
					if a := answer(ch); a.Code != want {
						t.Errorf("request %d is answered %+v", i, a)
					}
				}
				for i, m := range requests {
					ch := h.send(h.copyOf(m))
					h.pass(time.Second)
					if a := answer(ch); a.Code != 200 {
						t.Errorf("request %d once more is answered %+v", i, a)
					}
				}
				sent := h.sentTo()
				sent = slices.DeleteFunc(sent, func(text string) bool { return strings.HasPrefix(text, "***") })
				if strings.Join(sent, " ") != "x y z" {
					t.Errorf("bob was sent %q", sent)
				}
				if d := h.store.dump(); !strings.Contains(d, "carol") || !strings.Contains(d, "chat-other") {
					t.Errorf("stored %s", d)
				}
			})
		})
	}
}

// Commands and what operators say have no less right to it.
func TestUncertainCommands(t *testing.T) {
	for _, stored := range []bool{true, false} {
		bubble(t, nil, func(h *house) {
			h.uncertain("carol", stored)
			join := h.post("carol", "r@x.org", "#join")
			h.pass(100 * time.Millisecond)
			h.store.set(nil)
			h.pass(time.Second)
			if a := answer(join); a.Code != 200 {
				t.Errorf("joining (stored %t): %+v", stored, a)
			}
			h.relay.take()
			h.uncertain("x", stored)
			failed := make(chan error, 1)
			go func() {
				failed <- h.e.Say(context.Background(), "sip:r@x.org", "x", "sip:alice@x.org")
			}()
			h.pass(100 * time.Millisecond)
			h.store.set(nil)
			if err := <-failed; err != nil {
				t.Errorf("saying (stored %t): %v", stored, err)
			}
			h.pass(time.Second)
			h.wantSent("x")
			if n := len(h.store.said[h.store.rooms["r@x.org"].Room.ID]); n != 1 {
				t.Errorf("%d messages are stored", n)
			}
		})
	}
}

// If the database refuses in the end what nobody knew of, it was not done: who could wait
// hears so, and who comes again is not answered by what never was.
func TestRefusedAfterUncertain(t *testing.T) {
	for _, takes := range []time.Duration{time.Second, 10 * time.Second} {
		bubble(t, nil, func(h *house) {
			h.uncertain("x", false)
			m := h.request("alice", "r@x.org", "x")
			first := h.send(m)
			h.pass(takes)
			h.store.set(func([]store.Change) (error, bool) { return errRefused, false })
			h.pass(time.Second)
			want := 500
			if takes > lateAfter {
				want = 503
			}
			if a := answer(first); a.Code != want {
				t.Errorf("after %v answered %+v", takes, a)
			}
			h.store.set(nil)
			h.pass(time.Second)
			again := h.send(h.copyOf(m))
			synctest.Wait()
			if a := answer(again); a.Code != 200 {
				t.Errorf("it is refused no more: %+v", a)
			}
			h.wantSent("x")
		})
	}
}

// The engine ends although nobody knows, and what was stored is known to the next one.
func TestStopWhileUncertain(t *testing.T) {
	bubble(t, nil, func(h *house) {
		h.uncertain("x", true)
		h.store.setAway(true)
		m := h.request("alice", "r@x.org", "x")
		h.send(m)
		h.pass(time.Second)
		h.close()
		h.store.setAway(false)
		h.store.set(nil)
		next := startHouse(t, h.store, nil)
		defer next.close()
		again := next.send(next.copyOf(m))
		next.pass(time.Second)
		if a := answer(again); a.Code != 200 {
			t.Errorf("answered %+v", a)
		}
		next.wantSent("x")
	})
}

// What only says how far somebody has come is written again, and is no row of its own.
func TestSigned(t *testing.T) {
	cursor, seen := store.Change{Op: store.PutCursor, Cursor: &store.CursorRow{}},
		store.Change{Op: store.PutSeen, Seen: &store.SeenRow{}}
	message := store.Change{Op: store.PutMessage, Message: &store.MessageRow{}}
	for _, tt := range []struct {
		changes []store.Change
		want    int
	}{
		{nil, 0}, {[]store.Change{cursor, {Op: store.PutProgress}, {Op: store.PutPlaces}, {Op: store.DeleteNote}}, 4},
		{[]store.Change{message, seen}, 2}, {[]store.Change{message}, 2}, {[]store.Change{cursor, {Op: store.PutMember}}, 3},
		{[]store.Change{{Op: store.PutNote}}, 2},
	} {
		got := signed(tt.changes)
		added := got[len(tt.changes):]
		if len(got) != tt.want || len(added) > 0 && (added[0].Op != store.PutSeen || added[0].Seen.Key == [16]byte{}) {
			t.Errorf("%v: %v", tt.changes, got)
		}
	}
	// Signs are no answers after a restart.
	kept := newMemStore()
	sign := signed([]store.Change{message})[1].Seen
	kept.answers[sign.Key] = *sign
	h := openHouse(t, kept, nil)
	for _, s := range h.e.shards {
		if len(s.dedupe.known) > 0 {
			t.Error("a sign is taken for an answer")
		}
	}
}
