package schema

import (
	"context"
	"database/sql"
	"testing"

	"imcd/engine/store"
	"imcd/schema/schematest"
)

// TestOnlyDeliveriesAreRelaxed looks at what a commit waits for.
func TestOnlyDeliveriesAreRelaxed(t *testing.T) {
	s := open(t, schematest.New(t, schematest.Options{Fsync: true}).URL("postgres"), Options{})
	commit(t, s, putRoomID("r", 7), putMember("r", "alice", 0), putMessage(7, 1, []byte("x")))
	progress := store.Change{Op: store.PutProgress, Progress: &store.ProgressRow{Room: 7, Done: 1}}
	for _, tt := range []struct {
		name    string
		changes []store.Change
		want    string
	}{
		{"cursor", []store.Change{putCursor(7, "alice", 1)}, "off"},
		{"progress", []store.Change{progress}, "off"},
		{"places", []store.Change{putPlaces(7, []byte("x"))}, "off"},
		{"both", []store.Change{putCursor(7, "alice", 1), progress}, "off"},
		{"message", []store.Change{putMessage(7, 2, nil)}, "on"},
		{"message and cursor", []store.Change{putCursor(7, "alice", 1), putMessage(7, 3, nil)}, "on"},
		{"progress and member", []store.Change{progress, putMember("r", "bob", 0)}, "on"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := s.inTx(context.Background(), func(tx *sql.Tx) error {
				if err := s.relax(context.Background(), tx, tt.changes); err != nil {
					return err
				}
				got, err := stringsOf(context.Background(), tx, "SHOW synchronous_commit")
				if err == nil && got[0] != tt.want {
					t.Errorf("synchronous_commit is %v, want %s", got, tt.want)
				}
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
			commit(t, s, tt.changes...)
			if got, err := stringsOf(context.Background(), s.db, "SHOW synchronous_commit"); err != nil || got[0] != "on" {
				t.Errorf("afterwards %v, %v", got, err)
			}
		})
	}
}
