package schema

import (
	"errors"
	"reflect"
	"slices"
	"testing"
	"time"

	"imcd/engine/store"
	"imcd/schema/schematest"
)

func putEvent(room string, when time.Time, event string) store.Change {
	return store.Change{Op: store.PutEvent, Event: &store.EventRow{Room: at(room), At: when, Event: []byte(event),
		RoomID: 7, Seq: 3}}
}

// texts are those of events, which must be in order.
func texts(t *testing.T, rows []store.EventRow) (all []string) {
	t.Helper()
	for i, r := range rows {
		if i > 0 && r.ID <= rows[i-1].ID || r.RoomID != 7 || r.Seq != 3 {
			t.Errorf("event %d behind %d: %+v", r.ID, rows[max(0, i-1)].ID, r)
		}
		all = append(all, string(r.Event))
	}
	return all
}

// TestEventsComeBack: in the order in which they happened, with messages and with other changes, until they are
// deleted or too old.
func TestEventsComeBack(t *testing.T) {
	onEach(t, func(t *testing.T, url string) {
		s, ctx := open(t, url, Options{}), testContext(t)
		commit(t, s, putRoomID("r", 7), putMember("r", "a", 1), putEvent("r", epoch, "1"), putEvent("r", epoch, "2"))
		commit(t, s, putMessage(7, 1, []byte("hello")), putEvent("r", epoch.Add(time.Second), "3")) // in one statement
		commit(t, s, deleteRoom("r"), putEvent("r", epoch.Add(2*time.Second), "4"), putEvent("q", epoch.Add(time.Hour), "5"))
		s = open(t, url, Options{})
		all, err := s.Events(ctx, store.Part{}, 0, 10)
		if got := texts(t, all); err != nil || !reflect.DeepEqual(got, []string{"1", "2", "3", "4", "5"}) {
			t.Fatalf("events %v, %v", got, err)
		}
		some, err := s.Events(ctx, store.Part{}, all[0].ID, 2)
		if got := texts(t, some); err != nil || !reflect.DeepEqual(got, []string{"2", "3"}) {
			t.Errorf("events behind the first: %v, %v", got, err)
		}
		if n, oldest, err := s.CountEvents(ctx, 4); err != nil || n != 4 || !oldest.Equal(all[0].At) {
			t.Errorf("counted %d since %v, %v", n, oldest, err)
		}
		if err := s.DropEvents(ctx, []int64{all[1].ID, all[0].ID, 999}); err != nil {
			t.Error(err)
		}
		if n, err := s.DropOldEvents(ctx, epoch.Add(2*time.Second)); err != nil || n != 1 {
			t.Errorf("%d old events deleted, %v", n, err)
		}
		if all, err = s.Events(ctx, store.Part{}, 0, 10); err != nil || len(all) != 2 {
			t.Errorf("%d events are left, %v", len(all), err)
		}
		if n, err := s.DropAllEvents(ctx); err != nil || n != 2 {
			t.Errorf("%d events deleted, %v", n, err)
		}
		if n, oldest, err := s.CountEvents(ctx, 4); err != nil || n != 0 || !oldest.IsZero() {
			t.Errorf("counted %d since %v, %v", n, oldest, err)
		}
		commit(t, s, putEvent("r", epoch, "6"))
		if last, err := s.Events(ctx, store.Part{}, 0, 1); err != nil || last[0].ID <= some[1].ID {
			t.Errorf("an ID came twice: %v, %v", last, err)
		}
		bad := putEvent("", epoch, "7")
		if err := s.Commit(ctx, store.Fence{}, []store.Change{bad}); !errors.Is(err, ErrInvalid) {
			t.Errorf("an event without room: %v", err)
		}
	})
}

// TestEventsOfShards: an engine reads those of its own rooms.
func TestEventsOfShards(t *testing.T) {
	s, ctx := open(t, schematest.NewDatabase(t), Options{}), testContext(t)
	var want []string
	mine := store.Part{Of: 64, Shards: []int64{1, 5, 20, 40}}
	for _, name := range []string{"a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n"} {
		commit(t, s, putEvent(name, epoch, name))
		if slices.Contains(mine.Shards, int64(store.Hash(at(name).Key())&63)) {
			want = append(want, name)
		}
	}
	rows, err := s.Events(ctx, mine, 0, 100)
	if got := texts(t, rows); err != nil || len(want) == 0 || !reflect.DeepEqual(got, want) {
		t.Errorf("events %v, %v; want %v", got, err, want)
	}
}

func TestWebhookGone(t *testing.T) {
	onEach(t, func(t *testing.T, url string) {
		s, ctx := open(t, url, Options{}), testContext(t)
		for range 2 {
			if at, err := s.WebhookGone(ctx, "x"); err != nil || !at.IsZero() {
				t.Fatalf("gone since %v, %v", at, err)
			}
			if err := s.PutWebhookGone(ctx, "y", epoch); err != nil {
				t.Fatal(err)
			}
			if at, err := s.WebhookGone(ctx, "y"); err != nil || !at.Equal(epoch) {
				t.Errorf("gone since %v, %v", at, err)
			}
		}
	})
}
