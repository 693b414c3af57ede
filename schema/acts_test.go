package schema

import (
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"imcd/engine/store"
)

func putAct(id int64, room string, when time.Time, act string) store.Change {
	return store.Change{Op: store.PutAct, Act: &store.ActRow{ID: id, Room: at(room), At: when, By: "sip:alice@example.org",
		Act: act, Who: "*@spam.example", Until: when.Add(time.Hour), Why: "ü"}}
}

// TestActsComeBack: also those of a room that was destroyed, until they are too old.
func TestActsComeBack(t *testing.T) {
	onEach(t, func(t *testing.T, url string) {
		s := open(t, url, Options{})
		acts := func(s *Store, room string, limit int) (got []string) {
			t.Helper()
			rows, err := s.Acts(testContext(t), at(room), limit)
			if err != nil {
				t.Fatal(err)
			}
			for _, a := range rows {
				want := putAct(a.ID, room, a.At, a.Act).Act
				if a.At.UnixMilli() != epoch.Add(time.Duration(a.ID)*time.Second).UnixMilli() || !a.Until.Equal(want.Until) ||
					a.By != want.By || a.Who != want.Who || a.Why != want.Why {
					t.Errorf("loaded %+v, want %+v", a, *want)
				}
				got = append(got, a.Act)
			}
			return got
		}
		when := func(n int64) time.Time { return epoch.Add(time.Duration(n) * time.Second) }
		commit(t, s, putRoomID("r", 1), putMember("r", "a", 1), putAct(1, "r", when(1), "ban"),
			putAct(3, "r", when(3), "unban"), putAct(2, "r", when(2), "mute"), putAct(4, "q", when(4), "set"))
		commit(t, s, deleteRoom("r"), putAct(5, "R", when(5), "destroy"))
		commit(t, s, putAct(5, "r", when(5), "again"))
		for _, s := range []*Store{s, open(t, url, Options{})} {
			if got := acts(s, "r", 10); !reflect.DeepEqual(got, []string{"ban", "mute", "unban", "destroy"}) {
				t.Errorf("acts %v", got)
			}
			if got := acts(s, "R", 2); !reflect.DeepEqual(got, []string{"unban", "destroy"}) {
				t.Errorf("the last two acts are %v", got)
			}
			if got := acts(s, "none", 2); got != nil {
				t.Errorf("acts of no room: %v", got)
			}
		}
		onUser := func(id int64, room, who string) store.Change {
			c := putAct(id, room, when(id), "mute")
			c.Act.Who = who
			return c
		}
		commit(t, s, onUser(7, "q", "sip:Bob@Example.org"), onUser(6, "p", "sip:bob@example.org"),
			onUser(8, "p", "sip:bob@x"))
		for user, want := range map[store.Name][]int64{{User: "BOB", Host: "example.org"}: {6, 7},
			{User: "a", Host: "Spam.example"}: {1, 2, 3, 4, 5}, {User: "nobody", Host: "x"}: nil} {
			rows, err := s.ActsOn(testContext(t), user, 10)
			var got []int64
			for _, a := range rows {
				got = append(got, a.ID)
			}
			if err != nil || !reflect.DeepEqual(got, want) || want != nil && rows[len(rows)-1].Room.Key() == "" {
				t.Errorf("acts on %v: %v, %v, want %v", user, got, err, want)
			}
		}
		if rows, err := s.ActsOn(testContext(t), at("bob"), 1); err != nil || len(rows) != 1 || rows[0].Room != at("q") {
			t.Errorf("the last act on bob: %+v, %v", rows, err)
		}
		if _, err := s.Prune(testContext(t), store.Limits{ActAge: time.Hour}, when(3).Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
		if got := acts(s, "r", 10); !reflect.DeepEqual(got, []string{"unban", "destroy"}) {
			t.Errorf("acts after pruning %v", got)
		}
		for name, change := range map[string]store.Change{"no row": {Op: store.PutAct},
			"no id":  putAct(0, "r", when(1), "ban"),
			"no act": putAct(9, "r", when(1), ""), "no UTF-8": putAct(9, "r", when(1), "\xff"),
			"no room": putAct(9, "", when(1), "ban"), "long room": putAct(9, strings.Repeat("x", 65), when(1), "ban")} {
			if err := s.Commit(testContext(t), store.Fence{}, []store.Change{change}); !errors.Is(err, ErrInvalid) {
				t.Errorf("%s: error %v", name, err)
			}
		}
		if err := s.Commit(testContext(t), store.Fence{}, []store.Change{putAct(9, "r", when(1), "ban")}); err != nil {
			t.Error(err)
		}
	})
}
