package engine

import (
	"context"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"imcd/engine/store"
)

// A transaction takes no more than batchChanges changes, unless one step alone has more;
// what loads a room again stands by itself.
func TestBatches(t *testing.T) {
	for name, c := range map[string]struct {
		steps []int // changes of each; -1: it loads a room again
		want  []int // steps in each batch
	}{
		"few":              {[]int{1, 1, 1}, []int{3}},
		"just so many":     {[]int{batchChanges - 1, 1, 1}, []int{2, 1}},
		"one too many":     {[]int{batchChanges - 1, 2, 1}, []int{1, 2}},
		"more in one step": {[]int{1, 3 * batchChanges, 1}, []int{1, 1, 1}},
		"loaded again":     {[]int{1, -1, 1}, []int{1, 1, 1}},
	} {
		t.Run(name, func(t *testing.T) {
			committer := stoppedEngine(t).committer
			for _, n := range c.steps {
				committer.put(&call{again: n < 0, changes: make([]store.Change, max(n, 0))})
			}
			for i, want := range c.want {
				if got := len(committer.take()); got != want {
					t.Errorf("batch %d has %d steps, want %d", i+1, got, want)
				}
				committer.settled()
			}
			if !committer.idle() {
				t.Error("something is left")
			}
		})
	}
}

// Whoever hears that a commit has failed finds that the database is known to be away: a
// request that follows at once is refused, and not put behind the failed one.
func TestAwayBeforeItIsHeard(t *testing.T) {
	e := stoppedEngine(t)
	e.store.(*memStore).away = true
	e.store.(*memStore).set(func([]store.Change) (error, bool) { return store.ErrUnavailable, false })
	s := e.shards[0]
	ctx, cancel := context.WithCancel(t.Context())
	s.inbox.mu.Lock() // the shard hears nothing yet
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		e.committer.commit(ctx, []*call{{shard: s, room: newRoom(store.Name{User: "r", Host: "x.org"}, 1),
			changes: make([]store.Change, 1)}})
	}()
	for end := time.Now().Add(10 * time.Second); e.committer.ready() == nil; runtime.Gosched() {
		if time.Now().After(end) {
			t.Error("the failure was reported, and changes are taken")
			break
		}
	}
	s.inbox.mu.Unlock()
	cancel()
	<-ended
}

// Rooms with a change that waited while another's commit failed are there again, too, once
// the database is back.
func TestRoomsOfLaterBatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, func(c *Config) { c.CommitTimeout = time.Hour })
		rooms := []string{"red", "blue", "green"}
		for _, room := range rooms {
			h.want(h.say("alice", room, "#create"), 200, 1)
		}
		h.pass(time.Second)
		gate := make(chan struct{})
		h.store.mu.Lock()
		h.store.gate, h.store.away = gate, true
		h.store.fail = func([]store.Change) (error, bool) { return store.ErrUnavailable, false }
		h.store.mu.Unlock()
		for _, room := range rooms {
			answer := h.post("bob", room+"@x.org", "#join")
			synctest.Wait() // the first is being written, the others wait for it
			defer func() { h.want(<-answer, 503, -49) }()
		}
		close(gate)
		h.pass(10 * time.Second)
		h.store.mu.Lock()
		h.store.away, h.store.fail = false, nil
		h.store.mu.Unlock()
		h.pass(10 * time.Second)
		for _, room := range rooms {
			answer := h.post("alice", room+"@x.org", "hello")
			synctest.Wait()
			select {
			case a := <-answer:
				h.want(a, 200, 1)
			default:
				t.Errorf("no answer in %s", room)
			}
		}
	})
}
