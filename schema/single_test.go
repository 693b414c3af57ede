package schema

import (
	"errors"
	"strings"
	"testing"
	"time"

	"imcd/engine/store"
)

// TestSingleMessage: one message with its answer and progress is what sqlSingle is for.
func TestSingleMessage(t *testing.T) {
	onEach(t, func(t *testing.T, url string) {
		s := open(t, url, Options{})
		commit(t, s, putRoomID("r", 1), putRoomID("q", 2), putMessage(2, 1, nil))
		want := store.MessageRow{Room: 1, Seq: 5, Sender: at("alice"), Display: "é", ContentType: "x/y\x00\xff",
			Body: allBytes(), At: epoch,
			Headers: entityHeaders, Expires: epoch.Add(time.Minute), MessageID: "id\x00\xff", Wants: store.WantsDisplayed,
			Device: "urn:uuid:1"}
		for _, changes := range [][]store.Change{
			{{Op: store.PutMessage, Message: &want}, putSeen(1, 202, epoch)},
			{putProgress(1, 5), putMessage(1, 6, []byte("b")), putProgress(2, 1), putProgress(9, 1), putSeen(2, 200, epoch)},
			{putSeen(1, 403, epoch), putMessage(2, 2, nil), putProgress(1, 6)},
		} {
			if _, ok := newQuickStatements("imc_members").ofSingle(changes); !ok {
				t.Errorf("%v is no single message", changes)
			}
			commit(t, s, changes...)
		}

		for name, id := range map[string]int64{"number of before": 1, "no such room": 7} {
			err := s.Commit(testContext(t), store.Fence{}, []store.Change{putMessage(id, 6, []byte("again")),
				putSeen(3, 200, epoch), putProgress(2, 2)})
			if !errors.Is(err, ErrInvalid) {
				t.Errorf("%s: %v", name, err)
			}
		}
		got, err := s.Messages(testContext(t), 1, 0, 10)
		if err != nil || len(got) != 2 || !sameMessage(got[0], want) || string(got[1].Body) != "b" {
			t.Errorf("messages %v, %v", got, err)
		}
		rooms := load(t, s)
		r, q := rooms[at("r").URI()].Room, rooms[at("q").URI()].Room
		if r.Seq != 6 || r.Done != 6 || q.Seq != 2 || q.Done != 1 {
			t.Errorf("rooms %+v and %+v", r, q)
		}
		codes := map[byte]int{}
		seen, err := s.Seen(testContext(t), store.Part{}, epoch)
		for _, r := range seen {
			codes[r.Key[0]] = r.Code
		}
		if err != nil || len(codes) != 2 || codes[1] != 403 || codes[2] != 200 {
			t.Errorf("answers %v, %v", codes, err)
		}
		// What the message says of the room's age and size counts.
		if n, err := s.Prune(testContext(t), store.Limits{Age: time.Second}, epoch.Add(4*time.Second)); n != 3 || err != nil {
			t.Errorf("%d messages are too old, %v", n, err)
		}
		if n, err := s.Prune(testContext(t), store.Limits{Bytes: 1}, epoch); n != 0 || err != nil {
			t.Errorf("%d messages are too much, %v", n, err)
		}
	})
}

// TestQuickStatementsDiffer: the server can tell one for another by the number of its
// parameters.
func TestQuickStatementsDiffer(t *testing.T) {
	q := newQuickStatements("imc_members")
	single, ok := q.ofSingle([]store.Change{putMessage(1, 1, nil), putSeen(1, 200, epoch)})
	many, err := (&Store{quick: q, dialect: &postgresDialect{}}).ofBatch(&batch{}, store.Fence{}, false)
	if err != nil || !ok || len(single.args)+fenceParams != singleParams || len(many.args) == singleParams {
		t.Errorf("%d and %d parameters, %v", len(single.args)+fenceParams, len(many.args), err)
	}
	if strings.Contains(q.single+q.many, "{") {
		t.Error("names are missing")
	}
}
