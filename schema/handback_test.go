package schema

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	"imcd/engine/store"
	"imcd/evapi/evapitest/imcmodule"
	"imcd/schema/schematest"
)

// flagsOf returns the flags of all members, and of the room, by "room user".
func flagsOf(rooms map[string]store.RoomState) map[string]int {
	flags := make(map[string]int)
	for _, r := range rooms {
		flags[r.Room.Name.User] = r.Room.Flag
		for _, m := range r.Members {
			flags[r.Room.Name.User+" "+m.User.User] = m.Flag
		}
	}
	return flags
}

// TestModuleTakesOverWhatWeWrote hands rooms to Kamailio's own module and takes
// them back. No user is in two rooms here: the module (5.6.3) updates by user when
// it writes its members back, so that the last room's row takes the others' place.
func TestModuleTakesOverWhatWeWrote(t *testing.T) {
	t.Parallel()
	url := schematest.NewDatabase(t)
	s := open(t, url, Options{})
	commit(t, s, putRoom("chat-a", 0), putMember("chat-a", "alice", store.MemberOwner),
		putRoom("chat-p", store.RoomPrivate), putMember("chat-p", "bob", store.MemberOwner),
		putMember("chat-p", "carol", store.MemberAdmin), putInvited("chat-p", "dave", "bob", true),
		putInvited("chat-p", "erin", "bob", true))
	commit(t, s, putMember("chat-a", "ben", store.MemberAdmin), putMember("chat-a", "cliff", 0))
	// The room goes to its oldest admin; the owner's row is not the first then.
	commit(t, s, putRoom("chat-t", 0), putMember("chat-t", "frank", store.MemberOwner), putMember("chat-t", "grace", 0),
		putMember("chat-t", "heidi", store.MemberAdmin))
	commit(t, s, putMember("chat-t", "frank", 0), putMember("chat-t", "heidi", store.MemberOwner))
	commit(t, s, putRoomID("chat-a", 7), putMessage(7, 1, []byte("x")), putMessage(7, 2, []byte("y")), putProgress(7, 2),
		putCursor(7, "alice", 1), putCursor(7, "cliff", 0))
	want := flagsOf(load(t, s))
	handBack(t, s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}

	m := imcmodule.Start(t, url)
	wantOwners := map[string]string{"sip:chat-a@example.org": "sip:alice@example.org",
		"sip:chat-p@example.org": "sip:bob@example.org", "sip:chat-t@example.org": "sip:heidi@example.org"}
	if got := m.Owners(t); !reflect.DeepEqual(got, wantOwners) {
		t.Errorf("the module sees the owners %v, want %v", got, wantOwners)
	}
	if got := m.Members(t, "chat-p"); len(got) != 4 {
		t.Errorf("the module sees %v in chat-p", got)
	}
	// What the module lets its users do shows the flags: a member may speak, an
	// invited one may not; an admin may remove, a member may not; a private
	// room is joined by invitation.
	m.Say(t, "carol", "chat-p", "hello")
	if code := m.Try(t, "dave", "chat-p", "hello"); code == 200 {
		t.Error("an invited user speaks")
	}
	m.Say(t, "dave", "chat-p", "#accept")
	m.Say(t, "dave", "chat-p", "hello")
	m.Try(t, "mallory", "chat-p", "#join")
	m.Try(t, "grace", "chat-t", "#remove frank")
	m.Say(t, "ben", "chat-a", "#remove cliff")
	m.Stop(t)

	want["chat-p dave"] = 0
	delete(want, "chat-a cliff")
	s = open(t, url, Options{})
	rooms := load(t, s)
	got := flagsOf(rooms)
	delete(got, "chat-p mallory") // the module notes who knocked as invited, so far without an invitation
	if !reflect.DeepEqual(got, want) {
		t.Errorf("taken back\n%v, want\n%v\n%s", got, want, m.Log())
	}
	i := slices.IndexFunc(rooms["sip:chat-p@example.org"].Members,
		func(m store.MemberRow) bool { return m.User == at("erin") })
	if i < 0 || rooms["sip:chat-p@example.org"].Members[i].Inviter != at("bob") {
		t.Error("it is forgotten who invited erin")
	}
	a := rooms["sip:chat-a@example.org"]
	a.Room.Flag = 0
	if a.Room != (store.RoomRow{Name: at("chat-a"), ID: 7, Seq: 2, Done: 2}) || len(seqs(t, s, 7)) != 2 ||
		!maps.Equal(cursorsOf(a), map[string]uint64{"alice": 1}) || count(t, s, "SELECT count(*) FROM imcd_cursors") != 1 {
		t.Errorf("what is owed in chat-a is forgotten: %+v", a)
	}
}

// TestWeTakeOverWhatTheModuleWrote lets Kamailio's own module make rooms.
func TestWeTakeOverWhatTheModuleWrote(t *testing.T) {
	t.Parallel()
	url := schematest.NewDatabase(t)
	name := url[strings.LastIndexByte(url, '/')+1:]
	if err := schematest.Server(t).Exec(testContext(t), name, kamailioSQL(t)); err != nil {
		t.Fatal(err)
	}
	m := imcmodule.Start(t, url)
	m.Say(t, "alice", "chat-a", "#create chat-a")
	m.Say(t, "ben", "chat-a", "#join chat-a")
	m.Say(t, "cliff", "chat-a", "#join chat-a")
	m.Say(t, "bob", "chat-p", "#create chat-p private")
	m.Say(t, "bob", "chat-p", "#invite dave chat-p")
	m.Say(t, "bob", "chat-p", "#invite erin chat-p")
	m.Say(t, "erin", "chat-p", "#accept chat-p")
	m.Say(t, "zoe", "chat-z", "#create chat-z")
	m.Say(t, "zoe", "chat-z", "#destroy chat-z")
	m.Say(t, "cliff", "chat-a", "#leave chat-a")
	m.Stop(t)
	s := open(t, url, Options{})
	rooms := load(t, s)
	want := map[string]int{"chat-a": 0, "chat-a alice": store.MemberOwner, "chat-a ben": 0,
		"chat-p": store.RoomPrivate, "chat-p bob": store.MemberOwner, "chat-p dave": store.MemberInvited, "chat-p erin": 0}
	if got := flagsOf(rooms); !maps.Equal(got, want) {
		t.Errorf("taken over\n%v, want\n%v\n%s", got, want, m.Log())
	}
	for _, r := range rooms {
		if r.Members[0].Flag != store.MemberOwner {
			t.Errorf("room %s begins with %+v", r.Room.Name.URI(), r.Members[0])
		}
	}
}

// TestOwnersComeFirstInATableFullOfHoles makes PostgreSQL put new rows before
// older ones.
func TestOwnersComeFirstInATableFullOfHoles(t *testing.T) {
	t.Parallel()
	s := open(t, schematest.NewDatabase(t), Options{})
	run(t, s, `INSERT INTO imc_members (username, domain, room, flag)
		SELECT 'filler' || i, 'example.org', 'sip:filler@example.org', 0 FROM generate_series(1, 20000) i`)
	var changes []store.Change
	for i := range 50 {
		room := fmt.Sprint("room", i)
		changes = append(changes, putRoom(room, 0), putMember(room, "owner", store.MemberOwner))
	}
	commit(t, s, changes...)
	run(t, s, "DELETE FROM imc_members WHERE room = 'sip:filler@example.org' AND id % 3 <> 0", "VACUUM imc_members")
	for member := range 40 {
		changes = changes[:0]
		for i := range 50 {
			changes = append(changes, putMember(fmt.Sprint("room", i), fmt.Sprint("member", member), 0))
		}
		commit(t, s, changes...)
	}
	wrong := ownersBehind(t, s)
	if wrong == 0 {
		t.Fatal("nothing to put in order: the test shows nothing")
	}
	before := load(t, s)
	if h := handBack(t, s); len(h.Reordered) != wrong || len(h.Disordered)+len(h.Empty) != 0 {
		t.Errorf("%d rooms were wrong: %+v", wrong, h)
	}
	if n := ownersBehind(t, s); n != 0 {
		t.Errorf("the owner of %d rooms is not the first member", n)
	}
	if got := load(t, s); !reflect.DeepEqual(got, before) {
		t.Error("more than the order has changed")
	}
}

func handBack(t *testing.T, s *Store) Handback {
	t.Helper()
	h, err := s.HandBack(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// ownersBehind counts the rooms whose owner is not the first member in the table.
func ownersBehind(t *testing.T, s *Store) int {
	t.Helper()
	find, _ := s.dialect.ownerFirst()
	return count(t, s, "SELECT count(*) FROM ("+s.names.Replace(strings.Replace(find, "{where}", "", 1))+") w")
}

func TestNewOwnerComesFirst(t *testing.T) {
	t.Parallel()
	s := open(t, schematest.NewDatabase(t), Options{})
	commit(t, s, putRoom("r", 0), putMember("r", "a", store.MemberOwner), putMember("r", "b", 0), putMember("r", "c", 0))
	commit(t, s, deleteMember("r", "a"), putMember("r", "c", store.MemberOwner))
	if h := handBack(t, s); !slices.Equal(h.Reordered, []string{at("r").URI()}) || ownersBehind(t, s) != 0 {
		t.Errorf("the new owner is not the first member: %+v", h)
	}
	if h := handBack(t, s); len(h.Reordered) != 0 {
		t.Errorf("again: %+v", h)
	}
	// The age of the members is still known.
	if got := users(load(t, s)[at("r").URI()]); !reflect.DeepEqual(got, []string{"b", "c"}) {
		t.Errorf("members %v", got)
	}
}

func TestHandBackNamesEmptyRooms(t *testing.T) {
	onEach(t, func(t *testing.T, url string) {
		s := open(t, url, Options{})
		commit(t, s, putRoom("r", 0), putMember("r", "a", store.MemberOwner), putRoom("q", 0),
			putRoom("p", store.RoomPrivate))
		if h := handBack(t, s); !slices.Equal(h.Empty, []string{at("p").URI(), at("q").URI()}) || len(h.Reordered) != 0 {
			t.Errorf("%+v", h)
		}
	})
}
