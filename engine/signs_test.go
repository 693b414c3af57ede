package engine

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"imcd/engine/store"
	"imcd/evapi"
)

// Somebody who was away for one message, and of whose registration nothing tells, has
// live messages within sign_every of the next, whatever it was away by.
func TestMessageIsASign(t *testing.T) {
	for _, away := range []int{0, 404, 477, 408, 480} {
		t.Run(fmt.Sprint(away), func(t *testing.T) {
			bubble(t, nil, func(h *house) {
				h.answers("bob", result(away))
				h.says("0")
				h.pass(3 * time.Minute)
				h.answers("bob", result(200))
				h.sentTo()
				h.says("1")
				h.pass(2 * time.Second)
				h.says("2")
				h.pass(8 * time.Second)
				want := "0 1 2"
				if away == 0 {
					// A copy may have been under way that nobody answers: then the next
					// message after its end is the sign.
					h.pass(16 * time.Second)
					h.says("3")
					h.pass(4 * time.Second)
					want += " 3"
				}
				if got := strings.Join(h.sentTo(), " "); got != want {
					t.Errorf("bob was sent %s, want %s", got, want)
				}
			})
		})
	}
}

// Not before a Retry-After, and rarely if somebody is there.
func TestNoSign(t *testing.T) {
	bubble(t, func(c *Config) { c.RetryMax = time.Hour }, func(h *house) {
		h.answers("bob", evapi.Result{Code: 503, RetryAfter: time.Minute})
		h.says("0")
		h.sentTo()
		for range 10 {
			h.pass(5 * time.Second)
			h.says("more")
		}
		h.wantSent()
		h.answers("bob", result(486))
		h.pass(10 * time.Minute)
		h.sentTo()
		for range 12 {
			h.pass(5 * time.Second)
			h.says("more")
		}
		if n := len(h.sentTo()); n < 1 || n > 3 {
			t.Errorf("somebody busy was tried %d times in a minute", n)
		}
	})
}

// A request of somebody who could not be reached, to any room, is a reason to try at
// once, at most once in sign_every.
func TestRequestIsASign(t *testing.T) {
	bubble(t, nil, func(h *house) {
		h.want(h.say("carol", "other", "#create"), 200, 1)
		h.answers("bob", result(480))
		h.says("0")
		h.pass(time.Minute)
		h.sentTo()
		for range 12 {
			h.post("bob", "other@x.org", "hello")
			h.pass(500 * time.Millisecond)
		}
		n := 0
		for _, text := range h.sentTo() {
			if text == "0" {
				n++
			}
		}
		if n != 2 {
			t.Errorf("tried %d times in 6 s, want 2", n)
		}
		h.answers("bob", result(200))
		h.pass(3 * time.Second)
		h.post("bob", "r@x.org", "I am back")
		synctest.Wait()
		h.wantSent("0")
		if n := h.e.signs.some.Load(); n != 0 {
			t.Errorf("%d users are listened for", n)
		}
	})
}

// A request while a copy is under way that is not answered lets that go again as soon as
// it has failed, and not before: the device may have it, and be slow.
func TestRequestUnderWay(t *testing.T) {
	bubble(t, nil, func(h *house) {
		h.answers("bob", evapi.Result{})
		h.says("0")
		h.pass(5 * time.Second)
		h.answers("bob", result(200))
		h.post("bob", "r@x.org", "I am back")
		synctest.Wait()
		h.wantSent("0")
		h.pass(10*time.Second + 2*tick) // the first try has no outcome
		h.wantSent("0")
		h.quiet()
	})
}

// A slow phone is not given an answer twice because its user types meanwhile.
func TestRequestDoesNotRepeatAnswers(t *testing.T) {
	bubble(t, nil, func(h *house) {
		h.answers("bob", evapi.Result{})
		h.post("bob", "r@x.org", "#list")
		h.pass(3 * time.Second)
		if n := len(h.sentTo()); n != 1 {
			t.Fatalf("%d copies of an answer", n)
		}
		h.post("bob", "r@x.org", "hello")
		synctest.Wait()
		h.wantSent()
	})
}

// TestProbesAreBounded: a room in which nearly all are away costs little, and each of
// them is tried in its turn.
func TestProbesAreBounded(t *testing.T) {
	const members, minutes = 1000, 2
	bubble(t, nil, func(h *house) {
		h.relay.set(func() {
			for i := range members {
				h.relay.codes[fmt.Sprint("u", i)] = result(404)
			}
		})
		for i := range members {
			h.post(fmt.Sprint("u", i), "r@x.org", "#join")
		}
		synctest.Wait()
		h.says("0")
		h.pass(time.Minute)
		h.relay.take()
		tried := map[string]bool{}
		n := 0
		for range minutes * 60 {
			h.says("more")
			h.pass(time.Second)
			for _, c := range h.relay.take() {
				if strings.HasPrefix(c.to, "sip:u") {
					n++
					tried[c.to] = true
				}
			}
		}
		if most := (minutes*60 + 1) * probesRoom; n > most || n < most/2 {
			t.Errorf("%d tries, want at most %d and not many fewer", n, most)
		}
		if len(tried) < members-1 {
			t.Errorf("%d of %d were tried", len(tried), members)
		}
	})
}

// TestSilentProbesAreBounded: those who do not answer at all keep few places.
func TestSilentProbesAreBounded(t *testing.T) {
	const members = 300
	bubble(t, func(c *Config) { c.HashSize = 0; c.RetryMin, c.RetryMax = time.Hour, time.Hour }, func(h *house) {
		for i := range members {
			h.post(fmt.Sprint("u", i), "r@x.org", "#join")
		}
		h.pass(time.Second)
		h.relay.set(func() {
			for i := range members {
				h.relay.codes[fmt.Sprint("u", i)] = evapi.Result{}
			}
		})
		h.says("0")
		h.pass(time.Minute)
		most := 0
		for range 120 {
			h.says("more")
			h.pass(250 * time.Millisecond)
			most = max(most, h.e.credits.inUse())
		}
		if most > probesOpen || most < probesOpen/2 {
			t.Errorf("%d copies are under way to those who do not answer, want %d", most, probesOpen)
		}
	})
}

// TestSignsAreForgotten: who is kept only because it was heard lately goes.
func TestSignsAreForgotten(t *testing.T) {
	s := newSigns()
	now := time.Now()
	for i := range 10 * keptSigns {
		user := store.Name{User: fmt.Sprint("u", i), Host: "x.org"}
		s.await(user.Key())
		if !s.heard(user, now, time.Second) || s.heard(user, now, time.Second) {
			t.Fatal("not heard once")
		}
		s.forget(user.Key())
	}
	if n := len(s.users); n > keptSigns+1 || s.some.Load() != 0 {
		t.Errorf("%d users are kept, of whom %d wait", n, s.some.Load())
	}
}
