package schema

import (
	"errors"
	"fmt"
	"sync"
	"testing"

	"imcd/engine/store"
	"imcd/schema/schematest"
)

// TestBehindPgBouncer: a pooler that gives each transaction another connection of the
// server changes nothing, and a second imcd is refused through it, too.
func TestBehindPgBouncer(t *testing.T) {
	t.Parallel()
	pg := schematest.New(t, schematest.Options{})
	if err := pg.CreateDatabase("imcd"); err != nil {
		t.Fatal(err)
	}
	pool := schematest.NewPgBouncer(t, pg)
	s := open(t, pool.URL("imcd"), leased())
	const rooms, messages = 4, 25
	for id := range int64(rooms) {
		commit(t, s, putRoomID(fmt.Sprint("r", id+1), id+1), putMember(fmt.Sprint("r", id+1), "a", 1))
	}
	// Several at a time, so that the pooler has connections to choose from. An engine has one
	// commit at a time.
	var one sync.Mutex
	var all sync.WaitGroup
	for id := range int64(rooms) {
		all.Go(func() {
			for seq := range uint64(messages) {
				one.Lock()
				err := s.Commit(testContext(t), nextFence(t, s), []store.Change{putMessage(id+1, seq+1, nil),
					putSeen(byte(id)*messages+byte(seq), 200, epoch)})
				one.Unlock()
				if err != nil {
					t.Error(err)
				}
				if _, err := s.Messages(testContext(t), id+1, 0, 10); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	for _, url := range []string{pool.URL("imcd"), pg.URL("imcd")} {
		if err := refused(t, url); !errors.Is(err, ErrHeld) {
			t.Error(err)
		}
	}
	for id := range int64(rooms) {
		if got := seqs(t, s, id+1); len(got) != messages {
			t.Errorf("room %d has messages %v", id+1, got)
		}
	}
	f := nextFence(t, s)
	freeze(s)
	next := open(t, pool.URL("imcd"), leased())
	owns(t, next)
	if err := s.Commit(testContext(t), f, []store.Change{putMessage(1, messages+1, nil)}); !errors.Is(err, ErrDeposed) {
		t.Error(err)
	}
	commit(t, next, putMessage(1, messages+1, nil), putSeen(255, 200, epoch))
}
