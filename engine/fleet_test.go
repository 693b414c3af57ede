package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"imcd/engine/store"
	"imcd/evapi"
)

// roomShard is the shard of room r.
var roomShard = int64(store.Hash("r@x.org") % fleetShards)

// twoEngines is a world with two engines, of which the first has everything, and a room r with alice and bob.
func twoEngines(t *testing.T, test func(w *fleetWorld, a, b *fleetEngine)) {
	synctest.Test(t, func(t *testing.T) {
		w := newFleetWorld(t)
		a, b := w.start(), w.start()
		defer w.end()
		w.takeOver(nil, a)
		w.must(w.say("alice", "r", "#create"))
		w.must(w.say("bob", "r", "#join"))
		test(w, a, b)
	})
}

// move lets a hand the shard of r over to an engine.
func (w *fleetWorld) move(a *fleetEngine, to int64) error {
	done := make(chan error, 1)
	a.moves <- handOver{[]store.Move{{Shard: roomShard, To: to}}, done}
	return <-done
}

// copiesTo are the Call-IDs and texts of what a user has got.
func (w *fleetWorld) copiesTo(user, text string) (ids []string) {
	for _, c := range w.relay.copies {
		if strings.HasPrefix(c.to, "sip:"+user+"@") && strings.Contains(c.body, text) {
			ids = append(ids, c.callID)
		}
	}
	return ids
}

// TestHandOverWhileCopiesAreUnderWay: a copy that has no outcome holds a move up for a moment only. The new owner
// sends it again under the same Call-ID, and the old one knows nothing of the room any more.
func TestHandOverWhileCopiesAreUnderWay(t *testing.T) {
	twoEngines(t, func(w *fleetWorld, a, b *fleetEngine) {
		a.relay.set(func() { a.relay.codes["bob"] = evapi.Result{} })
		w.must(w.say("alice", "r", "hello"))
		began := time.Now()
		if err := w.move(a, b.store.id); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took < landTime || took > 2*landTime {
			t.Errorf("it took %v", took)
		}
		w.must(w.say("alice", "r", "again"))
		if ids := w.copiesTo("bob", "hello"); len(ids) != 2 || ids[0] != ids[1] {
			t.Errorf("the copies are %v", ids)
		}
		if ids := w.copiesTo("bob", "again"); len(ids) != 1 {
			t.Errorf("the copies of the next message are %v", ids)
		}
		a.e.Result(evapi.Result{CallID: w.copiesTo("bob", "hello")[0], Code: 200}) // at last
		var refused *Refused
		if err := a.e.DestroyRoom(context.Background(), "sip:r@x.org"); !errors.As(err, &refused) || refused.Code != 503 {
			t.Errorf("an operator gets %v", err)
		}
		if _, err := a.e.Members(context.Background(), "sip:r@x.org"); !errors.Is(err, ErrElsewhere) {
			t.Errorf("a query gets %v", err)
		}
		if m, err := b.e.Members(context.Background(), "sip:r@x.org"); err != nil || m.Count != 2 {
			t.Errorf("the members are %v, %v", m, err)
		}
		if n := a.e.credits.inUse(); n != 0 {
			t.Errorf("%d copies are under way", n)
		}
	})
}

// TestHandOverWhileDevicesAreOwed: what bob has just taken does not come again from the new owner, although the
// database had yet to learn that other devices may be owed it.
func TestHandOverWhileDevicesAreOwed(t *testing.T) {
	twoEngines(t, func(w *fleetWorld, a, b *fleetEngine) {
		a.relay.set(func() { a.relay.codes["bob"] = evapi.Result{Code: 480} })
		w.must(w.say("alice", "r", "hello"))
		<-time.After(time.Second)
		a.relay.set(func() { delete(a.relay.codes, "bob") })
		a.e.Registered("sip:bob@x.org")
		synctest.Wait()
		if err := w.move(a, b.store.id); err != nil {
			t.Fatal(err)
		}
		<-time.After(time.Minute)
		if ids := w.copiesTo("bob", "hello"); len(ids) != 2 { // with the one that he refused
			t.Errorf("the copies are %v", ids)
		}
	})
}

// TestHandOverWaitsForCommits: a request whose commit is under way is answered by the engine that has it, and its
// message is sent once.
func TestHandOverWaitsForCommits(t *testing.T) {
	twoEngines(t, func(w *fleetWorld, a, b *fleetEngine) {
		w.freeze(a)
		a.relay.set(func() { a.relay.down = false })
		q := w.say("alice", "r", "hello")
		synctest.Wait()
		done := make(chan error, 1)
		go func() { done <- w.move(a, b.store.id) }()
		<-time.After(settleTime / 2)
		w.wake(a)
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		if w.listen(); q.code != 200 {
			t.Errorf("it is answered %d", q.code)
		}
		<-time.After(time.Second)
		if ids := w.copiesTo("bob", "hello"); len(ids) != 1 {
			t.Errorf("the copies are %v", ids)
		}
	})
}

// TestHandOverInVain: the engine goes on with rooms that it cannot hand over.
func TestHandOverInVain(t *testing.T) {
	for what, c := range map[string]struct {
		prepare func(w *fleetWorld, a, b *fleetEngine)
		want    error
	}{
		"the other one is gone": {func(w *fleetWorld, a, b *fleetEngine) { w.takeOver(b, a) }, store.ErrInvalid},
		"a commit does not end": {func(w *fleetWorld, a, b *fleetEngine) {
			w.freeze(a)
			w.say("alice", "r", "before")
			synctest.Wait()
			time.AfterFunc(settleTime+100*time.Millisecond, func() { w.wake(a) })
		}, errBusy},
	} {
		t.Run(what, func(t *testing.T) {
			twoEngines(t, func(w *fleetWorld, a, b *fleetEngine) {
				c.prepare(w, a, b)
				if err := w.move(a, b.store.id); !errors.Is(err, c.want) {
					t.Errorf("the error is %v", err)
				}
				<-time.After(time.Second)
				w.must(w.say("alice", "r", "hello"))
				<-time.After(time.Second)
				if ids := w.copiesTo("bob", "hello"); len(ids) != 1 {
					t.Errorf("the copies are %v", ids)
				}
				if owned := w.fleet.owned(a.store.id).Shards; !slices.Contains(owned, roomShard) {
					t.Errorf("it owns %v", owned)
				}
			})
		})
	}
}

// TestHandOverOfADeposed: an engine that learns by a hand-over that it was replaced does not wait for an answer that
// nobody gives: who ends it asks it what it owns.
func TestHandOverOfADeposed(t *testing.T) {
	twoEngines(t, func(w *fleetWorld, a, b *fleetEngine) {
		w.takeOver(a, b)
		moved := make(chan error, 1)
		go func() { moved <- w.move(a, b.store.id) }()
		select {
		case err := <-moved:
			if !errors.Is(err, store.ErrDeposed) {
				t.Errorf("the error is %v", err)
			}
			a.e.Owned()
		case <-time.After(time.Hour):
			t.Error("it waits for ever")
		}
		<-time.After(time.Second)
		w.must(w.say("alice", "r", "hello"))
	})
}

// TestHandOverOfOthers: nobody hands over the shards of others.
func TestHandOverOfOthers(t *testing.T) {
	twoEngines(t, func(w *fleetWorld, a, b *fleetEngine) {
		if err := w.move(b, a.store.id); err == nil {
			t.Error("it has handed over a shard of another engine")
		}
		w.must(w.say("alice", "r", "hello"))
	})
}

// TestOwnAgain: an engine that could not load its rooms hands requests back, and can try it again.
func TestOwnAgain(t *testing.T) {
	twoEngines(t, func(w *fleetWorld, a, b *fleetEngine) {
		w.fleet.mu.Lock()
		w.fleet.loadErr = fmt.Errorf("%w: for now", store.ErrUnavailable)
		w.fleet.mu.Unlock()
		if err := w.move(a, b.store.id); err != nil {
			t.Fatal(err)
		}
		q := w.say("alice", "r", "hello")
		<-time.After(time.Second)
		if w.listen(); q.code != 0 {
			t.Errorf("it is answered %d by nobody", q.code)
		}
		w.fleet.mu.Lock()
		w.fleet.loadErr = nil
		w.fleet.mu.Unlock()
		<-time.After(time.Second)
		if w.listen(); q.code != 200 {
			t.Errorf("it is answered %d", q.code)
		}
		if rooms := len(b.e.shardOf(store.Name{User: "r", Host: "x.org"}).rooms); rooms != 1 {
			t.Errorf("it has %d rooms", rooms)
		}
	})
}

// TestRoomsOfAFleet: the list of rooms shows those of all engines, at any of them.
func TestRoomsOfAFleet(t *testing.T) {
	twoEngines(t, func(w *fleetWorld, a, b *fleetEngine) {
		w.must(w.say("alice", "hidden", "#create private"))
		other := "s"
		for store.Hash(other+"@x.org")%fleetShards == uint32(roomShard) {
			other += "s"
		}
		w.must(w.say("bob", other, "#create"))
		if err := w.move(a, b.store.id); err != nil {
			t.Fatal(err)
		}
		for _, c := range []struct {
			user, at string
			rooms    int
		}{{"alice", "r", 3}, {"alice", other, 3}, {"bob", "r", 2}, {"bob", other, 2}} {
			w.relay.set(func() { w.relay.copies = nil })
			w.must(w.say(c.user, c.at, "#rooms"))
			<-time.After(time.Second)
			if ids := w.copiesTo(c.user, fmt.Sprintf("%d rooms", c.rooms)); len(ids) != 1 {
				t.Errorf("%s at %s gets %v", c.user, c.at, w.relay.copies)
			}
		}
		a.failing.Store(true)
		q := w.say("bob", other, "#rooms")
		<-time.After(time.Second)
		if w.listen(); q.code == 200 {
			t.Error("a list that is not complete is shown")
		}
	})
}

// TestRoomsPerUserOfAFleet: rooms at other engines count for the limit.
func TestRoomsPerUserOfAFleet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newFleetWorld(t)
		w.maxRooms = 2
		a, b := w.start(), w.start()
		defer w.end()
		w.takeOver(nil, a)
		w.must(w.say("alice", "r", "#create"))
		if err := w.move(a, b.store.id); err != nil {
			t.Fatal(err)
		}
		for _, c := range []struct {
			room string
			code int
		}{{"s1", 200}, {"s2", 403}, {"s3", 403}} {
			q := w.say("alice", c.room, "#create")
			<-time.After(time.Second)
			if w.listen(); q.code != c.code {
				t.Errorf("%s is answered %d, want %d", c.room, q.code, c.code)
			}
		}
		w.must(w.say("bob", "s2", "#create"))
		if n := len(a.e.ledger.elsewhere); n != 2 {
			t.Errorf("%d users are remembered", n)
		}
		for i := range maxCounts + 1 {
			a.e.ledger.remember(fmt.Sprint("u", i), 1, time.Now())
		}
		if n := len(a.e.ledger.elsewhere); n > maxCounts {
			t.Errorf("%d users are remembered", n)
		}
	})
}
