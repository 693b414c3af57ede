package schema

import (
	"cmp"
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"imcd/engine/store"
)

func putSetting(room int64, name, who, value string) store.Change {
	return store.Change{Op: store.PutSetting, Setting: &store.SettingRow{Room: room, Name: name, Who: who, Value: value}}
}

// settingsOf are the settings of a room, in the form "name who=value".
func settingsOf(r store.RoomState) []string {
	slices.SortFunc(r.Settings, func(a, b store.SettingRow) int {
		return cmp.Or(strings.Compare(a.Name, b.Name), strings.Compare(a.Who, b.Who))
	})
	var list []string
	for _, s := range r.Settings {
		if s.Room == r.Room.ID {
			list = append(list, s.Name+" "+s.Who+"="+s.Value)
		}
	}
	return list
}

func TestSettingsComeBack(t *testing.T) {
	before := []store.Change{putRoomID("r", 1), putMember("r", "a", 1), putRoomID("q", 2),
		putSetting(1, "title", "", "old"), putSetting(1, "ban", "a@x", "0"), putSetting(2, "title", "", "other")}
	long := strings.Repeat("é", store.MaxSetting/2)
	tests := []struct {
		name    string
		changes []store.Change
		want    []string // of r
	}{
		{"nothing new", []store.Change{putMember("r", "b", 0)}, []string{"ban a@x=0", "title =old"}},
		{"others", []store.Change{putSetting(1, "title", "", long), putSetting(1, "ban", "b@x", "1"),
			putSetting(2, "ban", "c@x", "2")}, []string{"ban a@x=0", "ban b@x=1", "title =" + long}},
		{"none any more", []store.Change{putSetting(1, "title", "", ""), putSetting(1, "limit", "", "")},
			[]string{"ban a@x=0"}},
		{"the last of two", []store.Change{putSetting(1, "title", "", ""), putSetting(1, "title", "", "new"),
			putSetting(1, "ban", "a@x", "7"), putSetting(1, "ban", "a@x", "")}, []string{"title =new"}},
		{"with a message", []store.Change{putMessage(1, 1, []byte("x")), putSetting(1, "limit", "", "3")},
			[]string{"ban a@x=0", "limit =3", "title =old"}},
		{"with the room's first id", []store.Change{deleteRoom("r"), putRoom("r", 0), putRoomID("r", 5),
			putSetting(5, "limit", "", "3")}, []string{"limit =3"}},
		{"of no room", []store.Change{putSetting(9, "title", "", "x")}, []string{"ban a@x=0", "title =old"}},
		{"destroy", []store.Change{putSetting(1, "title", "", "x"), deleteRoom("r")}, nil},
		{"destroy and create", []store.Change{deleteRoom("r"), putRoomID("r", 3)}, nil},
		{"of a room before", []store.Change{deleteRoom("r"), putRoomID("r", 3), putSetting(1, "title", "", "late")}, nil},
	}
	onEach(t, func(t *testing.T, url string) {
		s := open(t, url, Options{})
		for _, test := range tests {
			replay(t, s, before, test.changes)
			for reopened, s := range []*Store{s, open(t, url, Options{})} {
				if got := settingsOf(load(t, s)[at("r").URI()]); !reflect.DeepEqual(got, test.want) {
					t.Errorf("%s, stores reopened: %d: %.200q, want %.200q", test.name, reopened, got, test.want)
				}
			}
			some, err := s.LoadRooms(testContext(t), []store.Name{at("r")})
			if test.want != nil && (err != nil || len(some) != 1 || !reflect.DeepEqual(settingsOf(some[0]), test.want)) {
				t.Errorf("%s: of this room alone: %v, %v", test.name, some, err)
			}
		}
		commit(t, s, deleteRoom("r"), deleteRoom("q"))
		prune(t, s)
		if n := count(t, s, "SELECT count(*) FROM imcd_settings"); n != 0 {
			t.Errorf("%d rows of rooms that are gone", n)
		}
		for name, change := range map[string]store.Change{"no row": {Op: store.PutSetting},
			"no room": putSetting(0, "title", "", "x"), "no name": putSetting(1, "", "", "x"),
			"too long": putSetting(1, "title", "", long+"x"), "NUL": putSetting(1, "title", "", "a\x00b"),
			"no UTF-8": putSetting(1, "title", "\xff", "a")} {
			if err := s.Commit(testContext(t), store.Fence{}, []store.Change{change}); !errors.Is(err, ErrInvalid) {
				t.Errorf("%s: error %v", name, err)
			}
		}
	})
}

// TestRoomsKeepTheirMessages as long as they say, whatever the limit of all is.
func TestRoomsKeepTheirMessages(t *testing.T) {
	onEach(t, func(t *testing.T, url string) {
		s := open(t, url, Options{})
		for i, keep := range []string{"", "1h", "3h", store.SettingOff, "sometimes"} {
			id := int64(i + 1)
			changes := []store.Change{putRoomID("r"+keep, id)}
			if keep != "" {
				changes = append(changes, putSetting(id, store.SettingKeep, "", keep))
			}
			for seq := range uint64(10) { // a second apart, the first at 1 s
				changes = append(changes, putMessage(id, seq+1, []byte("x")))
			}
			commit(t, s, changes...)
		}
		run(t, s, "INSERT INTO imcd_settings (room_id, name, who, value) VALUES (1, 'keep', 'a@x', '1h')")
		check := func(age, passed time.Duration, left ...int) {
			t.Helper()
			before := 0
			for id := range left {
				before += len(seqs(t, s, int64(id+1)))
			}
			n, err := s.Prune(testContext(t), store.Limits{Age: age}, epoch.Add(passed))
			if err != nil {
				t.Fatal(err)
			}
			for id, want := range left {
				got := len(seqs(t, s, int64(id+1)))
				if before -= got; got != want {
					t.Errorf("after %v, limit %v: room %d has %d messages, want %d", passed, age, id+1, got, want)
				}
			}
			if n != before {
				t.Errorf("after %v: %d deleted, want %d", passed, n, before)
			}
		}
		check(2*time.Hour, time.Hour, 10, 10, 10, 10, 10)
		check(0, time.Hour+4*time.Second, 10, 7, 10, 10, 10)
		check(2*time.Hour, 2*time.Hour+6*time.Second, 5, 0, 10, 10, 5)
		check(2*time.Hour, 10*time.Hour, 0, 0, 0, 10, 0)
		commit(t, s, putSetting(4, store.SettingKeep, "", ""))
		check(2*time.Hour, 10*time.Hour, 0, 0, 0, 0, 0)
	})
}
