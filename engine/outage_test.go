package engine

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"

	"imcd/engine/store"
	"imcd/evapi"
)

// TestErrorsBackOff: whatever is tried again after an error is tried less and less often,
// and the log says once that it fails, however long that lasts.
func TestErrorsBackOff(t *testing.T) {
	denied := errors.New("permission denied")
	// writes makes commits of some changes fail.
	writes := func(err error, ops ...store.Op) func(*memStore) {
		return func(s *memStore) {
			s.fail = func(changes []store.Change) (error, bool) {
				for i := range changes {
					for _, op := range ops {
						if changes[i].Op == op {
							s.calls["failed"]++
							return err, false
						}
					}
				}
				return nil, false
			}
		}
	}
	method := func(name string, err error) func(*memStore) {
		return func(s *memStore) { s.errs = map[string]error{name: err} }
	}
	const away, refused = 200, 60 // tries in ten minutes: one each 4 s, or each minute after the first ones
	const failed, refuses, unread = "commit failed", "refuses a change", "messages cannot be loaded"
	const unpruned = "old messages are not deleted"
	for _, tc := range []struct {
		name  string
		fails func(*memStore)
		count string // of the store's calls
		most  int    // in each shard that has a part in it
		lines []string
	}{
		{"cursors, away", writes(store.ErrUnavailable, store.PutCursor, store.PutProgress), "failed", away, []string{failed}},
		{"cursors, refused", writes(errRefused, store.PutCursor, store.PutProgress), "failed", 25 * refused,
			[]string{refuses}},
		{"cursors, denied", writes(denied, store.PutCursor, store.PutProgress), "failed", refused, []string{refuses}},
		{"places, away", writes(store.ErrUnavailable, store.PutPlaces), "failed", away, []string{failed}},
		{"places, denied", writes(denied, store.PutPlaces), "failed", refused, []string{refuses}},
		{"notes, away", writes(store.ErrUnavailable, store.DeleteNote), "failed", away, []string{failed}},
		{"notes, denied", writes(denied, store.DeleteNote), "failed", refused, []string{refuses}},
		{"what members miss, away", method("Messages", store.ErrUnavailable), "Messages", away, []string{unread}},
		{"what members miss, denied", method("Messages", denied), "Messages", refused, []string{unread}},
		{"cleaning up, away", method("Prune", store.ErrUnavailable), "Prune", 15, []string{unpruned}},
		{"cleaning up, denied", method("Prune", denied), "Prune", 15, []string{unpruned}},
		{"everything away", func(s *memStore) {
			s.away = true
			s.fail = func([]store.Change) (error, bool) { return store.ErrUnavailable, false }
		}, "Ping", 1250, []string{"database is away", failed, unread, unpruned}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h, log := loggingHouse(t, zerolog.WarnLevel, func(c *Config) {
					c.HashSize, c.OfflineRetry = 0, time.Hour
				})
				h.want(<-h.post("alice", "r@x.org", "#create"), 200, 1)
				for i := range 10 {
					user := fmt.Sprint("u", i)
					h.want(<-h.post(user, "r@x.org", "#join"), 200, 1)
					h.answers(user, result(404)) // and is behind from now on
				}
				for i := range 10 {
					h.want(<-h.post("alice", "r@x.org", fmt.Sprint("message ", i)), 200, 1)
				}
				h.answers("carol", result(404))
				h.want(<-h.post("alice", "r@x.org", "#add carol"), 200, 1)
				// She hears of it when she is there.
				h.want(<-h.post("alice", "r@x.org", "#remove carol"), 200, 1)
				h.want(<-h.post("dora", "r@x.org", "#join"), 200, 1)
				shown := h.copiesOf("alice", "r", "for dora")
				<-time.After(30 * time.Second)
				synctest.Wait()
				h.store.mu.Lock()
				tc.fails(h.store)
				clear(h.store.calls)
				h.store.mu.Unlock()
				m := h.request("dora", "r@x.org", imdn(shown["dora"], "displayed"), imdnHeader)
				h.e.Receipt(&evapi.Receipt{RURI: m.RURI, Request: m.Request}) // which moves her place
				for i := range 10 {
					h.answers(fmt.Sprint("u", i), result(200))
					h.e.Registered(fmt.Sprintf("sip:u%d@x.org", i))
					<-time.After(300 * time.Millisecond) // none of them may have tries of its own
				}
				h.answers("carol", result(200))
				h.e.Registered("sip:carol@x.org")
				<-h.post("alice", "r@x.org", "one more")
				<-time.After(10 * time.Minute)
				synctest.Wait()
				h.store.mu.Lock()
				n := h.store.calls[tc.count]
				h.store.mu.Unlock()
				t.Logf("%d tries", n)
				if n < 3 || n > tc.most {
					t.Errorf("%d tries in ten minutes, want 3 to %d", n, tc.most)
				}
				text := log.String()
				for _, line := range tc.lines {
					if n := strings.Count(text, line); n != 1 {
						t.Errorf("%d lines %q", n, line)
					}
				}
				if n := strings.Count(text, "\n"); n > len(tc.lines) {
					t.Errorf("%d lines:\n%.2000s", n, text)
				}
			})
		})
	}
}

// TestPatienceBeginsAgain: when what a member has missed could be loaded meanwhile, the next
// failure is the first again.
func TestPatienceBeginsAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := slowHouse(t) // bob is offline
		fails := func(err error) {
			h.store.mu.Lock()
			defer h.store.mu.Unlock()
			h.store.pace, h.store.errs = 0, map[string]error{"Messages": err}
		}
		fails(errors.New("permission denied"))
		h.e.Registered("sip:bob@x.org")
		<-time.After(10 * time.Minute) // it is tried each minute by now
		fails(nil)
		<-time.After(flushWaitRefused) // he gets a copy, which does not arrive
		fails(errors.New("permission denied"))
		h.registers("bob")
		fails(nil)
		h.answers("bob", result(200))
		h.relay.take()
		<-time.After(loadRetry + time.Millisecond)
		synctest.Wait()
		if heard := h.heard(); len(heard) == 0 {
			t.Errorf("after %v bob has nothing yet", loadRetry)
		}
	})
}

// TestAnotherOutageIsLogged: failures after a while without any are logged again.
func TestAnotherOutageIsLogged(t *testing.T) {
	var o outage
	start := time.Now()
	for i, tc := range []struct {
		after time.Duration // of the last failure
		err   error
		want  bool
	}{
		{0, store.ErrUnavailable, true}, {0, store.ErrUnavailable, false}, {flushWaitAway, store.ErrUnavailable, false},
		{time.Minute, store.ErrUnavailable, true}, {time.Minute, errRefused, false},
		{2*flushWaitRefused + 2*quietTime, errRefused, true},
	} {
		start = start.Add(tc.after)
		if got := o.failed(start, tc.err); got != tc.want {
			t.Errorf("failure %d is the first: %t", i, got)
		}
	}
}
