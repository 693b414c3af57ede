package schema

import (
	"reflect"
	"strings"
	"testing"

	"imcd/engine/store"
	"imcd/schema/schematest"
)

// operatorsRows are rows that a module or an operator may have left.
var operatorsRows = []string{
	"INSERT INTO imc_rooms (name, domain, flag) VALUES ('live', 'example.org', 17), ('gone', 'example.org', 2)," +
		" ('Pair', 'example.org', 1), ('pair', 'example.org', 0), ('empty', 'example.org', 0)",
	`INSERT INTO imc_members (username, domain, room, flag) VALUES
		('owner', 'example.org', 'sip:live@example.org', 17), ('left', 'example.org', 'sip:live@example.org', 8),
		('Carol', 'example.org', 'sip:live@example.org', 0), ('carol', 'EXAMPLE.org', 'sip:live@example.org', 2),
		('x', 'example.org', 'sip:gone@example.org', 1), ('y', 'example.org', 'sip:nowhere@example.org', 1),
		('z', 'example.org', 'sip:nowhere@example.org', 0), ('t', 'example.org', 'sip:Pair@example.org', 1),
		('s', 'example.org', 'sip:pair@example.org', 1), ('odd', 'example.org', 'no URI at all', 1)`,
}

func TestRowsThatAreNoRoomsAreLeftOut(t *testing.T) {
	onEach(t, func(t *testing.T, url string) {
		var log logBuffer
		s := open(t, url, Options{Log: log.logger()})
		run(t, s, operatorsRows...)
		rooms := load(t, s)
		got := make(map[string][]string)
		for uri, r := range rooms {
			got[uri] = users(r)
		}
		want := map[string][]string{"sip:live@example.org": {"owner", "Carol"}, "sip:Pair@example.org": {"t"},
			"sip:empty@example.org": nil}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("loaded %v, want %v", got, want)
		}
		live := rooms["sip:live@example.org"]
		if live.Room.Flag != store.RoomPrivate || live.Members[0].Flag != store.MemberOwner {
			t.Errorf("flags that are not known came through: %+v", live)
		}
		for _, words := range []string{`"members":5`, `"room":"sip:pair@example.org","kept":"sip:Pair@example.org"`,
			`"member":"sip:carol@EXAMPLE.org","kept":"sip:Carol@example.org"`} {
			if !strings.Contains(log.String(), words) {
				t.Errorf("the log does not say %s:\n%s", words, log.String())
			}
		}
		if n := count(t, s, "SELECT count(*) FROM imc_members") + count(t, s, "SELECT count(*) FROM imc_rooms"); n != 15 {
			t.Errorf("%d rows are left of 15", n)
		}
	})
}

func TestLeftOverRowsDoNotComeToLife(t *testing.T) {
	onEach(t, func(t *testing.T, url string) {
		s := open(t, url, Options{})
		run(t, s, operatorsRows...)
		load(t, s)
		commit(t, s, putRoom("gone", 0), putMember("gone", "new", 1))
		commit(t, s, putMember("nowhere", "new", 1), putRoom("nowhere", 1))
		commit(t, s, deleteRoom("Pair"))
		commit(t, s, deleteMember("live", "Carol"))
		// Once they are gone, later changes must not take anything with them.
		commit(t, s, putRoom("gone", 1), putMember("gone", "newer", 0))
		commit(t, s, putRoom("pair", 0), putMember("pair", "u", 1))
		got := make(map[string][]string)
		for uri, r := range load(t, s) {
			got[uri] = users(r)
		}
		want := map[string][]string{"sip:live@example.org": {"owner"}, "sip:gone@example.org": {"new", "newer"},
			"sip:nowhere@example.org": {"new"}, "sip:pair@example.org": {"u"}, "sip:empty@example.org": nil}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("loaded %v, want %v", got, want)
		}
	})
}

// TestPartsLeaveNothingToLife: an engine that loads a part of the rooms reads nothing of members without a
// room; and what it has left out of a shard counts until it loads the shard again.
func TestPartsLeaveNothingToLife(t *testing.T) {
	url := schematest.NewDatabase(t)
	s, other := open(t, url, Options{Lease: &Lease{}}), open(t, url, Options{})
	if _, err := s.Own(testContext(t), func(string) error { return nil }); err != nil {
		t.Fatal(err)
	}
	run(t, s, operatorsRows...)
	load(t, s) // which remembers them
	run(t, s, "DELETE FROM imc_rooms WHERE name = 'gone'", "DELETE FROM imc_members WHERE room LIKE 'sip:gone@%'")
	commit(t, other, putRoomID("gone", 7), putMember("gone", "owner", 1))
	for shard := range int64(64) {
		part := store.Part{Of: 64, Shards: []int64{shard}}
		if err := s.Load(testContext(t), part, func(store.RoomState) error { return nil }); err != nil {
			t.Fatal(err)
		}
	}
	commit(t, s, store.Change{Op: store.PutRoom, Room: store.RoomRow{Name: at("gone"), ID: 7, Flag: 1}})
	s.mu.Lock()
	s.leftovers = newLeftovers() // nobody has read of this room
	s.mu.Unlock()
	commit(t, s, putRoom("nowhere", 1), putMember("nowhere", "new", 1))
	rooms := load(t, other)
	for room, want := range map[string]string{"gone": "owner", "nowhere": "new", "live": "owner Carol"} {
		if got := strings.Join(users(rooms[at(room).URI()]), " "); got != want {
			t.Errorf("%s has %q, want %q", room, got, want)
		}
	}
}

func TestLeftOverRowsSurviveAFailedCommit(t *testing.T) {
	onEach(t, func(t *testing.T, url string) {
		s := open(t, url, Options{})
		run(t, s, operatorsRows...)
		run(t, s, "CREATE UNIQUE INDEX one_q ON imc_members (username) WHERE username = 'q'")
		load(t, s)
		if err := s.Commit(testContext(t), store.Fence{}, []store.Change{putRoom("nowhere", 0), putMember("nowhere", "q", 1),
			putMember("live", "q", 0)}); err == nil {
			t.Fatal("no error")
		}
		commit(t, s, putRoom("nowhere", 0), putMember("nowhere", "q", 1))
		if got := users(load(t, s)[at("nowhere").URI()]); !reflect.DeepEqual(got, []string{"q"}) {
			t.Errorf("members %v", got)
		}
	})
}
