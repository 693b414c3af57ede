package schema

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"imcd/engine/store"
	"imcd/evapi/evapitest/kit"
	"imcd/schema/schematest"
)

func TestMain(m *testing.M) { schematest.Main(m) }

// database makes empty databases of one kind.
type database struct {
	name string
	make func(t testing.TB) (url string)
}

func databases() []database {
	return []database{
		{"sqlite", func(t testing.TB) string { return "sqlite://" + filepath.Join(t.TempDir(), "imcd.db") }},
		{"postgres", schematest.NewDatabase},
	}
}

// onEach runs a test on every kind of database.
func onEach(t *testing.T, test func(t *testing.T, url string)) {
	for _, d := range databases() {
		t.Run(d.name, func(t *testing.T) {
			t.Parallel()
			test(t, d.make(t))
		})
	}
}

// patience bounds what must end; nothing measures time with it.
const patience = 30 * time.Second

func testContext(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

// open opens a Store that is closed with the test at the latest.
func open(t testing.TB, url string, opts Options) *Store {
	t.Helper()
	s, err := Open(testContext(t), url, opts)
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return s
}

// commit fails the test if the changes cannot be committed.
func commit(t testing.TB, s store.Store, changes ...store.Change) {
	t.Helper()
	if err := s.Commit(testContext(t), nextFence(t, s), changes); err != nil {
		t.Fatal(err)
	}
}

// load returns all rooms by URI.
func load(t testing.TB, s store.Store) map[string]store.RoomState {
	t.Helper()
	rooms := make(map[string]store.RoomState)
	err := s.Load(testContext(t), store.Part{}, func(r store.RoomState) error {
		if _, twice := rooms[r.Room.Name.URI()]; twice {
			t.Errorf("room %s was loaded twice", r.Room.Name.URI())
		}
		rooms[r.Room.Name.URI()] = r
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return rooms
}

// run executes statements on a Store's database.
func run(t testing.TB, s *Store, statements ...string) {
	t.Helper()
	for _, statement := range statements {
		if _, err := s.db.ExecContext(testContext(t), statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
}

// count returns the single number that a query gives.
func count(t testing.TB, s *Store, query string) (n int) {
	t.Helper()
	if err := s.db.QueryRowContext(testContext(t), query).Scan(&n); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return n
}

// logBuffer collects log lines.
type logBuffer struct{ kit.Output }

func (b *logBuffer) logger() zerolog.Logger { return zerolog.New(b) }

// at and the rest make rows short to write.
func at(user string) store.Name { return store.Name{User: user, Host: "example.org"} }

func putRoom(room string, flag int) store.Change {
	return store.Change{Op: store.PutRoom, Room: store.RoomRow{Name: at(room), Flag: flag}}
}

func deleteRoom(room string) store.Change {
	return store.Change{Op: store.DeleteRoom, Room: store.RoomRow{Name: at(room)}}
}

func putMember(room, user string, flag int) store.Change {
	return store.Change{Op: store.PutMember, Member: store.MemberRow{Room: at(room), User: at(user), Flag: flag}}
}

func putInvited(room, user, inviter string, delivered bool) store.Change {
	return store.Change{Op: store.PutMember, Member: store.MemberRow{Room: at(room), User: at(user),
		Flag: store.MemberInvited, Inviter: at(inviter), Delivered: delivered}}
}

func deleteMember(room, user string) store.Change {
	return store.Change{Op: store.DeleteMember, Member: store.MemberRow{Room: at(room), User: at(user)}}
}

// users lists the members' user parts in their order.
func users(r store.RoomState) (list []string) {
	for _, m := range r.Members {
		list = append(list, m.User.User)
	}
	return list
}

func putRoomID(room string, id int64) store.Change {
	return store.Change{Op: store.PutRoom, Room: store.RoomRow{Name: at(room), ID: id}}
}

func putMessage(id int64, seq uint64, body []byte) store.Change {
	return store.Change{Op: store.PutMessage, Message: &store.MessageRow{Room: id, Seq: seq, Sender: at("sender"),
		ContentType: "text/plain", Body: body, At: epoch.Add(time.Duration(seq) * time.Second)}}
}

func putCursor(id int64, user string, seq uint64) store.Change {
	return store.Change{Op: store.PutCursor, Cursor: &store.CursorRow{Room: id, User: at(user), Seq: seq}}
}

func putProgress(id int64, done uint64) store.Change {
	return store.Change{Op: store.PutProgress, Progress: &store.ProgressRow{Room: id, Done: done}}
}

func putSeen(key byte, code int, when time.Time) store.Change {
	return store.Change{Op: store.PutSeen, Seen: &store.SeenRow{Key: [16]byte{key, 0, 0xff}, Shard: 1 << 31,
		Code: code, RC: -code, Reason: "because", At: when}}
}

// seqs lists the numbers of a room's messages.
// prune deletes what is no limit's matter: what destroyed rooms have left.
func prune(t testing.TB, s *Store) {
	t.Helper()
	if _, err := s.Prune(testContext(t), store.Limits{}, time.Time{}); err != nil {
		t.Fatal(err)
	}
}

// replay commits changes after others, without what a test before it has left of rooms r and q.
func replay(t testing.TB, s *Store, before, changes []store.Change) {
	t.Helper()
	commit(t, s, deleteRoom("r"), deleteRoom("q"))
	prune(t, s)
	commit(t, s, before...)
	commit(t, s, changes...)
}

func seqs(t testing.TB, s *Store, id int64) (list []uint64) {
	t.Helper()
	rows, err := s.Messages(testContext(t), id, 0, 1<<30)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range rows {
		list = append(list, m.Seq)
	}
	return list
}
