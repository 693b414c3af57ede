package schema

import (
	"reflect"
	"strings"
	"testing"

	"imcd/engine/store"
)

func TestWhatTheModuleDeletedIsCleanedUp(t *testing.T) {
	onEach(t, func(t *testing.T, url string) {
		s := open(t, url, Options{})
		var changes []store.Change
		for i, room := range []string{"stays", "gone", "rewritten"} {
			id := int64(i + 1)
			changes = append(changes, putRoomID(room, id), putMember(room, "a", 1), putMember(room, "b", 0),
				putMessage(id, 1, []byte("x")), putCursor(id, "a", 1), putCursor(id, "b", 1), putProgress(id, 1))
		}
		commit(t, s, changes...)
		run(t, s, "DELETE FROM imc_rooms WHERE name = 'gone'", "DELETE FROM imc_rooms WHERE name = 'rewritten'",
			"DELETE FROM imc_members WHERE room <> 'sip:stays@example.org' AND NOT (room = 'sip:gone@example.org' AND "+
				"username = 'a')",
			"INSERT INTO imc_rooms (name, domain, flag) VALUES ('rewritten', 'example.org', 0)",
			"INSERT INTO imc_members (username, domain, room, flag) VALUES ('b', 'example.org', 'sip:rewritten@example.org', 1)",
			"DELETE FROM imc_members WHERE room = 'sip:stays@example.org' AND username = 'b'")
		rooms := load(t, s)
		prune(t, s)
		if r := rooms[at("rewritten").URI()]; r.Room.ID != 3 || r.Room.Seq != 1 || r.Room.Done != 1 ||
			!reflect.DeepEqual(cursorsOf(r), map[string]uint64{"b": 1}) {
			t.Errorf("rewritten %+v", r)
		}
		for query, want := range map[string]int{"imcd_rooms": 2, "imcd_messages": 2, "imcd_cursors": 2,
			"imcd_rooms WHERE id = 2": 0, "imcd_messages WHERE room_id = 2": 0} {
			if n := count(t, s, "SELECT count(*) FROM "+query); n != want {
				t.Errorf("%d rows of %s, want %d", n, query, want)
			}
		}
	})
}

func TestAWrongTableDeletesNoMessages(t *testing.T) {
	onEach(t, func(t *testing.T, url string) {
		s := open(t, url, Options{})
		commit(t, s, putRoomID("r", 1), putMessage(1, 1, nil), putRoomID("q", 2), putMessage(2, 1, nil))
		var log logBuffer
		other := open(t, url, Options{RoomsTable: "imc_roms", Log: log.logger()})
		load(t, other)
		commit(t, other, putRoomID("new", 3))
		load(t, other)
		if n := count(t, s, "SELECT count(*) FROM imcd_messages"); n != 2 || !strings.Contains(log.String(), "imc_roms") {
			t.Errorf("%d messages are left; log: %s", n, log.String())
		}
	})
}
