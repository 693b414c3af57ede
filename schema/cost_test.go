package schema

import (
	"fmt"
	"slices"
	"testing"

	"imcd/engine/store"
)

// countedTables are those whose rows count.
var countedTables = []string{"imc_rooms", "imc_members", "imcd_rooms", "imcd_messages", "imcd_cursors", "imcd_places",
	"imcd_settings", "imcd_invitations", "imcd_destroyed"}

// countRows makes the database count the rows that are written from now on.
func countRows(t *testing.T, s *Store) {
	t.Helper()
	if s.dialect.name() == "postgres" {
		run(t, s, "CREATE TABLE written (tx BIGINT)", `CREATE FUNCTION count_row() RETURNS trigger LANGUAGE plpgsql AS
			$$ BEGIN INSERT INTO written VALUES (txid_current()); RETURN NULL; END $$`)
		for _, table := range countedTables {
			run(t, s, "CREATE TRIGGER count_row AFTER INSERT OR UPDATE OR DELETE ON "+table+
				" FOR EACH ROW EXECUTE FUNCTION count_row()")
		}
		return
	}
	run(t, s, "CREATE TABLE written (tx BIGINT)")
	for _, table := range countedTables {
		for _, op := range []string{"INSERT", "UPDATE", "DELETE"} {
			run(t, s, fmt.Sprintf("CREATE TRIGGER count_%s_%s AFTER %s ON %s BEGIN INSERT INTO written VALUES (0); END",
				table, op, op, table))
		}
	}
}

// rowsOf is how many rows a commit writes.
func rowsOf(t *testing.T, s *Store, changes ...store.Change) int {
	t.Helper()
	before := count(t, s, "SELECT count(*) FROM written")
	commit(t, s, changes...)
	return count(t, s, "SELECT count(*) FROM written") - before
}

// largeRoom makes a room of so many members, with so many messages that none has got, as
// cursors say.
func largeRoom(t *testing.T, s *Store, room string, id int64, members, messages int) {
	t.Helper()
	changes := []store.Change{putRoomID(room, id), putMember(room, "owner", store.MemberOwner)}
	for i := range messages {
		changes = append(changes, putMessage(id, uint64(i+1), []byte("x")))
	}
	for i := range members - 1 {
		user := fmt.Sprint("m", i)
		changes = append(changes, putMember(room, user, 0), putCursor(id, user, 0))
	}
	for part := range slices.Chunk(changes, 2000) { // each has the deadline of a commit
		commit(t, s, part...)
	}
}

// TestAPromotionCostsWhatAJoinCosts, and no more in a large room than in a small one.
func TestAPromotionCostsWhatAJoinCosts(t *testing.T) {
	onEach(t, func(t *testing.T, url string) {
		s := open(t, url, Options{})
		for i, members := range []int{10, 10000} {
			largeRoom(t, s, fmt.Sprint("r", members), int64(i+1), members, 0)
		}
		countRows(t, s)
		for _, members := range []int{10, 10000} {
			room := fmt.Sprint("r", members)
			for _, step := range []struct {
				what   string
				change store.Change
			}{
				{"a join", putMember(room, "new", 0)},
				{"the promotion of the last", putMember(room, fmt.Sprint("m", members-2), store.MemberOwner)},
				{"the former owner a member", putMember(room, "owner", 0)},
				{"the promotion of the first", putMember(room, "m0", store.MemberOwner)},
			} {
				if n := rowsOf(t, s, step.change); n != 1 {
					t.Errorf("%d members, %s: %d rows are written, want 1", members, step.what, n)
				}
			}
		}
	})
}

// TestDestroyingCostsNoMessages: what the end of a room writes, beside a row for each
// member, does not depend on what was said in it.
func TestDestroyingCostsNoMessages(t *testing.T) {
	onEach(t, func(t *testing.T, url string) {
		s := open(t, url, Options{})
		largeRoom(t, s, "small", 1, 10, 10)
		largeRoom(t, s, "talk", 2, 10, 10000)
		largeRoom(t, s, "crowd", 3, 10000, 10)
		commit(t, s, putPlaces(2, []byte("x")), putSetting(2, "title", "", "x"))
		countRows(t, s)
		const fixed = 3 // in imc_rooms, imcd_rooms and imcd_destroyed
		for room, members := range map[string]int{"small": 10, "talk": 10, "crowd": 10000} {
			if n := rowsOf(t, s, deleteRoom(room)); n != members+fixed {
				t.Errorf("%s: %d rows are written, want %d", room, n, members+fixed)
			}
		}
		run(t, s, "DELETE FROM written")
		prune(t, s)
		if n := count(t, s, "SELECT count(*) FROM written"); n < 20000 {
			t.Errorf("afterwards %d rows are deleted", n)
		}
		if s.dialect.name() == "postgres" {
			if n := count(t, s, "SELECT max(n) FROM (SELECT count(*) AS n FROM written GROUP BY tx) AS t"); n > pruneMessages {
				t.Errorf("%d rows are deleted at once", n)
			}
		}
		wantEmpty(t, s, "")
	})
}

// wantEmpty checks that nothing of rooms is left in imcd's own tables.
func wantEmpty(t *testing.T, s *Store, where string) {
	t.Helper()
	for _, table := range []string{"imcd_messages", "imcd_cursors", "imcd_places", "imcd_settings", "imcd_destroyed"} {
		if n := count(t, s, "SELECT count(*) FROM "+table+where); n != 0 {
			t.Errorf("%s: %d rows are left", table, n)
		}
	}
}

// TestDestroyedAndInterrupted: after a crash in the middle of it nothing is to be seen of a
// destroyed room, also if there is one of its name again, and the rest is deleted.
func TestDestroyedAndInterrupted(t *testing.T) {
	onEach(t, func(t *testing.T, url string) {
		s := open(t, url, Options{})
		largeRoom(t, s, "r", 1, 10, 2*pruneMessages)
		commit(t, s, putPlaces(1, []byte("x")), putSetting(1, "title", "", "x"))
		commit(t, s, deleteRoom("r"))
		args, err := s.dialect.args([]idRow{{ID: 1}})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.db.ExecContext(testContext(t), s.names.Replace(sqlDropMessagesOfIDs), args...); err != nil {
			t.Fatal(err)
		}
		if n := count(t, s, "SELECT count(*) FROM imcd_messages"); n != pruneMessages {
			t.Fatalf("%d messages are left after one step", n)
		}
		s = open(t, url, Options{}) // the first is never closed in time
		if rooms := load(t, s); len(rooms) != 0 {
			t.Errorf("after the crash there is %v", rooms)
		}
		commit(t, s, putRoomID("r", 2), putMember("r", "a", store.MemberOwner), putMember("r", "m1", 0),
			putMessage(2, 1, []byte("new")))
		r := load(t, s)[at("r").URI()]
		if len(r.Members) != 2 || r.Room.Seq != 1 || len(cursorsOf(r)) != 0 || len(r.Places) != 0 {
			t.Errorf("made again it is %+v", r)
		}
		if err := s.Commit(testContext(t), store.Fence{}, []store.Change{putMessage(1, 2*pruneMessages+1, nil)}); err == nil {
			t.Error("the destroyed room takes a message")
		}
		prune(t, s)
		wantEmpty(t, s, " WHERE room_id = 1")
		if got := seqs(t, s, 2); len(got) != 1 {
			t.Errorf("messages of the new room: %v", got)
		}
	})
}
