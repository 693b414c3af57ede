package schema

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"imcd/engine/store"
)

// Commit implements store.Store. Changes of the same thing are brought down to
// their outcome first, so that a commit is a handful of statements however many
// changes there are. ErrInvalid: a name is empty, too long, not UTF-8, or against
// a constraint of the tables; a message is of a room that is not stored, or its
// number is not above all that its room had before.
//
// A cursor of who is no member, and progress of a room that is not stored, are
// ignored: they come late.
func (s *Store) Commit(ctx context.Context, changes []store.Change) error {
	return s.commit(ctx, changes, false)
}

// CommitAgain implements store.Store. It waits for the first Commit if that is still
// being carried out, and for the standby that has to confirm it: see again.go.
func (s *Store) CommitAgain(ctx context.Context, changes []store.Change) error {
	return s.commit(ctx, changes, true)
}

func (s *Store) commit(ctx context.Context, changes []store.Change, again bool) error {
	if len(changes) == 0 {
		return nil
	}
	defer s.slow(time.Now(), len(changes))
	doing := fmt.Sprintf("commit %d changes", len(changes))
	if err := checkChanges(changes); err != nil {
		return fmt.Errorf("%s: %w", doing, err)
	}
	if s.quick != nil && isQuick(changes) {
		b := compact(changes, nil, map[store.Name]int64{})
		if chunk(b.messages) == len(b.messages) {
			return wrap(ctx, doing, s.commitQuick(ctx, &b, onlyDeliveries(changes), again))
		}
	}
	s.mu.Lock()
	need := idsNeeded(changes, &s.leftovers)
	s.mu.Unlock()
	var b batch
	err := s.inTx(ctx, func(tx *sql.Tx) error {
		if err := s.dialect.mustHold(ctx, tx, s.holderID()); err != nil {
			return err
		}
		if err := s.relax(ctx, tx, changes); err != nil {
			return err
		}
		ids, err := s.ids(ctx, tx, need)
		if err != nil {
			return err
		}
		s.mu.Lock()
		b = compact(changes, &s.leftovers, ids)
		s.mu.Unlock()
		if again && len(b.seen) > 0 {
			if stored, err := s.isStored(ctx, tx, b.seen[:1]); stored || err != nil {
				return err
			}
		}
		return s.apply(ctx, tx, &b)
	})
	if err = wrap(ctx, doing, err); err != nil {
		if again && !errors.Is(err, ErrInvalid) {
			err = uncertain(err)
		}
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(b.dropRooms)+len(b.dropMembers) > 0 {
		s.leftovers.remove(&b)
	}
	for i := range b.putMembers {
		s.disordered.add(b.putMembers[i].Room)
	}
	return nil
}

// relax does not make a commit wait for the disk that only says what has been
// delivered: if the database crashes in the next moment, that is delivered once
// more. Messages and rooms must wait.
func (s *Store) relax(ctx context.Context, tx *sql.Tx, changes []store.Change) error {
	set := s.dialect.relaxed()
	if set == "" || !onlyDeliveries(changes) {
		return nil
	}
	_, err := tx.ExecContext(ctx, set)
	return err
}

func onlyDeliveries(changes []store.Change) bool {
	for i := range changes {
		switch changes[i].Op {
		case store.PutCursor, store.PutProgress, store.PutPlaces, store.DeleteNote:
		default:
			return false
		}
	}
	return true
}

// dropIDs are the statements that end rooms by their ids. Prune deletes what they leave.
var dropIDs = []string{sqlDropIDs, sqlPutDestroyed}

func (s *Store) apply(ctx context.Context, tx *sql.Tx, b *batch) error {
	steps := []func() error{
		func() error {
			return execRows(ctx, s, tx, b.dropIDs, dropIDs...)
		},
		func() error {
			return execRows(ctx, s, tx, b.dropRooms, sqlDropInvitesOfRooms, sqlDropMembersOfRooms, sqlDropRooms)
		},
		func() error { return execRows(ctx, s, tx, b.dropInvites, sqlDropInvites) },
		func() error { return execRows(ctx, s, tx, b.dropMembers, sqlDropMembers) },
		func() error { return execRows(ctx, s, tx, b.putRooms, sqlUpdateRooms, sqlInsertRooms) },
		func() error { return execRows(ctx, s, tx, b.putMembers, sqlUpdateMembers, sqlInsertMembers) },
		func() error { return execRows(ctx, s, tx, b.putInvites, sqlPutInvites) },
		func() error { return execRows(ctx, s, tx, b.putIDs, sqlPutIDs) },
		func() error { return s.putMessages(ctx, tx, b) },
		func() error { return execRows(ctx, s, tx, b.progress, sqlPutProgress) },
		func() error { return execRows(ctx, s, tx, b.dropCursors, sqlDropCursors) },
		func() error { return execRows(ctx, s, tx, b.putCursors, sqlPutCursors) },
		func() error { return execRows(ctx, s, tx, b.places, sqlPutPlaces) },
		func() error { return execRows(ctx, s, tx, b.seen, sqlPutSeen) },
		func() error { return execRows(ctx, s, tx, b.dropNotes, sqlDropNotes) },
		func() error { return execRows(ctx, s, tx, b.putNotes, sqlPutNotes) },
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// ids returns the stored ids of rooms; those that have none are missing.
func (s *Store) ids(ctx context.Context, tx *sql.Tx, rooms []store.Name) (map[store.Name]int64, error) {
	ids := make(map[store.Name]int64, len(rooms))
	if len(rooms) == 0 {
		return ids, nil
	}
	list := make([]roomRow, len(rooms))
	names := make(map[string]store.Name, len(rooms))
	for i, n := range rooms {
		list[i] = roomRow{Room: n.URI()}
		names[n.URI()] = n
	}
	found, err := idRows(ctx, s, tx, sqlIDs, list)
	for _, r := range found {
		ids[names[r.Room]] = r.ID
	}
	return ids, err
}

// execRows runs statements that all take rows; without rows there is nothing to do.
func execRows[T any](ctx context.Context, s *Store, tx *sql.Tx, rows []T, statements ...string) error {
	if len(rows) == 0 {
		return nil
	}
	args, err := s.dialect.args(rows)
	if err != nil {
		return err
	}
	for _, statement := range statements {
		if _, err := tx.ExecContext(ctx, s.names.Replace(statement), args...); err != nil {
			return err
		}
	}
	return nil
}
