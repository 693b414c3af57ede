package schema

import (
	"bytes"
	"errors"
	"testing"

	"imcd/engine/store"
)

func putPlaces(room int64, places []byte) store.Change {
	return store.Change{Op: store.PutPlaces, Places: &store.PlacesRow{Room: room, Places: places}}
}

func TestPlacesComeBack(t *testing.T) {
	before := []store.Change{putRoomID("r", 1), putMember("r", "a", 1), putRoomID("q", 2), putPlaces(1, []byte("old"))}
	long := bytes.Repeat(allBytes(), 300)
	tests := []struct {
		name    string
		changes []store.Change
		want    []byte // of r; nil: none
	}{
		{"nothing new", []store.Change{putMember("r", "b", 0)}, []byte("old")},
		{"others", []store.Change{putPlaces(1, long), putPlaces(2, nil)}, long},
		{"the last of two", []store.Change{putPlaces(1, []byte("new")), putPlaces(1, allBytes())}, allBytes()},
		{"with cursors and progress", []store.Change{putPlaces(1, allBytes()), putCursor(1, "a", 0), putProgress(1, 0)},
			allBytes()},
		{"with a message", []store.Change{putMessage(1, 1, []byte("x")), putPlaces(1, allBytes())}, allBytes()},
		{"with a member", []store.Change{putMember("r", "b", 0), putPlaces(1, allBytes())}, allBytes()},
		{"of no room", []store.Change{putPlaces(9, []byte("x"))}, []byte("old")},
		{"destroy", []store.Change{deleteRoom("r")}, nil},
		{"places, then destroy", []store.Change{putPlaces(1, []byte("new")), deleteRoom("r")}, nil},
		{"destroy and create", []store.Change{deleteRoom("r"), putRoomID("r", 3)}, nil},
		{"of a room before", []store.Change{deleteRoom("r"), putRoomID("r", 3), putPlaces(1, []byte("late"))}, nil},
	}
	onEach(t, func(t *testing.T, url string) {
		s := open(t, url, Options{})
		for _, test := range tests {
			replay(t, s, before, test.changes)
			for reopened, s := range []*Store{s, open(t, url, Options{})} {
				if got := load(t, s)[at("r").URI()].Places; !bytes.Equal(got, test.want) {
					t.Errorf("%s, stores reopened: %d: %d bytes %.20q, want %.20q", test.name, reopened, len(got), got, test.want)
				}
			}
			some, err := s.LoadRooms(testContext(t), []store.Name{at("r")})
			if test.want != nil && (err != nil || len(some) != 1 || !bytes.Equal(some[0].Places, test.want)) {
				t.Errorf("%s: of this room alone: %v, %v", test.name, some, err)
			}
		}
		commit(t, s, deleteRoom("r"), deleteRoom("q"))
		prune(t, s)
		if n := count(t, s, "SELECT count(*) FROM imcd_places"); n != 0 {
			t.Errorf("%d rows of rooms that are gone", n)
		}
		for name, change := range map[string]store.Change{"no row": {Op: store.PutPlaces}, "no room": putPlaces(0, nil)} {
			if err := s.Commit(testContext(t), store.Fence{}, []store.Change{change}); !errors.Is(err, ErrInvalid) {
				t.Errorf("%s: error %v", name, err)
			}
		}
	})
}
