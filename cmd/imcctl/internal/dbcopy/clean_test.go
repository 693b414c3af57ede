package dbcopy

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"imcd/engine/store"
	"imcd/evapi/evapitest/kit"
	"imcd/schema"
)

// TestFindings has a row of each kind.
func TestFindings(t *testing.T) {
	t.Parallel()
	from, db := newSQLite(t, looseTables)
	exec(t, db, `BEGIN; INSERT INTO imc_rooms VALUES (1, 'a', 'x.org', 0), (2, 'gone', 'x.org', 2), (3, 'b c', 'x.org', 0),
			(4, 'A', 'x.org', 1), (5, 'a', 'x.org', 0), (6, 'empty', 'x.org', 1), (7, 'p', 'x.org', 65), (8, NULL, 'x.org', 0),
			(9, 'r', 'x.org', NULL)`,
		`INSERT INTO imc_members VALUES (11, 'bob', 'x.org', 'sip:a@x.org', 0), (12, 'carl', 'x.org', 'sip:a@x.org', 2),
			(13, 'alice', 'x.org', 'sip:a@x.org', 1), (14, 'BOB', 'x.org', 'sip:a@x.org', 1),
			(15, 'bob', 'x.org', 'sip:a@x.org', 2), (16, 'dan', 'x.org', 'sip:a@x.org', 8),
			(17, 'e e', 'x.org', 'sip:a@x.org', 0), (18, 'fay', 'x.org', 'sip:gone@x.org', 1),
			(19, 'gus', 'x.org', 'sip:nowhere@x.org', 1), (20, 'hal', 'x.org', 'sip:p@x.org', 1),
			(21, 'ida', 'x.org', 'sip:p@x.org', 132), (22, 'jo', 'x.org', 'sip:r@x.org', NULL),
			(23, 'kim', 'x.org', 'sip:R@x.org', 1); COMMIT`)
	to, _ := newSQLite(t, "")
	r := run(t, Options{From: from, To: to})
	want := []string{
		fmt.Sprintf("1 x %d sip:gone@x.org", deletedRooms),
		fmt.Sprintf("2 x %d sip:b c@x.org, sip:@x.org", oddRooms),
		fmt.Sprintf("1 x %d sip:A@x.org", otherCaseRooms),
		fmt.Sprintf("1 x %d sip:a@x.org", twiceRooms),
		fmt.Sprintf("1 x %d sip:dan@x.org in sip:a@x.org", deletedMembers),
		fmt.Sprintf("1 x %d sip:e e@x.org in sip:a@x.org", oddMembers),
		fmt.Sprintf("3 x %d sip:fay@x.org in sip:gone@x.org, sip:gus@x.org in sip:nowhere@x.org, "+
			"sip:kim@x.org in sip:R@x.org", orphans),
		fmt.Sprintf("1 x %d sip:BOB@x.org in sip:a@x.org", otherCase),
		fmt.Sprintf("1 x %d sip:bob@x.org in sip:a@x.org", twiceMembers),
		fmt.Sprintf("1 x %d sip:a@x.org", reordered),
		fmt.Sprintf("1 x %d sip:empty@x.org", emptyRooms),
		fmt.Sprintf("1 x %d sip:r@x.org", ownerless),
		fmt.Sprintf("2 x %d sip:p@x.org, sip:ida@x.org in sip:p@x.org", oddFlags),
	}
	if got := found(r); !slices.Equal(got, want) {
		t.Errorf("found\n%q\nwant\n%q", got, want)
	}
	if r.Read != (Counts{9, 13}) || r.Written != (Counts{4, 6}) {
		t.Errorf("%+v", r)
	}
	path := to[len("sqlite://"):]
	wantRows := []string{"room 1 a@x.org 0", "room 6 empty@x.org 1", "room 7 p@x.org 65", "room 9 r@x.org 0",
		"sip:a@x.org 11 alice@x.org 1", "sip:a@x.org 12 bob@x.org 0", "sip:a@x.org 13 carl@x.org 2",
		"sip:p@x.org 20 hal@x.org 1", "sip:p@x.org 21 ida@x.org 132", "sip:r@x.org 22 jo@x.org 0"}
	if got := dump(t, openSQL(t, "sqlite", path, "")); !slices.Equal(got, wantRows) {
		t.Errorf("written\n%q\nwant\n%q", got, wantRows)
	}
}

// TestNewIDs: ids that cannot be taken over.
func TestNewIDs(t *testing.T) {
	t.Parallel()
	for name, ids := range map[string][2]int64{"twice": {3, 3}, "none": {0, 1}, "negative": {-1, 1},
		"large": {1, 1 << 31}} {
		all := rowsOf(map[string]int{"r": 0}, "r alice 1", "r bob 0")
		all.Members[0].ID, all.Members[1].ID = ids[0], ids[1]
		kept, found := clean(all, false, true)
		if len(found) != 1 || found[0].What != kinds[newIDs].what || found[0].Rows != 2 || kept.Members[0].ID != 1 ||
			kept.Members[0].User != "alice" || kept.Members[1].ID != 2 {
			t.Errorf("%s: %+v, %+v", name, kept, found)
		}
	}
}

// TestFoldedRooms: a database that compares without case finds a room by another spelling.
func TestFoldedRooms(t *testing.T) {
	t.Parallel()
	all := rowsOf(map[string]int{"Garden": 0}, "garden alice 1", "Garden bob 0")
	kept, found := clean(all, true, false)
	if len(found) != 1 || found[0].What != kinds[respelt].what || len(kept.Members) != 2 ||
		kept.Members[0].Room != "sip:Garden@example.org" {
		t.Errorf("%+v, %+v", kept, found)
	}
}

// TestCleanKeepsTheRooms: imcd loads from the copy what it loads from the original, whatever rows there are, but that
// owners come first; and a copy of the copy is the same.
func TestCleanKeepsTheRooms(t *testing.T) {
	t.Parallel()
	for seed := range 6 {
		path := filepath.Join(t.TempDir(), "chat")
		from, to := "sqlite://"+path+"a.db", "sqlite://"+path+"b.db"
		db := openSQL(t, "sqlite", path+"a.db", looseTables)
		exec(t, db, "BEGIN;"+rapid.Custom(oddRows).Example(seed)+"COMMIT")
		db.Close()
		first := run(t, Options{From: from, To: to})
		before, after := rooms(t, from), rooms(t, to)
		if len(before) == 0 || len(before) != len(after) {
			t.Errorf("%d: %d rooms became %d: %+v", seed, len(before), len(after), first)
		}
		for uri, room := range before {
			if !slices.Equal(room, after[uri]) {
				t.Errorf("%d: %s: %q became %q", seed, uri, room, after[uri])
			}
		}
		again := run(t, Options{From: to, To: "sqlite://" + path + "c.db"})
		for _, f := range again.Findings {
			if f.Outcome != AsIs {
				t.Errorf("%d: found in the copy: %+v", seed, f)
			}
		}
		if again.Read != first.Written || again.Written != first.Written {
			t.Errorf("%d: %+v, then %+v", seed, first, again)
		}
	}
}

// oddRows makes the rows of some domains, which have nothing to do with each other but their ids.
func oddRows(t *rapid.T) string {
	name := rapid.SampledFrom([]string{"a", "A", "%61", "b", "c", "d", "e", "f f", "", "g"})
	room := rapid.SampledFrom([]string{"a", "a", "a", "A", "b", "b", "b", "c", "c d"})
	flag := rapid.SampledFrom([]int{0, 0, 0, 1, 2, 4, 8, 16, 33})
	ids := rapid.Permutation(slices.Collect(func(yield func(int) bool) {
		for i := range 2000 {
			if !yield(i + 1) {
				return
			}
		}
	})).Draw(t, "ids")
	id := func() int { // of rows that are there twice, with one id, imcd keeps either
		ids = ids[1:]
		return ids[0]
	}
	var script strings.Builder
	for domain := range 20 {
		for range rapid.IntRange(0, 8).Draw(t, "rooms") {
			fmt.Fprintf(&script, "INSERT INTO imc_rooms VALUES (%d, '%s', 'x%d.org', %d);", id(), room.Draw(t, "name"), domain,
				flag.Draw(t, "flag"))
		}
		for range rapid.IntRange(0, 40).Draw(t, "members") {
			fmt.Fprintf(&script, "INSERT INTO imc_members VALUES (%d, '%s', 'x.org', 'sip:%s@x%d.org', %d);", id(),
				name.Draw(t, "name"), room.Draw(t, "room"), domain, flag.Draw(t, "flag"))
		}
	}
	return script.String()
}

// rooms is what imcd loads: the flags of rooms and members, and who is older than whom, but for the first owner.
func rooms(t *testing.T, url string) map[string][]string {
	t.Helper()
	s, err := schema.Open(kit.Context(t), url, schema.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	all := make(map[string][]string)
	err = s.Load(kit.Context(t), store.Part{}, func(r store.RoomState) error {
		list := []string{fmt.Sprint(r.Room.Flag), ""}
		for _, m := range r.Members {
			if text := fmt.Sprint(m.User.URI(), " ", m.Flag); list[1] == "" && m.Flag&store.MemberOwner != 0 {
				list[1] = text
			} else {
				list = append(list, text)
			}
		}
		all[r.Room.Name.URI()] = list
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}
