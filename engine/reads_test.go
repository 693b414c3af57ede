package engine

import (
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"imcd/engine/store"
	"imcd/evapi"
)

// slowHouse has room r of five, in which bob is offline and has missed a message, and a
// room for each of others, in which something has been said. A query of messages takes
// 20 ms, and there is one shard.
func slowHouse(t *testing.T, others ...string) *house {
	t.Helper()
	h := newHouse(t, func(c *Config) { c.MailboxSize, c.HashSize = 1<<14, 0 })
	h.want(<-h.post("alice", "r@x.org", "#create"), 200, 1)
	for _, user := range []string{"bob", "u1", "u2", "u3"} {
		h.want(<-h.post("alice", "r@x.org", "#add "+user), 200, 1)
	}
	h.answers("bob", result(404))
	h.want(<-h.post("alice", "r@x.org", "missed"), 200, 1)
	for _, user := range others {
		h.want(<-h.post(user, "of-"+user+"@x.org", "#create"), 200, 1)
		h.want(<-h.post(user, "of-"+user+"@x.org", "x"), 200, 1)
	}
	<-time.After(time.Second)
	h.relay.take()
	h.store.mu.Lock()
	h.store.pace = 20 * time.Millisecond
	clear(h.store.calls)
	h.store.mu.Unlock()
	return h
}

// sayInRoom says something in room r when bob registers there, and returns how long it
// takes until it is answered and until all have it, bob with what he has missed before.
func sayInRoom(h *house) (answer, last time.Duration) {
	h.t.Helper()
	h.answers("bob", result(200))
	began := time.Now()
	h.e.Registered("sip:bob@x.org")
	said := h.post("alice", "r@x.org", "now")
	got := map[string]bool{}
	for len(got) < 5 && time.Since(began) < 10*time.Minute {
		synctest.Wait()
		if len(said) > 0 {
			h.want(<-said, 200, 1)
			answer = time.Since(began)
		}
		for _, c := range h.relay.take() {
			if strings.Contains(c.body, "now") || strings.Contains(c.body, "missed") {
				got[c.to+c.body] = true
			}
		}
		last = time.Since(began)
		<-time.After(time.Millisecond)
	}
	if len(got) < 5 {
		h.t.Errorf("in ten minutes there are only the copies %v", got)
	}
	return answer, last
}

// TestAskingHoldsUpNobody: whoever asks for what was said, as fast as it can, has one read
// at a time, and in a room of five answers and copies come as if nobody asked, also to a
// member that registers and gets what it has missed.
func TestAskingHoldsUpNobody(t *testing.T) {
	var answerAlone, lastAlone time.Duration
	synctest.Test(t, func(t *testing.T) { answerAlone, lastAlone = sayInRoom(slowHouse(t)) })
	for _, command := range []string{"#history 1", "#seen", "#seen 5"} {
		t.Run(command, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := slowHouse(t, "mallory")
				var answers []chan evapi.Answer
				for range 5000 {
					answers = append(answers, h.post("mallory", "of-mallory@x.org", command))
				}
				synctest.Wait()
				if answer, last := sayInRoom(h); answer > 2*answerAlone || last > 2*lastAlone {
					t.Errorf("an answer takes %v and the last copy %v; if nobody asks, %v and %v",
						answer, last, answerAlone, lastAlone)
				}
				codes := map[int]int{}
				for _, ch := range answers {
					a := <-ch
					if codes[a.Code]++; a.Code != 200 && a.RetryAfter <= 0 {
						t.Fatalf("%d without Retry-After", a.Code)
					}
				}
				if codes[200] != 1 || codes[503] != questionRate.Count-1 || codes[480] != 5000-questionRate.Count {
					t.Errorf("answers by code: %v", codes)
				}
				<-time.After(time.Second)
				synctest.Wait()
				h.relay.take()
				h.want(<-h.post("mallory", "of-mallory@x.org", command), 200, 1)
				<-time.After(time.Second)
				synctest.Wait()
				if heard := h.heard(); len(heard) != 1 || strings.Contains(heard[0], "not answered") {
					t.Errorf("asked again later: %v", heard)
				}
			})
		})
	}
}

// TestOneQuestionAtATime: a user has one read, in all rooms together, and hears once why
// another is refused.
func TestOneQuestionAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := slowHouse(t, "mallory")
		h.want(<-h.post("mallory", "r@x.org", "#join"), 200, 1)
		synctest.Wait()
		h.relay.take()
		h.want(<-h.post("mallory", "r@x.org", "#history"), 200, 1)
		second, third := h.post("mallory", "of-mallory@x.org", "#history"), h.post("mallory", "of-mallory@x.org", "#seen")
		h.want(<-h.post("alice", "r@x.org", "#history"), 200, 1)
		synctest.Wait()
		h.wantHeard("mallory<of-mallory: *** Your last question")
		began := time.Now()
		h.want(<-second, 503, -149)
		h.want(<-third, 503, -159)
		if d := time.Since(began); d < lateTime || d > lateTime+tick {
			t.Errorf("they were refused after %v", d)
		}
		synctest.Wait()
		h.wantHeard("alice<r: Last messages", "mallory<r: Last messages")
		h.want(<-h.post("mallory", "of-mallory@x.org", "#seen"), 200, 1)
	})
}

// TestLateRefusals: a client that asks as fast as it is answered gets few answers. So many refusals wait; further
// ones are sent at once, as all are when the engine stops.
func TestLateRefusals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := slowHouse(t, "mallory")
		codes := map[int]int{}
		for began := time.Now(); time.Since(began) < 10*time.Second; {
			codes[(<-h.post("mallory", "of-mallory@x.org", "#history")).Code]++
		}
		if n := codes[200]; n < 15 || n > 120 || codes[480]+codes[503] > 40 {
			t.Errorf("answers by code in 10 s: %v", codes)
		}
		synctest.Wait()
		var answers []chan evapi.Answer
		for range 4 * maxLate {
			answers = append(answers, h.post("mallory", "of-mallory@x.org", "#history"))
		}
		synctest.Wait()
		wait := 0
		for _, ch := range answers {
			if len(ch) == 0 {
				wait++
			}
		}
		if wait != maxLate {
			t.Errorf("%d refusals wait, want %d", wait, maxLate)
		}
		h.close()
		for _, ch := range answers {
			if len(ch) == 0 {
				t.Fatal("no answer when the engine stopped")
			}
		}
	})
}

// TestReadsAreBounded: so many users may ask at a time, and operators have some of the
// places only. All places are free afterwards, however a read ended.
func TestReadsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := slowHouse(t)
		users := numbers(1, maxReads+10)
		for i, user := range users {
			users[i] = "u" + user
			h.want(<-h.post(users[i], "r@x.org", "#join"), 200, 1)
		}
		<-time.After(time.Second)
		h.store.mu.Lock()
		h.store.reads = make(chan struct{})
		h.store.mu.Unlock()
		operator := make(chan error, operatorReads+1)
		for range operatorReads + 1 {
			go func() {
				_, err := h.e.History(t.Context(), "sip:r@x.org", 1)
				operator <- err
			}()
		}
		select {
		case err := <-operator:
			var refused *Refused
			if !errors.As(err, &refused) || refused.Code != 503 {
				t.Errorf("one operator too many: %v", err)
			}
		case <-time.After(time.Second):
			t.Error("one operator too many has to wait")
		}
		for i, user := range users {
			code, rc := 200, 1
			if i >= maxReads-operatorReads {
				code, rc = 503, -149
			}
			a := <-h.post(user, "r@x.org", "#history")
			if h.want(a, code, rc); (code == 503) != (a.RetryAfter > 0) {
				t.Errorf("%d with Retry-After %v", code, a.RetryAfter)
			}
		}
		close(h.store.reads)
		for range operatorReads {
			if err := <-operator; err != nil {
				t.Error(err)
			}
		}
		<-time.After(readTimeout)
		synctest.Wait()
		if h.e.reads.mu.Lock(); h.e.reads.total != 0 || len(h.e.reads.open) != 0 {
			t.Errorf("%d places of %v are not given back", h.e.reads.total, h.e.reads.open)
		}
		h.e.reads.mu.Unlock()
	})
}

// TestReadsHaveADeadline: who asks hears within readTimeout that there is no answer, even
// behind many others whose reads take for ever.
func TestReadsHaveADeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := slowHouse(t, "u1", "u2", "u3", "u4")
		h.store.mu.Lock()
		h.store.pace = time.Hour
		h.store.mu.Unlock()
		for _, user := range []string{"u1", "u2", "u3", "u4"} {
			h.want(<-h.post(user, "of-"+user+"@x.org", "#history"), 200, 1)
		}
		<-time.After(readTimeout)
		synctest.Wait()
		h.wantHeard("u1<of-u1: *** The chat service cannot", "u2<", "u3<", "u4<of-u4: *** The chat service cannot")
		h.store.mu.Lock()
		defer h.store.mu.Unlock()
		if n := h.store.calls["begun"]; n != 1 {
			t.Errorf("%d queries began, of which all but one were too late", n)
		}
	})
}

// TestReadsDoNotWaitForMemory longer than they may take.
func TestReadsDoNotWaitForMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := slowHouse(t, "u1")
		h.e.held.pages.Add(h.e.held.limit / 2) // what may be read at a time
		h.want(<-h.post("u1", "of-u1@x.org", "#history"), 200, 1)
		<-time.After(readTimeout + capacityPoll)
		synctest.Wait()
		h.wantHeard("u1<of-u1: *** The chat service cannot")
		h.e.held.pages.Add(-h.e.held.limit / 2)
	})
}

// TestPlaceOfARefusedQuestion: what cannot be asked after all, as a change before it in its
// room is not stored, gives its place back.
func TestPlaceOfARefusedQuestion(t *testing.T) {
	for what, err := range map[string]error{"away": store.ErrUnavailable, "refused": errRefused} {
		t.Run(what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := slowHouse(t)
				gate := make(chan struct{})
				h.store.mu.Lock()
				h.store.gate = gate
				h.store.fail = func(c []store.Change) (error, bool) {
					if c[0].Op == store.PutMessage {
						return err, false
					}
					return nil, false
				}
				h.store.mu.Unlock()
				message := h.post("alice", "r@x.org", "not stored")
				synctest.Wait()
				history := h.post("alice", "r@x.org", "#history")
				joined := h.post("carol", "r@x.org", "#join")
				synctest.Wait()
				close(gate)
				<-message
				<-history
				<-joined
				<-time.After(time.Minute)
				synctest.Wait()
				h.e.reads.mu.Lock()
				defer h.e.reads.mu.Unlock()
				if open := maps.Clone(h.e.reads.open); len(open) != 0 {
					t.Errorf("places of %v are not given back", fmt.Sprint(open))
				}
			})
		})
	}
}

// TestJoiningGoesOnWithoutHistory: who joins while nothing more can be read is in all the
// same.
func TestJoiningGoesOnWithoutHistory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, func(c *Config) { c.HistoryOnJoin = 5 })
		h.want(<-h.post("alice", "r@x.org", "#create"), 200, 1)
		h.want(<-h.post("alice", "r@x.org", "x"), 200, 1)
		for range maxReads {
			if refused := h.e.reads.begin("somebody"); refused != nil {
				h.e.reads.open["somebody"].open = 0 // so that one has them all
				h.e.reads.begin("somebody")
			}
		}
		h.want(<-h.post("bob", "r@x.org", "#join"), 200, 1)
		synctest.Wait()
		h.wantHeard("alice<r: *** Room", "alice<r: *** bob has joined", "bob<r: *** You are in")
	})
}
