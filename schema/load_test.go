package schema

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"imcd/engine/store"
)

// tables are the rows that a test puts into Kamailio's tables and ours, in the
// order in which they are inserted; ids are not.
type tables struct {
	rooms   []tableRoom
	members []tableMember
	invites []memberRow
	cursors []cursorRow
}

type tableRoom struct {
	id   int
	name store.Name
	flag int
	own  int64 // imcd_rooms.id; 0: none
}

type tableMember struct {
	id   int
	room string
	name store.Name
	flag int
}

// drawTables draws few names, so that most of them meet: rooms and members that
// differ by case, rows marked deleted, members, invitations and cursors of what
// is not there, ids in no order.
func drawTables(r *rapid.T) (t tables) {
	names := func(stems string) []store.Name {
		var list []store.Name
		for _, stem := range stems {
			for _, user := range []string{string(stem), strings.ToUpper(string(stem))} {
				list = append(list, store.Name{User: user, Host: "x.org"}, store.Name{User: user, Host: "X.org"})
			}
		}
		return list
	}
	users, roomNames := names("uvw"), names("rst")
	some := func(names []store.Name, label string) []store.Name {
		return rapid.SliceOfNDistinct(rapid.SampledFrom(names), 0, len(names), rapid.ID[store.Name]).Draw(r, label)
	}
	uris := []string{"sip:nowhere@x.org", "no URI at all"}
	for i, name := range some(roomNames, "rooms") {
		room := tableRoom{name: name, flag: rapid.SampledFrom([]int{0, 1, 2, 3, 17}).Draw(r, "room flag")}
		if rapid.Bool().Draw(r, "has an id") {
			room.own = int64(i + 1)
		}
		t.rooms, uris = append(t.rooms, room), append(uris, name.URI())
	}
	for _, uri := range uris {
		for _, user := range some(users, "members") {
			t.members = append(t.members, tableMember{room: uri, name: user,
				flag: rapid.SampledFrom([]int{0, 0, 1, 2, 4, 4, 8, 12, 16, 20}).Draw(r, "flag")})
		}
		for _, user := range some(users, "invitations") {
			t.invites = append(t.invites, memberRow{Room: uri, Username: user.User, Domain: user.Host, InviterName: "i",
				InviterDomain: "x.org", Delivered: rapid.Bool().Draw(r, "told")})
		}
	}
	for id := range len(t.rooms) + 1 {
		for _, user := range some(users, "cursors") {
			t.cursors = append(t.cursors, cursorRow{RoomID: int64(id + 1), Username: user.User, Domain: user.Host,
				Seq: rapid.Int64Range(0, 99).Draw(r, "seq")})
		}
	}
	ids := func(n int) []int {
		return rapid.Permutation(slices.Collect(func(yield func(int) bool) {
			for i := 0; i < n && yield(i+1); i++ {
			}
		})).Draw(r, "ids")
	}
	for i, id := range ids(len(t.rooms)) {
		t.rooms[i].id = id
	}
	for i, id := range ids(len(t.members)) {
		t.members[i].id = id
	}
	t.members = rapid.Permutation(t.members).Draw(r, "order")
	return t
}

// fill replaces everything in the database.
func (t tables) fill(tb testing.TB, s *Store) {
	var values [5][]string
	add := func(i int, format string, args ...any) { values[i] = append(values[i], fmt.Sprintf(format, args...)) }
	for _, room := range t.rooms {
		add(0, "(%d, '%s', '%s', %d)", room.id, room.name.User, room.name.Host, room.flag)
		if room.own != 0 {
			add(1, "('%s', %d, 100, 50)", room.name.URI(), room.own)
		}
	}
	for _, m := range t.members {
		add(2, "(%d, '%s', '%s', '%s', %d)", m.id, m.name.User, m.name.Host, m.room, m.flag)
	}
	for _, i := range t.invites {
		add(3, "('%s', '%s', '%s', '%s', '%s', %t)", i.Room, i.Username, i.Domain, i.InviterName, i.InviterDomain,
			i.Delivered)
	}
	for _, c := range t.cursors {
		add(4, "(%d, '%s', '%s', %d)", c.RoomID, c.Username, c.Domain, c.Seq)
	}
	for i, table := range []string{"imc_rooms (id, name, domain, flag)", "imcd_rooms (room, id, seq, done)",
		"imc_members (id, username, domain, room, flag)",
		"imcd_invitations (room, username, domain, inviter_username, inviter_domain, told)",
		"imcd_cursors (room_id, username, domain, seq)"} {
		name, _, _ := strings.Cut(table, " ")
		run(tb, s, "DELETE FROM "+name)
		if len(values[i]) > 0 {
			run(tb, s, "INSERT INTO "+table+" VALUES "+strings.Join(values[i], ", "))
		}
	}
}

// want says the slow way what Load should make of them, by URI, and how many
// members have no room.
func (t tables) want() (states map[string]store.RoomState, orphans int) {
	states = make(map[string]store.RoomState)
	for _, m := range t.members {
		if m.flag&store.MemberDeleted == 0 && !slices.ContainsFunc(t.rooms, func(room tableRoom) bool {
			return room.name.URI() == m.room && t.lives(room)
		}) {
			orphans++
		}
	}
	for _, room := range t.rooms {
		if !t.lives(room) {
			continue
		}
		state := store.RoomState{Room: store.RoomRow{Name: room.name, Flag: room.flag & 1, ID: room.own}}
		if room.own != 0 {
			state.Room.Seq, state.Room.Done = 100, 50
		}
		for id := range len(t.members) + 1 {
			for _, m := range t.members {
				if m.id == id && m.room == room.name.URI() && m.flag&store.MemberDeleted == 0 && !hasTwin(state, m.name) {
					state.Members = append(state.Members, t.member(room, m))
				}
			}
		}
		states[room.name.URI()] = state
	}
	return states, orphans
}

// lives: it is not marked deleted, and is the oldest of its duplicates that are not.
func (t tables) lives(room tableRoom) bool {
	return room.flag&store.RoomDeleted == 0 && !slices.ContainsFunc(t.rooms, func(other tableRoom) bool {
		return other.flag&store.RoomDeleted == 0 && other.name.Key() == room.name.Key() && other.id < room.id
	})
}

func hasTwin(state store.RoomState, name store.Name) bool {
	return slices.ContainsFunc(state.Members, func(m store.MemberRow) bool { return m.User.Key() == name.Key() })
}

func (t tables) member(room tableRoom, m tableMember) store.MemberRow {
	row := store.MemberRow{Room: room.name, User: m.name, Flag: m.flag & 7}
	if row.Delivered = m.flag&store.MemberInvited != 0; row.Delivered {
		for _, i := range t.invites {
			if i.Room == m.room && (store.Name{User: i.Username, Host: i.Domain}) == m.name {
				row.Inviter, row.Delivered = store.Name{User: i.InviterName, Host: i.InviterDomain}, i.Delivered
			}
		}
	}
	for _, c := range t.cursors {
		if room.own != 0 && c.RoomID == room.own && (store.Name{User: c.Username, Host: c.Domain}) == m.name {
			seq := uint64(c.Seq)
			row.Cursor = &seq
		}
	}
	return row
}

// TestLoadAgreesWithSlowReading compares Load and LoadRooms with a plain reading
// of the same rows.
func TestLoadAgreesWithSlowReading(t *testing.T) {
	onEach(t, func(t *testing.T, url string) {
		s := open(t, url, Options{})
		rapid.Check(t, func(r *rapid.T) {
			drawn := drawTables(r)
			drawn.fill(t, s)
			want, orphans := drawn.want()
			left := newLeftovers()
			a := newAssembler(store.Part{}, &left, s.opts.Log)
			if err := s.read(testContext(t), a, false); err != nil || left.orphans != orphans {
				r.Fatalf("%d members without a room, %v; want %d", left.orphans, err, orphans)
			}
			for _, room := range drawn.rooms {
				state, there := want[room.name.URI()]
				if there == left.hides(room.name) {
					r.Fatalf("room %s is there: %t, and so it is among what was left out", room.name.URI(), there)
				}
				if !there {
					continue
				}
				// Before Load, which deletes what is lost.
				got, err := s.LoadRooms(testContext(t), []store.Name{room.name})
				if err != nil || !reflect.DeepEqual(got, []store.RoomState{state}) {
					r.Fatalf("room %s: %+v, %v; want\n%+v", room.name.URI(), got, err, state)
				}
			}
			if got := loadParts(r, s, drawn); !reflect.DeepEqual(got, want) {
				r.Fatalf("loaded in parts\n%+v, want\n%+v", got, want)
			}
			if got := load(t, s); !reflect.DeepEqual(got, want) {
				r.Fatalf("loaded\n%+v, want\n%+v", got, want)
			}
		})
	})
}

// loadParts loads all rooms, some shards at a time, and wants each among its own.
func loadParts(r *rapid.T, s *Store, drawn tables) map[string]store.RoomState {
	shards := rapid.SampledFrom([]int{1, 2, 8}).Draw(r, "shards")
	first := rapid.IntRange(0, shards).Draw(r, "shards of the first part")
	rooms := make(map[string]store.RoomState)
	for _, bounds := range [][2]int{{0, first}, {first, shards}} {
		part := store.Part{Of: shards}
		for i := bounds[0]; i < bounds[1]; i++ {
			part.Shards = append(part.Shards, int64(i))
		}
		err := s.Load(context.Background(), part, func(state store.RoomState) error {
			shard := int64(store.Hash(state.Room.Name.Key()) & uint32(shards-1))
			if _, twice := rooms[state.Room.Name.URI()]; twice || !slices.Contains(part.Shards, shard) {
				r.Errorf("%s of shard %d came with %v", state.Room.Name.URI(), shard, part.Shards)
			}
			rooms[state.Room.Name.URI()] = state
			return nil
		})
		if err != nil {
			r.Fatal(err)
		}
	}
	for _, room := range drawn.rooms {
		if _, there := rooms[room.name.URI()]; there == s.leftovers.hides(room.name) {
			r.Errorf("room %s is there: %t, and so it is among what was left out", room.name.URI(), there)
		}
	}
	return rooms
}

// TestASnapshotIsOfOneMoment: Load reads table after table, while others commit.
func TestASnapshotIsOfOneMoment(t *testing.T) {
	onEach(t, func(t *testing.T, url string) {
		s, other := open(t, url, Options{}), open(t, url, Options{})
		commit(t, s, putRoom("a", 0))
		rooms := func(snap snapshot) (n int64) {
			if err := s.scan(testContext(t), snap, "rooms", func(r *row) { n = r.number(0) },
				"SELECT count(*) FROM imc_rooms"); err != nil {
				t.Fatal(err)
			}
			return n
		}
		err := s.inSnapshot(testContext(t), func(snap snapshot) error {
			before := rooms(snap)
			commit(t, other, putRoom("b", 0))
			if after := rooms(snap); before != 1 || after != 1 {
				t.Errorf("%d and then %d rooms, want 1", before, after)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if n := len(load(t, s)); n != 2 {
			t.Errorf("%d rooms in the end", n)
		}
	})
}
