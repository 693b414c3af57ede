package schema

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"testing"

	"imcd/engine/store"
	"imcd/schema/schematest"
)

// BenchmarkCommit measures a commit that waits for the disk, as in production:
// joins to existing rooms.
func BenchmarkCommit(b *testing.B) {
	for name, url := range durableURLs(b) {
		for _, size := range []int{1, 500} {
			b.Run(fmt.Sprint(name, "/", size), func(b *testing.B) {
				s := open(b, url, Options{})
				commit(b, s, putRoom("r", 0), putMember("r", "owner", 1))
				user := 0
				for b.Loop() {
					changes := make([]store.Change, size)
					for i := range changes {
						user++
						changes[i] = putMember("r", fmt.Sprint("u", user), 0)
					}
					commit(b, s, changes...)
				}
				b.StopTimer()
				commit(b, s, deleteRoom("r"))
			})
		}
	}
}

// BenchmarkLoad measures a start with 100000 members, without cursors and with a
// cursor of each, and what destroying one room costs then.
func BenchmarkLoad(b *testing.B) {
	for name, url := range durableURLs(b) {
		s := open(b, url, Options{})
		fillRooms(b, s, 2000, 50)
		s = open(b, url, Options{}) // adds the index
		start := func(b *testing.B) {
			for b.Loop() {
				members := 0
				if err := s.Load(context.Background(), store.Part{}, func(r store.RoomState) error {
					members += len(r.Members)
					return nil
				}); err != nil || members != 100000 {
					b.Fatal(members, err)
				}
			}
			b.ReportMetric(float64(waiting(b, s))/100000, "waiting-B/member")
		}
		b.Run(name+"/100000", start)
		fillCursors(b, s, 2000, 50)
		b.Run(name+"/cursors", start)
		b.Run(name+"/destroy", func(b *testing.B) {
			room := 0
			for b.Loop() {
				room++
				commit(b, s, deleteRoom(fmt.Sprint("room", room)))
			}
		})
	}
}

// waiting is how many bytes a Load holds when all has been read and the first room
// is handed on.
func waiting(b *testing.B, s *Store) int64 {
	enough := errors.New("enough")
	held := -inUse()
	if err := s.Load(context.Background(), store.Part{},
		func(store.RoomState) error { held += inUse(); return enough }); !errors.Is(err, enough) {
		b.Fatal(err)
	}
	return held
}

func inUse() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

func durableURLs(b *testing.B) map[string]string {
	pg := schematest.New(b, schematest.Options{Fsync: true})
	return map[string]string{"sqlite": "sqlite://" + filepath.Join(b.TempDir(), "x.db"), "postgres": pg.URL("postgres")}
}

func fillRooms(b *testing.B, s *Store, rooms, members int) {
	for first := 0; first < rooms; first += 100 {
		var changes []store.Change
		for r := first; r < min(first+100, rooms); r++ {
			room := fmt.Sprint("room", r)
			changes = append(changes, putRoom(room, 0))
			for m := range members {
				changes = append(changes, putMember(room, fmt.Sprint("user", m), 0))
			}
		}
		commit(b, s, changes...)
	}
}

// fillCursors gives the rooms of fillRooms ids, and each member a cursor.
func fillCursors(b *testing.B, s *Store, rooms, members int) {
	for first := 0; first < rooms; first += 100 {
		var changes []store.Change
		for r := first; r < min(first+100, rooms); r++ {
			changes = append(changes, putRoomID(fmt.Sprint("room", r), int64(r+1)))
			for m := range members {
				changes = append(changes, putCursor(int64(r+1), fmt.Sprint("user", m), 1))
			}
		}
		commit(b, s, changes...)
	}
}
