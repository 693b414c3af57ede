package schema

import (
	"bytes"
	"errors"
	"testing"

	"imcd/engine"
)

func putPlaces(room int64, places []byte) engine.Change {
	return engine.Change{Op: engine.PutPlaces, Places: &engine.PlacesRow{Room: room, Places: places}}
}

func TestPlacesComeBack(t *testing.T) {
	before := []engine.Change{putRoomID("r", 1), putMember("r", "a", 1), putRoomID("q", 2), putPlaces(1, []byte("old"))}
	long := bytes.Repeat(allBytes(), 300)
	tests := []struct {
		name    string
		changes []engine.Change
		want    []byte // of r; nil: none
	}{
		{"nothing new", []engine.Change{putMember("r", "b", 0)}, []byte("old")},
		{"others", []engine.Change{putPlaces(1, long), putPlaces(2, nil)}, long},
		{"the last of two", []engine.Change{putPlaces(1, []byte("new")), putPlaces(1, allBytes())}, allBytes()},
		{"with cursors and progress", []engine.Change{putPlaces(1, allBytes()), putCursor(1, "a", 0), putProgress(1, 0)}, allBytes()},
		{"with a message", []engine.Change{putMessage(1, 1, []byte("x")), putPlaces(1, allBytes())}, allBytes()},
		{"with a member", []engine.Change{putMember("r", "b", 0), putPlaces(1, allBytes())}, allBytes()},
		{"of no room", []engine.Change{putPlaces(9, []byte("x"))}, []byte("old")},
		{"destroy", []engine.Change{deleteRoom("r")}, nil},
		{"places, then destroy", []engine.Change{putPlaces(1, []byte("new")), deleteRoom("r")}, nil},
		{"destroy and create", []engine.Change{deleteRoom("r"), putRoomID("r", 3)}, nil},
		{"of a room before", []engine.Change{deleteRoom("r"), putRoomID("r", 3), putPlaces(1, []byte("late"))}, nil},
	}
	onEach(t, func(t *testing.T, url string) {
		s := open(t, url, Options{})
		for _, test := range tests {
			commit(t, s, deleteRoom("r"), deleteRoom("q"))
			prune(t, s)
			commit(t, s, before...)
			commit(t, s, test.changes...)
			for reopened, s := range []*Store{s, open(t, url, Options{})} {
				if got := load(t, s)[at("r").URI()].Places; !bytes.Equal(got, test.want) {
					t.Errorf("%s, stores reopened: %d: %d bytes %.20q, want %.20q", test.name, reopened, len(got), got, test.want)
				}
			}
			some, err := s.LoadRooms(testContext(t), []engine.Name{at("r")})
			if test.want != nil && (err != nil || len(some) != 1 || !bytes.Equal(some[0].Places, test.want)) {
				t.Errorf("%s: of this room alone: %v, %v", test.name, some, err)
			}
		}
		commit(t, s, deleteRoom("r"), deleteRoom("q"))
		prune(t, s)
		if n := count(t, s, "SELECT count(*) FROM imcd_places"); n != 0 {
			t.Errorf("%d rows of rooms that are gone", n)
		}
		for name, change := range map[string]engine.Change{"no row": {Op: engine.PutPlaces}, "no room": putPlaces(0, nil)} {
			if err := s.Commit(testContext(t), []engine.Change{change}); !errors.Is(err, ErrInvalid) {
				t.Errorf("%s: error %v", name, err)
			}
		}
	})
}
