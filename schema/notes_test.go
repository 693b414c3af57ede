package schema

import (
	"bytes"
	"errors"
	"fmt"
	"testing"
	"time"

	"imcd/engine/store"
)

func putNote(id int64, user string, body []byte, when time.Time) store.Change {
	return store.Change{Op: store.PutNote, Note: &store.NoteRow{ID: id, Room: at("r"), User: at(user), Body: body,
		At: when}}
}

func deleteNote(id int64) store.Change {
	return store.Change{Op: store.DeleteNote, Note: &store.NoteRow{ID: id}}
}

// TestNotes: notices that wait come back, oldest first, whatever is in them, and not more
// than was asked for; the room need not be there.
func TestNotes(t *testing.T) {
	now := time.UnixMilli(1_700_000_000_000)
	onEach(t, func(t *testing.T, url string) {
		s := open(t, url, Options{})
		commit(t, s, putRoomID("r", 1), putMember("r", "a", 1), putNote(7, "b", allBytes(), now),
			putNote(8, "c", nil, now.Add(time.Second)))
		commit(t, s, deleteRoom("r"), putNote(9, "b", []byte("last"), now.Add(2*time.Second)), deleteNote(12))
		want := func(limit int, ids ...int64) {
			t.Helper()
			for _, s := range []*Store{s, open(t, url, Options{})} {
				rows, err := s.Notes(testContext(t), store.Part{}, limit)
				if err != nil {
					t.Fatal(err)
				}
				var got []int64
				for _, r := range rows {
					got = append(got, r.ID)
					if r.Room != at("r") || r.ID == 7 && (!bytes.Equal(r.Body, allBytes()) || r.User != at("b") || !r.At.Equal(now)) {
						t.Errorf("%+v", r)
					}
				}
				if fmt.Sprint(got) != fmt.Sprint(ids) {
					t.Errorf("%v, want %v", got, ids)
				}
			}
		}
		want(10, 7, 8, 9)
		want(2, 8, 9)
		commit(t, s, deleteNote(8), putNote(10, "d", []byte("x"), now), deleteNote(10))
		want(10, 7, 9)
		if _, err := s.Prune(testContext(t), store.Limits{NoteAge: time.Minute},
			now.Add(time.Minute+time.Second)); err != nil {
			t.Fatal(err)
		}
		want(10, 9)
		for name, change := range map[string]store.Change{"no row": {Op: store.PutNote}, "no ID": putNote(0, "b", nil, now),
			"no user":         {Op: store.PutNote, Note: &store.NoteRow{ID: 1, Room: at("r")}},
			"nothing deleted": {Op: store.DeleteNote}} {
			if err := s.Commit(testContext(t), store.Fence{}, []store.Change{change}); !errors.Is(err, ErrInvalid) {
				t.Errorf("%s: error %v", name, err)
			}
		}
	})
}
