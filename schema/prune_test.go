package schema

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"imcd/engine/store"
)

func TestPruneKeepsToEachLimit(t *testing.T) {
	// Ten messages of 10 bytes, a second apart, the first at 1 s.
	tests := []struct {
		name   string
		limits store.Limits
		now    int    // s
		first  uint64 // that is left; 0: none
	}{
		{"none", store.Limits{}, 1000, 1},
		{"far away", store.Limits{Messages: 10, Bytes: 100, Age: time.Hour}, 100, 1},
		{"count", store.Limits{Messages: 3}, 0, 8},
		{"bytes", store.Limits{Bytes: 49}, 0, 7},
		{"bytes of less than one", store.Limits{Bytes: 9}, 0, 0},
		{"age", store.Limits{Age: 10 * time.Second}, 14, 4},
		{"all too old", store.Limits{Age: 10 * time.Second}, 100, 0},
		{"the strictest counts", store.Limits{Messages: 5, Bytes: 90, Age: 10 * time.Second}, 13, 6},
	}
	onEach(t, func(t *testing.T, url string) {
		s := open(t, url, Options{})
		for i, test := range tests {
			t.Run(test.name, func(t *testing.T) {
				id, room := int64(i+1), fmt.Sprint("r", i)
				changes := []store.Change{deleteRoom(fmt.Sprint("r", i-1)), putRoomID(room, id)}
				for seq := range uint64(10) {
					changes = append(changes, putMessage(id, seq+1, make([]byte, 10)))
				}
				commit(t, s, changes...)
				want := []uint64{}
				for seq := test.first; seq > 0 && seq <= 10; seq++ {
					want = append(want, seq)
				}
				now := epoch.Add(time.Duration(test.now) * time.Second)
				n, err := s.Prune(testContext(t), test.limits, now)
				if got := seqs(t, s, id); err != nil || n != 10-len(want) || !slices.Equal(got, want) {
					t.Errorf("deleted %d, %v; left %v, want %v", n, err, got, want)
				}
				if n, err := s.Prune(testContext(t), test.limits, now); n != 0 || err != nil {
					t.Errorf("the second time deleted %d, %v", n, err)
				}
				if seq := load(t, s)[at(room).URI()].Room.Seq; seq != 10 {
					t.Errorf("the room's number is %d", seq)
				}
				commit(t, s, putMessage(id, 11, nil))
			})
		}
	})
}

// TestPruneInManySteps has a room that takes several steps, more rooms than one
// step takes, and a room that is empty afterwards.
func TestPruneInManySteps(t *testing.T) {
	onEach(t, func(t *testing.T, url string) {
		s := open(t, url, Options{})
		changes := []store.Change{putRoomID("large", 1), putRoomID("empty", 2)}
		for seq := range uint64(2*pruneMessages + 100) {
			changes = append(changes, putMessage(1, seq+1, []byte("x")))
		}
		for i := range pruneRooms + 50 {
			id := int64(i + 10)
			changes = append(changes, putRoomID(fmt.Sprint("r", i), id))
			for seq := range uint64(15) {
				changes = append(changes, putMessage(id, seq+1, []byte("x")))
			}
		}
		commit(t, s, changes...)
		n, err := s.Prune(testContext(t), store.Limits{Messages: 2, Bytes: 1 << 40}, epoch)
		if want := 2*pruneMessages + 98 + 13*(pruneRooms+50); n != want || err != nil {
			t.Errorf("deleted %d, %v; want %d", n, err, want)
		}
		if n := count(t, s, "SELECT count(*) FROM imcd_messages"); n != 2*(pruneRooms+51) {
			t.Errorf("%d messages are left", n)
		}
		if n := count(t, s, "SELECT sum(bytes) FROM imcd_rooms"); n != 2*(pruneRooms+51) {
			t.Errorf("%d bytes are thought to be left", n)
		}
	})
}

func TestPruneOfAnswers(t *testing.T) {
	onEach(t, func(t *testing.T, url string) {
		s := open(t, url, Options{})
		var changes []store.Change
		for i := range 2*pruneSeen + 10 {
			c := putSeen(0, 200, epoch.Add(time.Duration(i)*time.Millisecond))
			c.Seen.Key = [16]byte{byte(i), byte(i >> 8)}
			changes = append(changes, c)
		}
		commit(t, s, changes...)
		limits := store.Limits{SeenAge: 10 * time.Millisecond}
		if n, err := s.Prune(testContext(t), limits, changes[len(changes)-1].Seen.At); n != 0 || err != nil {
			t.Errorf("%d messages, %v", n, err)
		}
		if n := count(t, s, "SELECT count(*) FROM imcd_seen"); n != 11 {
			t.Errorf("%d answers are left, want 11", n)
		}
	})
}

// TestPruneBesideCommits lets several prune while others write: none of them may
// fail, and the sums must be right in the end.
func TestPruneBesideCommits(t *testing.T) {
	onEach(t, func(t *testing.T, url string) {
		s := open(t, url, Options{})
		const writers, rooms, batches = 3, 6, 25
		ctx, stop := context.WithCancel(testContext(t))
		pruned := make(chan error, 2)
		for range cap(pruned) {
			go func() {
				for ctx.Err() == nil {
					if _, err := s.Prune(testContext(t), store.Limits{Messages: 3, Bytes: 40}, epoch); err != nil {
						pruned <- err
						return
					}
				}
				pruned <- nil
			}()
		}
		written := make(chan error, writers)
		for w := range writers {
			go func() { written <- writeRooms(testContext(t), s, w, rooms, batches) }()
		}
		for range writers {
			if err := <-written; err != nil {
				t.Error(err)
			}
		}
		stop()
		for range cap(pruned) {
			if err := <-pruned; err != nil {
				t.Error(err)
			}
		}
		if _, err := s.Prune(testContext(t), store.Limits{Messages: 3, Bytes: 40}, epoch); err != nil {
			t.Error(err)
		}
		if n := count(t, s, `SELECT count(*) FROM imcd_rooms r WHERE pruned <> seq - 3 OR seq <> 25 OR bytes <> 30
			OR (SELECT sum(length(body)) FROM imcd_messages WHERE room_id = r.id AND seq > r.pruned) <> r.bytes
			OR (SELECT count(*) FROM imcd_messages WHERE room_id = r.id) <> 3
			OR (SELECT at FROM imcd_messages WHERE room_id = r.id ORDER BY seq LIMIT 1) <> r.oldest`); n != 0 {
			t.Errorf("%d rooms of %d are not what they say", n, writers*rooms)
		}
	})
}

// writeRooms commits messages to rooms of its own, and destroys one each time.
func writeRooms(ctx context.Context, s *Store, writer, rooms, batches int) error {
	for batch := range batches {
		var changes []store.Change
		for r := range rooms {
			id := int64(writer*1000 + rooms - r) // not in the order in which Prune locks
			if batch == 0 {
				changes = append(changes, putRoomID(fmt.Sprint("r", id), id))
			}
			changes = append(changes, putMessage(id, uint64(batch+1), make([]byte, 10)))
		}
		short := int64(writer*1000 + 500 + batch)
		changes = append(changes, putRoomID(fmt.Sprint("short", writer), short))
		for seq := range uint64(6) {
			changes = append(changes, putMessage(short, seq+1, make([]byte, 10)))
		}
		if err := s.Commit(ctx, store.Fence{}, changes); err != nil {
			return err
		}
		if err := s.Commit(ctx, store.Fence{}, []store.Change{deleteRoom(fmt.Sprint("short", writer))}); err != nil {
			return err
		}
	}
	return nil
}
