package schema

import (
	"bytes"
	"context"
	"errors"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"imcd/engine/store"
	"imcd/evapi"
)

// allBytes holds every byte, NUL among them, and no valid UTF-8.
func allBytes() []byte {
	b := make([]byte, 256)
	for i := range b {
		b[i] = byte(i)
	}
	return b
}

// entityHeaders go with a body.
var entityHeaders = []evapi.Header{{Name: "Content-Encoding", Value: "deflate"},
	{Name: "Content-Disposition", Value: "attachment; filename=\"a: b \xff.png\""}, {Name: "X-IMC-Path", Value: ""}}

func TestMessagesComeBackAsTheyWere(t *testing.T) {
	onEach(t, func(t *testing.T, url string) {
		s := open(t, url, Options{})
		want := []store.MessageRow{
			{Room: math.MaxInt64, Seq: 1, Sender: at("alice"), Body: allBytes(), At: epoch},
			{Room: math.MaxInt64, Seq: 2, Sender: at("bob"), Display: strings.Repeat("é", 64), Body: []byte{},
				At: epoch.Add(-time.Hour)},
			{Room: math.MaxInt64, Seq: 3, Sender: at("a"), ContentType: "x/" + strings.Repeat("y", 5000) + "\x00\xff",
				Body: bytes.Repeat([]byte(`\"'{},\x00`), 6000), At: epoch},
			{Room: math.MaxInt64, Seq: 4, Sender: at("a"), ContentType: "image/png", Body: []byte("PNG"), At: epoch,
				Headers: entityHeaders,
				Expires: epoch.Add(time.Second), MessageID: "a\x00\xff", Wants: store.WantsDelivered | store.WantsDisplayed,
				Device: "urn:uuid:ü"},
		}
		changes := []store.Change{putRoomID("r", math.MaxInt64)}
		for i := range want {
			changes = append(changes, store.Change{Op: store.PutMessage, Message: &want[i]})
		}
		commit(t, s, changes[:3]...)
		commit(t, s, changes[3:]...)
		for reopened, s := range []*Store{s, open(t, url, Options{})} {
			got, err := s.Messages(testContext(t), math.MaxInt64, 0, 10)
			if err != nil || !slices.EqualFunc(got, want, sameMessage) {
				t.Errorf("stores reopened: %d: %d messages, %v", reopened, len(got), err)
			}
			if r := load(t, s)[at("r").URI()].Room; r.ID != math.MaxInt64 || r.Seq != 4 || r.Done != 0 {
				t.Errorf("room %+v", r)
			}
		}
	})
}

func TestMessagesAreReadInPages(t *testing.T) {
	onEach(t, func(t *testing.T, url string) {
		s := open(t, url, Options{})
		changes := []store.Change{putRoomID("r", 7), putRoomID("q", 8), putMessage(8, 1, nil)}
		for seq := range uint64(10) {
			changes = append(changes, putMessage(7, seq+1, []byte("x")))
		}
		commit(t, s, changes...)
		for _, page := range []struct {
			after       uint64
			limit       int
			first, last uint64 // 0: none
		}{{0, 3, 1, 3}, {3, 4, 4, 7}, {7, 100, 8, 10}, {10, 5, 0, 0}, {0, 0, 0, 0}, {0, -1, 0, 0},
			{math.MaxUint64, 5, 0, 0}} {
			got, err := s.Messages(testContext(t), 7, page.after, page.limit)
			if err != nil || (len(got) == 0) != (page.first == 0) ||
				len(got) > 0 && (got[0].Seq != page.first || got[len(got)-1].Seq != page.last) {
				t.Errorf("%+v: %v, %v", page, got, err)
			}
		}
	})
}

func TestAMessageIsStoredOnce(t *testing.T) {
	onEach(t, func(t *testing.T, url string) {
		s := open(t, url, Options{})
		commit(t, s, putRoomID("r", 1), putMessage(1, 1, []byte("first")), putMessage(1, 2, []byte("second")))
		for name, changes := range map[string][]store.Change{
			"again":           {putMessage(1, 3, nil), putMessage(1, 2, []byte("again"))},
			"last again":      {putMessage(1, 2, []byte("again"))},
			"twice in one":    {putMessage(1, 3, nil), putMessage(1, 3, nil)},
			"no such room":    {putMessage(1, 3, nil), putMessage(2, 1, nil)},
			"room is gone":    {putRoomID("q", 3), deleteRoom("q"), putMessage(3, 1, nil)},
			"id of another":   {putRoomID("q", 1)},
			"without number":  {putMessage(1, 0, nil)},
			"number too high": {putMessage(1, math.MaxUint64, nil)},
			"no row":          {{Op: store.PutMessage}},
			"negative id":     {putRoomID("q", -1)},
		} {
			if err := s.Commit(testContext(t), store.Fence{}, append(changes, putRoom("x", 0))); !errors.Is(err, ErrInvalid) {
				t.Errorf("%s: error %v", name, err)
			}
		}
		got, err := s.Messages(testContext(t), 1, 0, 10)
		if err != nil || len(got) != 2 || string(got[1].Body) != "second" || len(load(t, s)) != 1 {
			t.Errorf("stored %v, %v", got, err)
		}
		// A number that was pruned is not free either.
		if n, err := s.Prune(testContext(t), store.Limits{Age: time.Second}, epoch.Add(time.Hour)); n != 2 || err != nil {
			t.Fatalf("pruned %d, %v", n, err)
		}
		pruned := []store.Change{putMessage(1, 2, nil)}
		if err := s.Commit(testContext(t), store.Fence{}, pruned); !errors.Is(err, ErrInvalid) {
			t.Errorf("a pruned number is taken: %v", err)
		}
		commit(t, s, putMessage(1, 3, nil))
	})
}

func TestMessagesInOneCommitKeepTheirOrder(t *testing.T) {
	said := func(seq uint64) store.Change { return putMessage(1, seq, []byte("x")) }
	before := []store.Change{putRoomID("r", 1), putMember("r", "a", 1), putMember("r", "b", 0), said(1),
		putCursor(1, "b", 1)}
	tests := []struct {
		name    string
		changes []store.Change
		id      int64
		seqs    []uint64
		cursors map[string]uint64
		done    uint64
	}{
		{"message, then destroy", []store.Change{said(2), putProgress(1, 2), putCursor(1, "a", 2), deleteRoom("r")}, 0, nil,
			nil, 0},
		{"destroy and create", []store.Change{said(2), deleteRoom("r"), putRoomID("r", 2), putMember("r", "a", 1),
			putCursor(1, "a", 1),
			putProgress(1, 9), putMessage(2, 1, nil), putProgress(2, 1)}, 2, []uint64{1}, map[string]uint64{}, 1},
		{"another id", []store.Change{said(2), putRoomID("r", 2), putMessage(2, 1, nil), putMessage(2, 2, nil),
			putCursor(2, "a", 2)},
			2, []uint64{1, 2}, map[string]uint64{"a": 2}, 0},
		{"the same id again", []store.Change{putRoomID("r", 1), said(2)}, 1, []uint64{1, 2}, map[string]uint64{"b": 1}, 0},
		{"no id keeps the id", []store.Change{putRoom("r", 1), said(2)}, 1, []uint64{1, 2}, map[string]uint64{"b": 1}, 0},
		{"cursor, then leave", []store.Change{putCursor(1, "b", 9), deleteMember("r", "b")}, 1, []uint64{1},
			map[string]uint64{}, 0},
		{"leave and return", []store.Change{deleteMember("r", "b"), putMember("r", "b", 0)}, 1, []uint64{1},
			map[string]uint64{}, 0},
		{"leave and return with a cursor", []store.Change{said(2), deleteMember("r", "b"), putMemberAt("r", "b", 2)},
			1, []uint64{1, 2}, map[string]uint64{"b": 2}, 0},
		{"last cursor wins", []store.Change{putMemberAt("r", "a", 5), putCursor(1, "a", 3), putCursor(1, "b", 4),
			putMemberAt("r", "b", 2)},
			1, []uint64{1}, map[string]uint64{"a": 3, "b": 2}, 0},
		{"a member without a cursor keeps it", []store.Change{putMember("r", "b", 2)}, 1, []uint64{1},
			map[string]uint64{"b": 1}, 0},
		{"no cursor any more", []store.Change{removeCursor(1, "b"), removeCursor(1, "a"), putProgress(1, 0),
			putProgress(1, 1)},
			1, []uint64{1}, map[string]uint64{}, 1},
		{"cursor of nobody", []store.Change{putCursor(1, "x", 1), putCursor(9, "a", 1), putProgress(9, 1)},
			1, []uint64{1}, map[string]uint64{"b": 1}, 0},
	}
	onEach(t, func(t *testing.T, url string) {
		s := open(t, url, Options{})
		for _, test := range tests {
			t.Run(test.name, func(t *testing.T) {
				replay(t, s, before, test.changes)
				prune(t, s)
				r, found := load(t, s)[at("r").URI()]
				if found != (test.id != 0) || r.Room.ID != test.id || r.Room.Done != test.done {
					t.Errorf("room %+v", r.Room)
				}
				if got := cursorsOf(r); found && !reflect.DeepEqual(got, test.cursors) {
					t.Errorf("cursors %v, want %v", got, test.cursors)
				}
				if got := seqs(t, s, max(test.id, 1)); !slices.Equal(got, test.seqs) {
					t.Errorf("messages %v, want %v", got, test.seqs)
				}
				if r.Room.Seq != uint64(len(test.seqs)) || count(t, s, "SELECT count(*) FROM imcd_messages") != len(test.seqs) ||
					count(t, s, "SELECT count(*) FROM imcd_cursors") != len(test.cursors) {
					t.Errorf("number %d, or rows of something that is gone", r.Room.Seq)
				}
			})
		}
	})
}

func putMemberAt(room, user string, cursor uint64) store.Change {
	c := putMember(room, user, 0)
	c.Member.Cursor = &cursor
	return c
}

func removeCursor(id int64, user string) store.Change {
	c := putCursor(id, user, 0)
	c.Cursor.Remove = true
	return c
}

func cursorsOf(r store.RoomState) map[string]uint64 {
	cursors := make(map[string]uint64)
	for _, m := range r.Members {
		if m.Cursor != nil {
			cursors[m.User.User] = *m.Cursor
		}
	}
	return cursors
}

func TestARoomOfTheModuleGetsAnID(t *testing.T) {
	onEach(t, func(t *testing.T, url string) {
		s := open(t, url, Options{})
		run(t, s, operatorsRows...)
		r := load(t, s)[at("live").URI()]
		if r.Room.ID != 0 || r.Room.Seq != 0 || r.Members[0].Cursor != nil {
			t.Errorf("loaded %+v", r)
		}
		commit(t, s, putMemberAt("live", "new", 0)) // its cursor is that of a room without messages
		room := r.Room
		room.ID = 5
		commit(t, s, store.Change{Op: store.PutRoom, Room: room}, putMessage(5, 1, nil))
		if got := load(t, s)[at("live").URI()].Room; got != (store.RoomRow{Name: at("live"), Flag: room.Flag, ID: 5,
			Seq: 1}) {
			t.Errorf("loaded %+v", got)
		}
		states, err := s.LoadRooms(testContext(t), []store.Name{at("live"), at("empty")})
		if err != nil || len(states) != 2 || states[0].Room.ID != 0 || states[1].Room.ID != 5 {
			t.Errorf("loaded %+v, %v", states, err)
		}
	})
}

func TestAnswersAreRemembered(t *testing.T) {
	onEach(t, func(t *testing.T, url string) {
		s := open(t, url, Options{})
		commit(t, s, putSeen(1, 200, epoch), putSeen(2, 403, epoch.Add(time.Minute)), putSeen(1, 202, epoch.Add(time.Second)))
		commit(t, s, putSeen(3, 404, epoch.Add(-time.Minute)), putSeen(2, 480, epoch.Add(2*time.Minute)))
		want := []store.SeenRow{*putSeen(1, 202, epoch.Add(time.Second)).Seen,
			*putSeen(2, 480, epoch.Add(2*time.Minute)).Seen}
		got, err := s.Seen(testContext(t), store.Part{}, epoch)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("answers %v, %v; want %v", got, err, want)
		}
		bad := putSeen(4, 200, epoch)
		bad.Seen.Reason = "\xff"
		if err := s.Commit(testContext(t), store.Fence{}, []store.Change{bad}); !errors.Is(err, ErrInvalid) {
			t.Errorf("a reason that is no text: %v", err)
		}
	})
}

func TestLargeCommitOfMessages(t *testing.T) {
	onEach(t, func(t *testing.T, url string) {
		s := open(t, url, Options{})
		body := bytes.Repeat(allBytes(), 190) // about the largest that Kamailio hands over
		changes := []store.Change{putRoomID("r", 1), putRoomID("q", 2)}
		for seq := range uint64(100) {
			changes = append(changes, putMessage(1, seq+1, body))
		}
		for seq := range uint64(2500) {
			changes = append(changes, putMessage(2, seq+1, nil))
		}
		commit(t, s, changes...)
		got, err := s.Messages(testContext(t), 1, 0, 1000)
		if err != nil || len(got) != 100 || !bytes.Equal(got[99].Body, body) || len(seqs(t, s, 2)) != 2500 {
			t.Errorf("%d messages, %v", len(got), err)
		}
	})
}

func TestCallsForMessagesKeepToTheirContext(t *testing.T) {
	onEach(t, func(t *testing.T, url string) {
		s := open(t, url, Options{})
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		_, messages := s.Messages(ctx, 1, 0, 1)
		_, seen := s.Seen(ctx, store.Part{}, epoch)
		_, prune := s.Prune(ctx, store.Limits{Messages: 1, SeenAge: 1}, epoch)
		for name, err := range map[string]error{"Messages": messages, "Seen": seen, "Prune": prune} {
			if !errors.Is(err, context.Canceled) || errors.Is(err, ErrUnavailable) {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
}

func deleteMessage(room int64, seq uint64) store.Change {
	return store.Change{Op: store.DeleteMessage, Message: &store.MessageRow{Room: room, Seq: seq}}
}

// emptied is what is left of a message that was deleted.
func emptied(m store.MessageRow) store.MessageRow {
	return store.MessageRow{Room: m.Room, Seq: m.Seq, Sender: m.Sender, At: m.At, Body: []byte{},
		Expires: store.DeletedTime()}
}

// TestDeletedMessages: they keep their numbers, and the last ones are those that are left.
func TestDeletedMessages(t *testing.T) {
	onEach(t, func(t *testing.T, url string) {
		s := open(t, url, Options{})
		changes := []store.Change{putRoomID("r", 7), putRoomID("q", 8), putMessage(8, 1, []byte("other"))}
		for seq := range uint64(6) {
			changes = append(changes, putMessage(7, seq+1, []byte("x")))
		}
		commit(t, s, changes...)
		commit(t, s, deleteMessage(7, 2), deleteMessage(7, 5), deleteMessage(7, 5), deleteMessage(7, 9), deleteMessage(9, 1))
		commit(t, s, putMessage(7, 7, []byte("said and deleted")), deleteMessage(7, 7))
		all, err := s.Messages(testContext(t), 7, 0, 10)
		if err != nil || len(all) != 7 || !sameMessage(all[1], emptied(all[1])) || !all[6].Deleted() || all[0].Deleted() {
			t.Errorf("stored are %+v, %v", all, err)
		}
		commit(t, s, deleteMessage(8, 2), putMessage(8, 2, []byte("was not there to be deleted")))
		if others, err := s.Messages(testContext(t), 8, 0, 10); err != nil || len(others) != 2 || others[1].Deleted() {
			t.Errorf("stored are %+v, %v", others, err)
		}
		if n := count(t, s, "SELECT bytes FROM imcd_rooms WHERE id = 7"); n != 4 {
			t.Errorf("the room has %d bytes", n)
		}
		for _, c := range []struct {
			upto  uint64
			limit int
			want  []uint64
		}{{7, 2, []uint64{4, 6}}, {5, 9, []uint64{1, 3, 4}}, {math.MaxUint64, 1, []uint64{6}}, {7, 0, nil}, {0, 5, nil}} {
			rows, err := s.LastMessages(testContext(t), 7, c.upto, c.limit)
			var got []uint64
			for _, row := range rows {
				got = append(got, row.Seq)
			}
			if err != nil || !slices.Equal(got, c.want) {
				t.Errorf("the last %d up to %d are %v, %v", c.limit, c.upto, got, err)
			}
		}
		for name, bad := range map[string]store.Change{"no row": {Op: store.DeleteMessage}, "no room": deleteMessage(0, 1),
			"no number": deleteMessage(7, 0), "number too high": deleteMessage(7, math.MaxUint64)} {
			if err := s.Commit(testContext(t), store.Fence{}, []store.Change{bad}); !errors.Is(err, ErrInvalid) {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
}

// TestMessagesNamed: a message is found by the name that its sender's client has given it, whatever bytes that has.
func TestMessagesNamed(t *testing.T) {
	onEach(t, func(t *testing.T, url string) {
		s := open(t, url, Options{})
		changes := []store.Change{putRoomID("r", 7), putRoomID("q", 8)}
		for i, id := range []string{"a\x00\xff", "b", "", "a\x00\xff", "A"} {
			for room := int64(7); room <= 8; room++ {
				c := putMessage(room, uint64(i+1), []byte("x"))
				c.Message.MessageID = id
				changes = append(changes, c)
			}
		}
		commit(t, s, changes...)
		commit(t, s, deleteMessage(7, 2))
		for _, c := range []struct {
			id    string
			after uint64
			limit int
			want  []uint64
		}{{"a\x00\xff", 0, 9, []uint64{4, 1}}, {"a\x00\xff", 0, 1, []uint64{4}}, {"a\x00\xff", 1, 9, []uint64{4}},
			{"a\x00\xff", 4, 9, nil}, {"a\x00\xff", math.MaxUint64, 9, nil}, {"a\x00\xff", 0, 0, nil}, {"A", 0, 9, []uint64{5}},
			{"b", 0, 9, nil}, {"", 0, 9, nil}, {"' OR 1=1", 0, 9, nil}} {
			rows, err := s.MessagesNamed(testContext(t), 7, c.after, c.id, c.limit)
			var got []uint64
			for _, row := range rows {
				got = append(got, row.Seq)
			}
			if err != nil || !slices.Equal(got, c.want) {
				t.Errorf("above %d %d named %q are %v, %v", c.after, c.limit, c.id, got, err)
			}
		}
	})
}
