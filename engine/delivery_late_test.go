package engine

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"imcd/evapi"
)

// travel makes copies to users travel for some time: who calls what it returns
// lets that time pass, and those that were under way arrive.
func (h *house) travel(d time.Duration, users ...string) func() {
	for _, u := range users {
		h.answers(u, evapi.Result{})
	}
	return func() {
		copies := h.relay.take()
		<-time.After(d)
		for _, c := range copies {
			if user, _, _ := strings.Cut(strings.TrimPrefix(c.to, "sip:"), "@"); slices.Contains(users, user) {
				h.e.Result(evapi.Result{CallID: c.callID, Code: 200})
			}
		}
		synctest.Wait()
	}
}

// lateRoom is a room r of alice and others, in a bubble with a clock of its own.
func lateRoom(t *testing.T, others []string, change func(*Config), run func(h *house)) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, func(c *Config) {
			c.HashSize, c.ResultTimeout = 0, time.Minute
			if change != nil {
				change(c)
			}
		})
		h.want(h.say("alice", "r", "#create"), 200, 1)
		for _, u := range others {
			h.want(h.say("alice", "r", "#add "+u), 200, 1)
		}
		h.heard()
		run(h)
	})
}

// answerTo posts a message and gives the answer to it.
func (h *house) answerTo(text string) evapi.Answer {
	h.t.Helper()
	ch := h.post("alice", "r@x.org", text)
	synctest.Wait()
	select {
	case a := <-ch:
		return a
	default:
		h.t.Fatalf("no answer to %q", text)
		return evapi.Answer{}
	}
}

// TestLateRoom: more is said than can be delivered. Messages are refused once those
// before them come late, and accepted again when they come in time.
func TestLateRoom(t *testing.T) {
	for name, c := range map[string]struct {
		others      []string
		outstanding int
		log         int
		delay       time.Duration
		refuses     bool
	}{
		"each member at its pace":       {[]string{"bob", "carol"}, 100, 256, 5 * time.Second, true},
		"with too few copies at a time": {[]string{"bob", "carol", "dave", "eve"}, 2, 256, 5 * time.Second, true},
		"past the end of the log":       {[]string{"bob", "carol"}, 100, 3, 5 * time.Second, true},
		"without a limit":               {[]string{"bob", "carol"}, 100, 256, 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			lateRoom(t, c.others, func(cfg *Config) {
				cfg.MaxOutstanding, cfg.LogEntries, cfg.MaxDelay = c.outstanding, c.log, c.delay
			}, func(h *house) {
				step := h.travel(100*time.Millisecond, c.others...)
				rounds := len(c.others) / min(len(c.others), c.outstanding) // that one message takes
				codes := map[int]int{}
				for range 400 {
					for range 2 { // one can be delivered in the time
						a := h.answerTo("x")
						if codes[a.Code]++; a.Code == 503 && (a.RetryAfter != h.e.cfg.RetryAfter || a.RC != -209) {
							t.Fatalf("refused with %+v", a)
						}
					}
					for range rounds {
						step()
					}
				}
				if (codes[503] > 0) != c.refuses || codes[200] < 400 || len(codes) > 2 {
					t.Errorf("answers by code %v", codes)
				}
				if n := testutil.ToFloat64(h.e.metrics.shed); n != float64(codes[503]) {
					t.Errorf("%v counted, answers by code %v", n, codes)
				}
				end := time.Now()
				for h.e.held.waiting.Load() > 0 || h.e.credits.inUse() > 0 || !h.e.loader.idle() {
					step()
				}
				if oldest := time.Since(end); c.refuses && oldest > c.delay*3/2 {
					t.Errorf("what was accepted last came %v later", oldest)
				}
				if a := h.answerTo("again"); a.Code != 200 {
					t.Errorf("%+v when nothing waits", a)
				}
				step()
			})
		})
	}
}

// TestNotLate: what keeps one member from its messages is no reason to refuse more.
func TestNotLate(t *testing.T) {
	say := func(h *house, n int, d time.Duration, step func()) {
		for i := range n {
			if a := h.answerTo(fmt.Sprint(i)); a.Code != 200 {
				h.t.Fatalf("message %d after %v: %+v", i, time.Duration(i)*d, a)
			}
			<-time.After(d)
			step()
		}
	}
	others := []string{"bob", "carol"}
	t.Run("mute", func(t *testing.T) {
		lateRoom(t, others, nil, func(h *house) {
			h.answers("bob", evapi.Result{})
			say(h, 40, time.Second, synctest.Wait)
		})
	})
	t.Run("alone and mute", func(t *testing.T) {
		lateRoom(t, others[:1], nil, func(h *house) {
			h.answers("bob", evapi.Result{})
			say(h, 40, time.Second, synctest.Wait)
		})
	})
	t.Run("slow", func(t *testing.T) {
		lateRoom(t, others, nil, func(h *house) {
			say(h, 60, 0, h.travel(700*time.Millisecond, "bob")) // carol has it at once
		})
	})
	t.Run("alone and slow", func(t *testing.T) {
		lateRoom(t, others[:1], nil, func(h *house) {
			step := h.travel(1500*time.Millisecond, "bob")
			for range 30 {
				say(h, 2, 0, synctest.Wait)
				step()
			}
		})
	})
	t.Run("back after long", func(t *testing.T) {
		lateRoom(t, others[:1], nil, func(h *house) {
			h.answers("bob", result(404))
			say(h, 40, time.Second, synctest.Wait)
			step := h.travel(10*time.Millisecond, "bob")
			h.registers("bob")
			say(h, 60, 0, step)
		})
	})
	t.Run("Kamailio back after long", func(t *testing.T) {
		lateRoom(t, others[:1], nil, func(h *house) {
			step := h.travel(10*time.Millisecond, "bob")
			h.relay.set(func() { h.relay.down = true })
			say(h, 30, time.Second, synctest.Wait)
			h.relay.set(func() { h.relay.down = false })
			h.e.Wake()
			synctest.Wait()
			say(h, 60, 0, step)
		})
	})
	t.Run("database away", func(t *testing.T) {
		lateRoom(t, others[:1], func(c *Config) { c.CommitTimeout = 10 * time.Second }, func(h *house) {
			step := h.travel(100*time.Millisecond, "bob")
			gate := make(chan struct{})
			h.store.mu.Lock()
			h.store.gate = gate
			h.store.mu.Unlock()
			for i := range 6 { // the first ones wait longer than a message may be under way
				h.post("alice", "r@x.org", fmt.Sprint("while it is away ", i))
				<-time.After(h.e.cfg.lateAge() / 5)
			}
			close(gate)
			synctest.Wait()
			say(h, 60, 0, step)
		})
	})
	t.Run("commands", func(t *testing.T) {
		lateRoom(t, others[:1], nil, func(h *house) {
			step := h.travel(100*time.Millisecond, "bob")
			for h.answerTo("x").Code == 200 && h.answerTo("y").Code == 200 {
				step()
			}
			h.want(h.answerTo("#list"), 200, 1)
			h.want(h.answerTo("#add dave"), 200, 1)
		})
	})
}
