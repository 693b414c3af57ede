package dbcopy

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"imcd/engine/store"
	"imcd/evapi/evapitest/imcmodule"
	"imcd/evapi/evapitest/kit"
	"imcd/schema"
	"imcd/schema/schematest"
)

// TestModuleAtBothEnds: rooms that imc.so has made on MariaDB go to PostgreSQL, where imcd changes them, and back to
// an imc.so on another MariaDB.
func TestModuleAtBothEnds(t *testing.T) {
	t.Parallel()
	first, _ := newMySQL(t, "latin1") // as kamdbctl makes it
	m := imcmodule.Start(t, first)
	m.Say(t, "alice", "chat-a", "#create chat-a")
	m.Say(t, "ben", "chat-a", "#join chat-a")
	m.Say(t, "alice", "chat-ä", "#create chat-ä")
	m.Say(t, "bob", "chat-p", "#create chat-p private")
	m.Say(t, "bob", "chat-p", "#invite dave chat-p")
	m.Say(t, "carl", "chat-c", "#create chat-c")
	m.Say(t, "ben", "chat-c", "#join chat-c")
	m.Stop(t)

	middle := schematest.NewDatabase(t)
	if r := run(t, Options{From: first, To: middle}); len(r.Findings) > 0 || r.Written != (Counts{4, 7}) {
		t.Errorf("%+v\n%s", r, m.Log())
	}
	want := map[string]int{"chat-a": 0, "chat-a alice": 1, "chat-a ben": 0, "chat-ä": 0, "chat-ä alice": 1, "chat-p": 1,
		"chat-p bob": 1, "chat-p dave": 4, "chat-c": 0, "chat-c carl": 1, "chat-c ben": 0}
	s, err := schema.Open(kit.Context(t), middle, schema.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if got := flags(t, s); !maps.Equal(got, want) {
		t.Errorf("imcd sees\n%v, want\n%v", got, want)
	}
	// The room gets another owner, who is not the first member, and somebody joins.
	put := func(room, user string, flag int) store.Change {
		return store.Change{Op: store.PutMember, Member: store.MemberRow{Room: name(room), User: name(user), Flag: flag}}
	}
	err = s.Commit(kit.Context(t), store.Fence{}, []store.Change{put("chat-c", "carl", 0), put("chat-c", "ben", 1),
		put("chat-a", "zoe", store.MemberAdmin), {Op: store.PutRoom, Room: store.RoomRow{Name: name("chat-empty")}}})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	exec(t, openSQL(t, "postgres", middle+"?sslmode=disable", ""),
		`INSERT INTO imcd_messages (room_id, seq, sender_username, sender_domain, display, content_type, body, at)
			VALUES (1, 1, 'a', 'b', '', '', '', 1)`)

	last, db := newMySQL(t, "")
	r := run(t, Options{From: middle, To: last})
	if len(r.Findings) != 2 || r.Findings[0].Names[0] != "sip:chat-empty@example.org" ||
		r.Findings[1].Names[0] != "sip:chat-c@example.org" || r.Written != (Counts{4, 8}) ||
		len(r.Left) != 1 || r.Left[0].Rows != 1 {
		t.Errorf("%+v", r)
	}
	if r := run(t, Options{From: last, To: middle, DryRun: true}); len(r.Findings) > 0 || r.There != (Counts{5, 8}) {
		t.Errorf("what was written is not as it should be: %+v", r)
	}
	m = imcmodule.Start(t, last)
	wantOwners := map[string]string{"sip:chat-a@example.org": "sip:alice@example.org",
		"sip:chat-ä@example.org": "sip:alice@example.org",
		"sip:chat-p@example.org": "sip:bob@example.org", "sip:chat-c@example.org": "sip:ben@example.org"}
	if got := m.Owners(t); !maps.Equal(got, wantOwners) {
		t.Errorf("the module sees the owners %v, want %v", got, wantOwners)
	}
	if got := m.Members(t, "chat-a"); !slices.Equal(got, []string{"sip:alice@example.org", "sip:ben@example.org",
		"sip:zoe@example.org"}) {
		t.Errorf("the module sees %v in chat-a", got)
	}
	m.Say(t, "zoe", "chat-a", "#remove ben")
	m.Say(t, "dave", "chat-p", "#accept")
	m.Say(t, "dave", "chat-p", "hello")
	if code := m.Try(t, "mallory", "chat-p", "hello"); code == 200 {
		t.Error("a stranger speaks")
	}
	m.Stop(t)
	if rows := strings.Join(dump(t, db), "\n"); strings.Contains(rows, "sip:chat-a@example.org 2 ben") ||
		!strings.Contains(rows, "dave@example.org") {
		t.Errorf("the module has written\n%s", rows)
	}
}

func name(user string) store.Name { return store.Name{User: user, Host: imcmodule.Domain} }

// flags are those of all rooms and members that imcd loads.
func flags(t *testing.T, s *schema.Store) map[string]int {
	t.Helper()
	all := make(map[string]int)
	err := s.Load(kit.Context(t), store.Part{}, func(r store.RoomState) error {
		all[r.Room.Name.User] = r.Room.Flag
		for _, m := range r.Members {
			all[r.Room.Name.User+" "+m.User.User] = m.Flag
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}
