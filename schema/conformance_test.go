package schema

import (
	"context"
	"errors"
	"reflect"
	"strings"
	"testing"

	"imcd/engine/store"
)

func TestRoomsAndMembersComeBack(t *testing.T) {
	onEach(t, func(t *testing.T, url string) {
		s := open(t, url, Options{})
		commit(t, s, putRoom("chat-a", 0), putMember("chat-a", "alice", store.MemberOwner),
			putRoom("chat-p", store.RoomPrivate), putMember("chat-p", "bob", store.MemberOwner),
			putMember("chat-p", "carol", store.MemberAdmin), putInvited("chat-p", "dave", "bob", false),
			putRoom("chat-empty", 0))
		commit(t, s, putMember("chat-a", "zoe", 0), putMember("chat-a", "adam", 0), putInvited("chat-p", "dave", "bob", true))
		want := map[string]store.RoomState{
			"sip:chat-a@example.org": {Room: store.RoomRow{Name: at("chat-a")}, Members: []store.MemberRow{
				{Room: at("chat-a"), User: at("alice"), Flag: store.MemberOwner},
				{Room: at("chat-a"), User: at("zoe")},
				{Room: at("chat-a"), User: at("adam")}}},
			"sip:chat-p@example.org": {Room: store.RoomRow{Name: at("chat-p"), Flag: store.RoomPrivate},
				Members: []store.MemberRow{
					{Room: at("chat-p"), User: at("bob"), Flag: store.MemberOwner},
					{Room: at("chat-p"), User: at("carol"), Flag: store.MemberAdmin},
					{Room: at("chat-p"), User: at("dave"), Flag: store.MemberInvited, Inviter: at("bob"), Delivered: true}}},
			"sip:chat-empty@example.org": {Room: store.RoomRow{Name: at("chat-empty")}},
		}
		if got := load(t, s); !reflect.DeepEqual(got, want) {
			t.Errorf("loaded\n%v, want\n%v", got, want)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if got := load(t, open(t, url, Options{})); !reflect.DeepEqual(got, want) {
			t.Errorf("after reopening, loaded\n%v, want\n%v", got, want)
		}
	})
}

func TestChangesInOneCommitKeepTheirOrder(t *testing.T) {
	tests := []struct {
		name    string
		before  []store.Change
		changes []store.Change
		want    []string // members of the room; nil: no room
	}{
		{"leave and return makes youngest", []store.Change{putRoom("r", 0), putMember("r", "a", 1), putMember("r", "b", 0),
			putMember("r", "c", 0)},
			[]store.Change{deleteMember("r", "b"), putMember("r", "b", 0)}, []string{"a", "c", "b"}},
		{"change keeps age", []store.Change{putRoom("r", 0), putMember("r", "a", 1), putMember("r", "b", 0)},
			[]store.Change{putMember("r", "a", 2), putMember("r", "b", 1), putMember("r", "c", 0)}, []string{"a", "b", "c"}},
		{"create and destroy", nil,
			[]store.Change{putRoom("r", 0), putMember("r", "a", 1), deleteRoom("r")}, nil},
		{"destroy and create", []store.Change{putRoom("r", 1), putMember("r", "a", 1), putInvited("r", "b", "a", true)},
			[]store.Change{deleteRoom("r"), putRoom("r", 0), putMember("r", "c", 1), putMember("r", "a", 0)},
			[]string{"c", "a"}},
		{"join and leave", []store.Change{putRoom("r", 0), putMember("r", "a", 1)},
			[]store.Change{putMember("r", "b", 0), deleteMember("r", "b")}, []string{"a"}},
		{"delete what is not there", []store.Change{putRoom("r", 0), putMember("r", "a", 1)},
			[]store.Change{deleteMember("r", "x"), deleteRoom("x")}, []string{"a"}},
	}
	onEach(t, func(t *testing.T, url string) {
		s := open(t, url, Options{})
		for _, test := range tests {
			t.Run(test.name, func(t *testing.T) {
				commit(t, s, deleteRoom("r"))
				commit(t, s, test.before...)
				commit(t, s, test.changes...)
				r, found := load(t, s)[at("r").URI()]
				if found != (test.want != nil) || !reflect.DeepEqual(users(r), test.want) {
					t.Errorf("room is there: %t, members %v; want %v", found, users(r), test.want)
				}
			})
		}
	})
}

func TestInvitationGoesWithItsMember(t *testing.T) {
	onEach(t, func(t *testing.T, url string) {
		s := open(t, url, Options{})
		commit(t, s, putRoom("r", 0), putMember("r", "a", 1), putInvited("r", "b", "a", true), putInvited("r", "c", "a",
			true))
		commit(t, s, putMember("r", "b", 0))
		commit(t, s, deleteMember("r", "c"))
		if n := count(t, s, "SELECT count(*) FROM imcd_invitations"); n != 0 {
			t.Errorf("%d invitations are left", n)
		}
		commit(t, s, putMember("r", "b", store.MemberInvited))
		m := load(t, s)[at("r").URI()].Members[1]
		if !m.Inviter.IsZero() || m.Delivered {
			t.Errorf("invitation %+v has an old one's inviter", m)
		}
	})
}

func TestInvitationOfTheModuleNeedsNoResend(t *testing.T) {
	onEach(t, func(t *testing.T, url string) {
		s := open(t, url, Options{})
		run(t, s, "INSERT INTO imc_rooms (name, domain, flag) VALUES ('r', 'example.org', 0)",
			"INSERT INTO imc_members (username, domain, room, flag) VALUES ('b', 'example.org', 'sip:r@example.org', 4)")
		m := load(t, s)[at("r").URI()].Members[0]
		if m.Flag != store.MemberInvited || !m.Inviter.IsZero() || !m.Delivered {
			t.Errorf("loaded %+v", m)
		}
	})
}

func TestLoadRoomsReturnsWhatIsStored(t *testing.T) {
	onEach(t, func(t *testing.T, url string) {
		s := open(t, url, Options{})
		commit(t, s, putRoom("a", 1), putMember("a", "x", 1), putMember("a", "y", 0), putInvited("a", "z", "x", true),
			putRoom("b", 0), putMember("b", "x", 1), putRoom("empty", 0))
		states, err := s.LoadRooms(testContext(t), []store.Name{at("empty"), at("nowhere"), at("a")})
		if err != nil {
			t.Fatal(err)
		}
		all := load(t, s)
		want := []store.RoomState{all[at("a").URI()], all[at("empty").URI()]}
		if !reflect.DeepEqual(states, want) {
			t.Errorf("loaded %v, want %v", states, want)
		}
		if states, err := s.LoadRooms(testContext(t), nil); err != nil || states != nil {
			t.Errorf("no rooms asked for: %v, %v", states, err)
		}
	})
}

func TestErrorOfCallbackEndsLoad(t *testing.T) {
	onEach(t, func(t *testing.T, url string) {
		s := open(t, url, Options{})
		commit(t, s, putRoom("a", 0), putRoom("b", 0), putRoom("c", 0))
		enough := errors.New("enough")
		calls := 0
		err := s.Load(testContext(t), store.Part{}, func(store.RoomState) error { calls++; return enough })
		if !errors.Is(err, enough) || calls != 1 {
			t.Errorf("%d calls, error %v", calls, err)
		}
		commit(t, s, putRoom("d", 0)) // the connection is free again
	})
}

func TestBadNamesAreRefusedWhole(t *testing.T) {
	long := strings.Repeat("x", 65)
	bad := map[string]store.Change{
		"room too long":       putRoom(long, 0),
		"room URI too long":   putRoom(strings.Repeat("x", 50), 0),
		"room empty":          putRoom("", 0),
		"member too long":     putMember("r", long, 0),
		"member not UTF-8":    putMember("r", "a\xff", 0),
		"member with NUL":     putMember("r", "a\x00b", 0),
		"inviter too long":    putInvited("r", "a", long, false),
		"domain empty":        {Op: store.PutRoom, Room: store.RoomRow{Name: store.Name{User: "r"}}},
		"unknown operation":   {Op: 99},
		"delete, not UTF-8":   deleteRoom("\xc3"),
		"delete of no member": deleteMember("r", ""),
	}
	onEach(t, func(t *testing.T, url string) {
		s := open(t, url, Options{})
		for name, change := range bad {
			err := s.Commit(testContext(t), store.Fence{}, []store.Change{putRoom("good", 0), change, putRoom("good2", 0)})
			if !errors.Is(err, ErrInvalid) {
				t.Errorf("%s: error %v", name, err)
			}
		}
		if _, err := s.LoadRooms(testContext(t), []store.Name{at("\xff")}); !errors.Is(err, ErrInvalid) {
			t.Errorf("loading a room that is not UTF-8: %v", err)
		}
		if got := load(t, s); len(got) != 0 {
			t.Errorf("stored %v", got)
		}
	})
}

func TestTablesKeepToTheLimits(t *testing.T) {
	onEach(t, func(t *testing.T, url string) {
		s := open(t, url, Options{})
		commit(t, s, putRoom(strings.Repeat("é", 48), 0), putMember(strings.Repeat("é", 48), strings.Repeat("é", 64), 1))
		for _, statement := range []string{
			"INSERT INTO imc_rooms (name, domain, flag) VALUES ('" + strings.Repeat("x", 65) + "', 'd', 0)",
			"INSERT INTO imc_members (username, domain, room, flag) VALUES ('u', 'd', '" + strings.Repeat("x", 65) + "', 0)",
		} {
			_, err := s.db.ExecContext(testContext(t), statement)
			if !errors.Is(wrap(testContext(t), "insert", err), ErrInvalid) {
				t.Errorf("%s: %v", statement, err)
			}
		}
	})
}

func TestFailedCommitChangesNothing(t *testing.T) {
	onEach(t, func(t *testing.T, url string) {
		s := open(t, url, Options{})
		commit(t, s, putRoom("a", 0), putMember("a", "x", 1), putMember("a", "y", 0))
		run(t, s, "CREATE UNIQUE INDEX one_z ON imc_members (username) WHERE username = 'z'")
		commit(t, s, putRoom("b", 0), putMember("b", "z", 1))
		before := load(t, s)
		err := s.Commit(testContext(t), store.Fence{}, []store.Change{deleteMember("a", "y"), putMember("a", "x", 2),
			putRoom("c", 1), putMember("c", "q", 1), deleteRoom("b"), putRoom("b", 1), putMember("b", "z", 1),
			putMember("c", "z", 0)})
		if !errors.Is(err, ErrInvalid) {
			t.Errorf("error %v", err)
		}
		if got := load(t, s); !reflect.DeepEqual(got, before) {
			t.Errorf("left %v, want %v", got, before)
		}
	})
}

func TestEveryCallKeepsToItsContext(t *testing.T) {
	onEach(t, func(t *testing.T, url string) {
		s := open(t, url, Options{})
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		calls := map[string]error{
			"Load":      s.Load(ctx, store.Part{}, func(store.RoomState) error { return nil }),
			"Commit":    s.Commit(ctx, store.Fence{}, []store.Change{putRoom("r", 0)}),
			"Ping":      s.Ping(ctx),
			"LoadRooms": func() error { _, err := s.LoadRooms(ctx, []store.Name{at("r")}); return err }(),
		}
		for name, err := range calls {
			if !errors.Is(err, context.Canceled) || errors.Is(err, ErrUnavailable) {
				t.Errorf("%s: %v", name, err)
			}
		}
		commit(t, s, putRoom("r", 0))
	})
}

func TestCloseTwice(t *testing.T) {
	onEach(t, func(t *testing.T, url string) {
		s := open(t, url, Options{})
		commit(t, s, putRoom("r", 0))
		if err := errors.Join(s.Close(), s.Close()); err != nil {
			t.Error(err)
		}
		if err := s.Ping(testContext(t)); err == nil {
			t.Error("a closed store answers a ping")
		}
	})
}

func TestConcurrentCallsAreSafe(t *testing.T) {
	onEach(t, func(t *testing.T, url string) {
		s := open(t, url, Options{})
		const workers = 8
		errs := make(chan error, workers)
		for w := range workers {
			room := "r" + string(rune('a'+w))
			go func() {
				err := s.Commit(testContext(t), store.Fence{}, []store.Change{putRoom(room, 0), putMember(room, "a", 1)})
				errs <- errors.Join(err, s.Ping(testContext(t)),
					s.Commit(testContext(t), store.Fence{}, []store.Change{putMember(room, "b", 0)}))
			}()
		}
		for range workers {
			if err := <-errs; err != nil {
				t.Error(err)
			}
		}
		if got := load(t, s); len(got) != workers {
			t.Errorf("%d rooms, want %d", len(got), workers)
		}
	})
}

// Two rows whose names are the same but for escapes (RFC 3261, 19.1.4), as the module
// may have left them: the older counts, the other goes with the next change.
func TestEscapedTwins(t *testing.T) {
	onEach(t, func(t *testing.T, url string) {
		s := open(t, url, Options{})
		commit(t, s, putRoom("chat-a", 0), putMember("chat-a", "%61lice", store.MemberOwner), putMember("chat-a", "alice", 0),
			putMember("chat-a", "b%2Fc", 0), putMember("chat-a", "b%2fC", 0), putMember("chat-a", "+49", 0),
			putMember("chat-a", "%2B49", 0),
			putRoom("ch%61t-a", 0), putMember("ch%61t-a", "eve", store.MemberOwner))
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = open(t, url, Options{})
		names := func() (users []string) {
			rooms := load(t, s)
			if len(rooms) != 1 {
				t.Errorf("%d rooms: %v", len(rooms), rooms)
			}
			for _, m := range rooms["sip:chat-a@example.org"].Members {
				users = append(users, m.User.User)
			}
			return users
		}
		if got := strings.Join(names(), " "); got != "%61lice b%2Fc +49 %2B49" {
			t.Errorf("members %s", got)
		}
		// Who is taken out does not come back as the duplicate.
		commit(t, s, store.Change{Op: store.DeleteMember, Member: store.MemberRow{Room: at("chat-a"), User: at("%61lice")}})
		if got := strings.Join(names(), " "); got != "b%2Fc +49 %2B49" {
			t.Errorf("members %s", got)
		}
	})
}

// TestRefusedChangesAreTold: what a trigger or a constraint of the operator's refuses is
// different from a database that is away, in each kind of commit, and leaves nothing behind.
func TestRefusedChangesAreTold(t *testing.T) {
	onEach(t, func(t *testing.T, url string) {
		s := open(t, url, Options{})
		commit(t, s, putRoomID("r", 7), putMember("r", "a", 1))
		if s.dialect.name() == "sqlite" {
			run(t, s, `CREATE TRIGGER no_poison BEFORE INSERT ON imcd_messages WHEN instr(NEW.body, CAST('poison' AS BLOB)) > 0
				BEGIN SELECT RAISE(ABORT, 'not here'); END`,
				`CREATE TRIGGER no_bad BEFORE INSERT ON imc_members WHEN NEW.username LIKE 'bad%'
		BEGIN SELECT RAISE(ABORT, 'not here'); END`)
		} else {
			run(t, s, `CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'not here'; END $$`,
				`CREATE TRIGGER no_bad BEFORE INSERT ON imc_members FOR EACH ROW
		WHEN (NEW.username LIKE 'bad%') EXECUTE FUNCTION no()`,
				`ALTER TABLE imcd_messages ADD CHECK (position('poison'::bytea in body) = 0)`)
		}
		poison := func(seq uint64) store.Change { return putMessage(7, seq, []byte("a poison")) }
		for what, changes := range map[string][]store.Change{
			"one message":  {poison(1), putSeen(1, 200, epoch)},
			"two messages": {putMessage(7, 1, nil), poison(2), putProgress(7, 1)},
			"a member":     {putMember("r", "b", 0), putMember("r", "bad", 0), putMessage(7, 1, nil)},
		} {
			err := s.Commit(testContext(t), store.Fence{}, changes)
			if !errors.Is(err, ErrInvalid) || errors.Is(err, ErrUnavailable) {
				t.Errorf("%s: %v", what, err)
			}
		}
		commit(t, s, putMessage(7, 1, []byte("good")), putSeen(1, 200, epoch))
		r := load(t, s)[at("r").URI()]
		if len(r.Members) != 1 || r.Room.Seq != 1 || r.Room.Done != 0 || !reflect.DeepEqual(seqs(t, s, 7), []uint64{1}) {
			t.Errorf("stored %+v", r)
		}
	})
}
