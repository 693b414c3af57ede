package schema

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"imcd/engine/store"
)

// Commit implements store.Store. Changes of one row are merged first, so that a commit
// is a handful of statements however many changes there are. ErrInvalid: a name is
// empty, too long, not UTF-8, or against a constraint of the tables; the room of a
// message is not stored, or the message's number is not above all earlier ones of the room.
//
// Cursors of users that are no members, and progress of rooms that are not stored, are
// ignored: they come late.
func (s *Store) Commit(ctx context.Context, f store.Fence, changes []store.Change) error {
	return s.commit(ctx, f, changes, false)
}

// CommitAgain implements store.Store. It waits for the first Commit if the database is
// still busy with it, and for the standby that has to confirm it: see again.go.
func (s *Store) CommitAgain(ctx context.Context, f store.Fence, changes []store.Change) error {
	if f.Batch > 0 && s.EngineID() != 0 {
		stored, err := s.hasBatch(ctx, f)
		if stored {
			s.committed(f, changes)
		}
		if stored || errors.Is(err, store.ErrDeposed) {
			return err
		}
		if err != nil {
			return uncertain(wrap(ctx, "ask what became of a commit", err))
		}
	}
	return s.commit(ctx, f, changes, true)
}

// commit carries changes out in their order. again: an earlier call may have done so.
func (s *Store) commit(ctx context.Context, f store.Fence, changes []store.Change, again bool) error {
	if len(changes) == 0 {
		return nil
	}
	defer s.slow(time.Now(), len(changes))
	doing := fmt.Sprintf("commit %d changes", len(changes))
	if s.EngineID() == 0 {
		f = store.Fence{}
	}
	if err := cmp.Or(s.checkFence(f), checkChanges(changes), checkMoves(f, changes)); err != nil {
		return fmt.Errorf("%s: %w", doing, err)
	}
	err := s.carryOut(ctx, f, changes, again)
	if err == nil {
		s.committed(f, changes)
	}
	return wrap(ctx, doing, err)
}

// committed notes that a batch is in the database.
func (s *Store) committed(f store.Fence, changes []store.Change) {
	if !onlyDeliveries(changes) { // a crash of the database may lose these
		s.durable.raise(f.Batch)
	}
}

// carryOut is commit for changes that were checked.
func (s *Store) carryOut(ctx context.Context, f store.Fence, changes []store.Change, again bool) error {
	if s.quick != nil {
		q, ok, err := s.asQuick(f, changes)
		if ok && err == nil {
			err = s.commitQuick(ctx, f, q, again)
		}
		if ok || err != nil {
			return err
		}
	}
	s.mu.Lock()
	need := idsNeeded(changes, &s.leftovers)
	s.mu.Unlock()
	var b batch
	err := s.inTxOf(ctx, s.commits, func(tx *sql.Tx) error {
		if err := s.begin(ctx, tx, f, changes); err != nil {
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
		if again && f.Batch == 0 && len(b.seen) > 0 {
			if stored, err := s.isStored(ctx, tx, b.seen[:1]); stored || err != nil {
				return err
			}
		}
		return s.apply(ctx, tx, &b)
	})
	if isFenceError(err) {
		return s.settle(ctx, f, err)
	}
	if err != nil {
		if again && !errors.Is(err, ErrInvalid) && !errors.Is(classify(err), ErrInvalid) {
			err = uncertain(err)
		}
		return err
	}
	if len(b.dropRooms)+len(b.dropMembers) > 0 {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.leftovers.remove(&b)
	}
	return nil
}

// relax lets a commit that only notes deliveries return before it is on the disk: after
// a crash of the database these messages are delivered once more. Commits of messages
// and rooms must wait for the disk.
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

// dropIDs are the statements that end rooms by their ids. Prune deletes the messages and
// cursors of such rooms.
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
		func() error { return execRows(ctx, s, tx, b.dropMembers, sqlDropMembers, sqlDropJoins) },
		func() error {
			if s.EngineID() == 0 { // else Load may not have seen them
				return nil
			}
			return execRows(ctx, s, tx, b.putRooms, sqlDropOrphans)
		},
		func() error { return execRows(ctx, s, tx, b.putRooms, sqlUpdateRooms, sqlInsertRooms) },
		func() error {
			return execRows(ctx, s, tx, b.putMembers, sqlPutJoins, sqlUpdateMembers, sqlInsertMembers)
		},
		func() error { return execRows(ctx, s, tx, b.putInvites, sqlPutInvites) },
		func() error { return execRows(ctx, s, tx, b.putIDs, sqlPutIDs) },
		func() error { return s.putMessages(ctx, tx, b) },
		func() error { return execRows(ctx, s, tx, b.emptied, sqlFreeBytes, sqlEmptyMessages) },
		func() error { return execRows(ctx, s, tx, b.progress, sqlPutProgress) },
		func() error { return execRows(ctx, s, tx, b.dropCursors, sqlDropCursors) },
		func() error { return execRows(ctx, s, tx, b.putCursors, sqlPutCursors) },
		func() error { return execRows(ctx, s, tx, b.places, sqlPutPlaces) },
		func() error { return execRows(ctx, s, tx, b.dropSet, sqlDropSettings) },
		func() error { return execRows(ctx, s, tx, b.putSet, sqlPutSettings) },
		func() error { return execRows(ctx, s, tx, b.seen, sqlPutSeen) },
		func() error { return execRows(ctx, s, tx, b.dropNotes, sqlDropNotes) },
		func() error { return execRows(ctx, s, tx, b.putNotes, sqlPutNotes) },
		func() error { return execRows(ctx, s, tx, b.acts, sqlPutActs) },
		func() error { return execRows(ctx, s, tx, b.events, sqlPutEvents) },
		func() error { return s.moveShards(ctx, tx, b.moves) },
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// ids returns the stored ids of rooms. Rooms without an id are missing.
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
	args, err := s.dialect.args(list)
	if err != nil {
		return nil, err
	}
	found, err := s.idRows(ctx, tx, sqlIDs, args...)
	for _, r := range found {
		ids[names[r.Room]] = r.ID
	}
	return ids, err
}

// execRows runs statements that all take rows; without rows it does nothing.
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
