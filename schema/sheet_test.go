package schema

import (
	"fmt"
	"strings"
	"testing"

	"imcd/engine/store"
)

// TestLoadManySheets loads more members than there are sheets for, whose rooms
// come by turns.
func TestLoadManySheets(t *testing.T) {
	onEach(t, func(t *testing.T, url string) {
		s := open(t, url, Options{})
		const rooms, each = 7, 2000
		var names, members []string
		for m := range each {
			for r := range rooms {
				if m == 0 {
					names = append(names, fmt.Sprintf("('room-%d', 'x.org', 0)", r))
				}
				members = append(members, fmt.Sprintf("('user-of-room-%d-%d', 'a-host.example.org', 'sip:room-%d@x.org', 0)", r, m,
					r))
			}
		}
		run(t, s, "INSERT INTO imc_rooms (name, domain, flag) VALUES "+strings.Join(names, ","),
			"INSERT INTO imc_members (username, domain, room, flag) VALUES "+strings.Join(members, ","))
		if bytes := rooms * each * len("user-of-room-0-0a-host.example.orgsip:room-0@x.org"); bytes < 2*sheets*sheetSize {
			t.Fatalf("%d bytes fill too few sheets", bytes)
		}
		loaded := load(t, s)
		if len(loaded) != rooms {
			t.Fatalf("%d rooms", len(loaded))
		}
		for r := range rooms {
			got := loaded[fmt.Sprintf("sip:room-%d@x.org", r)].Members
			if len(got) != each {
				t.Fatalf("room %d has %d members", r, len(got))
			}
			for m, row := range got {
				if want := (store.Name{User: fmt.Sprintf("user-of-room-%d-%d", r, m),
					Host: "a-host.example.org"}); row.User != want {
					t.Fatalf("member %d of room %d is %s", m, r, row.User.URI())
				}
			}
		}
	})
}

// TestLoadSaysWhatIsWrong: SQLite keeps any value in any column.
func TestLoadSaysWhatIsWrong(t *testing.T) {
	for _, wrong := range []struct{ name, insert, want string }{
		{"flag of a room", "INSERT INTO imc_rooms (name, domain, flag) VALUES ('r', 'x.org', 'private')",
			`read imc_rooms: flag is not an integer: "private"`},
		{"flag of a member", "INSERT INTO imc_rooms (name, domain, flag) VALUES ('r', 'x.org', 0); " +
			"INSERT INTO imc_members (username, domain, room, flag) VALUES ('u', 'x.org', 'sip:r@x.org', 'owner')",
			`read imc_members: flag is not an integer: "owner"`},
		{"what a room has numbered", "INSERT INTO imc_rooms (name, domain, flag) VALUES ('r', 'x.org', 0); " +
			"INSERT INTO imcd_rooms (room, id, seq, done) VALUES ('sip:r@x.org', 1, -1, 0)",
			"read imcd_rooms: seq is not 0 or more: -1"},
	} {
		t.Run(wrong.name, func(t *testing.T) {
			s := open(t, "sqlite://"+t.TempDir()+"/imcd.db", Options{})
			run(t, s, wrong.insert)
			err := s.Load(testContext(t), store.Part{}, func(store.RoomState) error { return nil })
			if err == nil || !strings.Contains(err.Error(), wrong.want) {
				t.Errorf("%v, want %s", err, wrong.want)
			}
		})
	}
	t.Run("a name as a BLOB", func(t *testing.T) {
		s := open(t, "sqlite://"+t.TempDir()+"/imcd.db", Options{})
		run(t, s, "INSERT INTO imc_rooms (name, domain, flag) VALUES (CAST('r' AS BLOB), 'x.org', 0)")
		if _, there := load(t, s)["sip:r@x.org"]; !there {
			t.Error("the room is not loaded")
		}
	})
}
