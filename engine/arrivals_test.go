package engine

import (
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// TestSettle: who has just registered and is not found is tried again each second, and after a while as anybody who is
// not registered.
func TestSettle(t *testing.T) {
	for _, code := range []int{404, 480} {
		for _, found := range []bool{true, false} {
			t.Run(fmt.Sprint(code, found), func(t *testing.T) {
				bubble(t, func(c *Config) { c.OfflineRetry, c.SignEvery = time.Hour, time.Hour }, func(h *house) {
					h.answers("bob", result(code))
					h.alice("where are you?")
					h.pass(time.Minute)
					if n := len(h.to("bob")); n != 1 {
						t.Errorf("%d copies before the registration", n)
					}
					h.e.Registered("sip:bob@x.org")
					h.pass(2500 * time.Millisecond)
					if n := len(h.to("bob")); n != 3 {
						t.Errorf("%d copies within 2.5 s after the registration", n)
					}
					if found {
						h.answers("bob", result(200))
					}
					h.pass(time.Minute)
					if n := len(h.to("bob")); found && n != 1 || !found && n != 3 {
						t.Errorf("%d copies after that", n)
					}
				})
			})
		}
	}
}

// TestAnswerSettles: somebody registers and asks something, and gets the answer although Kamailio learns late where the
// phone is.
func TestAnswerSettles(t *testing.T) {
	for _, registered := range []bool{true, false} {
		bubble(t, nil, func(h *house) {
			if registered {
				h.e.Registered("sip:bob@x.org")
			}
			h.answers("bob", result(404))
			<-h.post("bob", "r@x.org", "#help")
			h.pass(1500 * time.Millisecond)
			h.answers("bob", result(200))
			h.relay.take()
			h.pass(time.Minute)
			if n := len(h.to("bob")); (n > 0) != registered {
				t.Errorf("registered: %t, and there are %d answers", registered, n)
			}
			h.wantWaiting(0, 0)
		})
	}
}

// TestArrivals compares with the times of all registrations.
func TestArrivals(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, now := newArrivals(settleFor), time.Unix(1000, 0)
		last := make(map[string]time.Time)
		user := rapid.SampledFrom([]string{"a@x", "b@x", "c@x"})
		t.Repeat(map[string]func(*rapid.T){
			"add": func(t *rapid.T) {
				u := user.Draw(t, "user")
				a.add(u, now)
				last[u] = now
			},
			"has": func(t *rapid.T) {
				u := user.Draw(t, "user")
				if want := !last[u].IsZero() && now.Sub(last[u]) < settleFor; a.has(u, now) != want {
					t.Fatalf("%s: %t", u, !want)
				}
			},
			"wait": func(t *rapid.T) {
				now = now.Add(time.Duration(rapid.IntRange(0, 7000).Draw(t, "ms")) * time.Millisecond)
			},
		})
	})
}

// TestArrivalsAreBounded: a storm of registrations costs a bounded memory.
func TestArrivalsAreBounded(t *testing.T) {
	a, now := newArrivals(settleFor), time.Unix(1000, 0)
	for i := range 3 * maxArrivals {
		a.add(fmt.Sprint(i, "@x"), now)
		now = now.Add(time.Microsecond)
	}
	if n := len(a.now) + len(a.old); n > 2*maxArrivals || n < maxArrivals {
		t.Errorf("%d are kept", n)
	}
}
