package schema

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"imcd/engine/store"
)

// BenchmarkMessages measures a commit of messages of 100 bytes to 20 rooms, each
// with the answer that is remembered, as the engine makes them.
func BenchmarkMessages(b *testing.B) {
	for name, url := range durableURLs(b) {
		s := open(b, url, Options{Lease: &Lease{}})
		const rooms = 20
		for id := range rooms {
			commit(b, s, putRoomID(fmt.Sprint("r", id), int64(id+1)))
		}
		body := bytes.Repeat([]byte("x"), 100)
		n := 0
		for _, size := range []int{1, 200, 1000} {
			b.Run(fmt.Sprint(name, "/", size), func(b *testing.B) {
				for b.Loop() {
					var changes []store.Change
					for range size {
						seen := putSeen(0, 200, epoch)
						seen.Seen.Key = [16]byte{byte(n), byte(n >> 8), byte(n >> 16), byte(n >> 24)}
						changes = append(changes, putMessage(int64(n%rooms+1), uint64(n/rooms+1), body), seen)
						n++
					}
					commit(b, s, changes...)
				}
				b.ReportMetric(float64(size*b.N)/b.Elapsed().Seconds(), "messages/s")
			})
		}
	}
}

// BenchmarkCursors measures what the engine writes back: a cursor of one member
// of each of 200 rooms, and their progress.
func BenchmarkCursors(b *testing.B) {
	for name, url := range durableURLs(b) {
		s := open(b, url, Options{Lease: &Lease{}})
		var changes []store.Change
		for id := range int64(200) {
			room := fmt.Sprint("r", id)
			changes = append(changes, putRoomID(room, id+1), putMember(room, "a", 1), putMember(room, "b", 0))
		}
		commit(b, s, changes...)
		b.Run(name, func(b *testing.B) {
			seq := uint64(0)
			for b.Loop() {
				seq++
				changes = changes[:0]
				for id := range int64(200) {
					changes = append(changes, putCursor(id+1, "a", seq), putProgress(id+1, seq))
				}
				commit(b, s, changes...)
			}
		})
	}
}

// BenchmarkPrune measures a look at 100000 rooms that has nothing to do, and one
// that deletes 200 messages of as many rooms.
func BenchmarkPrune(b *testing.B) {
	for name, url := range durableURLs(b) {
		s := open(b, url, Options{})
		const rooms = 100000
		for first := 0; first < rooms; first += 5000 {
			var changes []store.Change
			for id := first; id < first+5000; id++ {
				changes = append(changes, putRoomID(fmt.Sprint("r", id), int64(id+1)), putMessage(int64(id+1), 1, []byte("x")))
			}
			commit(b, s, changes...)
		}
		limits := store.Limits{Messages: 1, Bytes: 1 << 20, Age: time.Hour, SeenAge: time.Minute}
		prune := func(b *testing.B, want int) {
			b.Helper()
			if n, err := s.Prune(testContext(b), limits, epoch); n != want || err != nil {
				b.Fatal(n, err)
			}
		}
		b.Run(name+"/nothing", func(b *testing.B) {
			for b.Loop() {
				prune(b, 0)
			}
		})
		b.Run(name+"/200", func(b *testing.B) {
			seq := uint64(1)
			for b.Loop() {
				b.StopTimer()
				seq++
				var changes []store.Change
				for id := range int64(200) {
					changes = append(changes, putMessage(id*500+1, seq, []byte("x")))
				}
				commit(b, s, changes...)
				b.StartTimer()
				prune(b, 200)
			}
		})
	}
}
