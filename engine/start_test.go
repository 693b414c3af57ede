package engine

import (
	"fmt"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"imcd/engine/store"
)

// loadedRoom is a room as a Store hands it on.
func loadedRoom(room string, members int) store.RoomState {
	state := store.RoomState{Room: store.RoomRow{Name: store.Name{User: room, Host: "x.org"}}}
	for i := range members {
		state.Members = append(state.Members, store.MemberRow{Room: state.Room.Name,
			User: store.Name{User: fmt.Sprint("User", i), Host: "x.org"}})
	}
	return state
}

func stoppedEngine(t testing.TB) *Engine {
	e, err := New(DefaultConfig(), newMemStore(), &fakeRelay{}, prometheus.NewRegistry(), zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func TestLoadedMembersAreFound(t *testing.T) {
	for _, n := range []int{0, 1, indexFrom - 1, indexFrom, 3 * indexFrom} {
		e := stoppedEngine(t)
		state := loadedRoom("r", n)
		s := e.shardOf(state.Room.Name)
		s.install(state)
		r := s.rooms[state.Room.Name.Key()]
		if len(r.order) != n || r.followers != n {
			t.Fatalf("%d members, %d of them follow, want %d", len(r.order), r.followers, n)
		}
		r.add(store.Name{User: "late", Host: "x.org"}, 0)
		for i, m := range r.order {
			if r.get(m.key) != m {
				t.Errorf("member %d of %d is not found", i, n)
			}
			if i < n && (m.name() != state.Members[i].User || m.key != state.Members[i].User.Key()) {
				t.Errorf("member %d is %v with key %q", i, m.name(), m.key)
			}
		}
		for len(r.order) > 0 {
			m := r.order[0]
			if r.drop(m); r.get(m.key) != nil {
				t.Errorf("%s is found although it has left", m.key)
			}
		}
	}
}

// BenchmarkInstall is what a start costs beside the database, by the size of
// rooms.
func BenchmarkInstall(b *testing.B) {
	const members = 10000
	for _, size := range []int{10, 100, members} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			var states []store.RoomState
			for i := range members / size {
				states = append(states, loadedRoom(fmt.Sprint("room", i), size))
			}
			b.ReportAllocs()
			for b.Loop() {
				e := stoppedEngine(b)
				for _, state := range states {
					e.shardOf(state.Room.Name).install(state)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*members), "ns/member")
		})
	}
}
