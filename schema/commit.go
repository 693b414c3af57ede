package schema

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"imcd/engine"
)

// Commit implements engine.Store. Changes of the same room or member are brought
// down to their outcome first, so that a commit is a handful of statements
// however many changes there are. ErrInvalid: a name is empty, too long, not
// UTF-8, or against a constraint of the tables.
func (s *Store) Commit(ctx context.Context, changes []engine.Change) error {
	if len(changes) == 0 {
		return nil
	}
	defer s.slow(time.Now(), len(changes))
	doing := fmt.Sprintf("commit %d changes", len(changes))
	s.mu.Lock()
	b, err := compact(changes, &s.leftovers)
	s.mu.Unlock()
	if err != nil {
		return fmt.Errorf("%s: %w", doing, err)
	}
	if err := s.inTx(ctx, func(tx *sql.Tx) error { return s.apply(ctx, tx, &b) }); err != nil {
		return wrap(ctx, doing, err)
	}
	s.written.Store(true)
	if len(b.dropRooms)+len(b.dropMembers) > 0 {
		s.mu.Lock()
		s.leftovers.remove(&b)
		s.mu.Unlock()
	}
	return nil
}

func (s *Store) apply(ctx context.Context, tx *sql.Tx, b *batch) error {
	steps := []func() error{
		func() error {
			return execRows(ctx, s, tx, b.dropRooms, sqlDropInvitesOfRooms, sqlDropMembersOfRooms, sqlDropRooms)
		},
		func() error { return execRows(ctx, s, tx, b.dropInvites, sqlDropInvites) },
		func() error { return execRows(ctx, s, tx, b.dropMembers, sqlDropMembers) },
		func() error { return execRows(ctx, s, tx, b.putRooms, sqlUpdateRooms, sqlInsertRooms) },
		func() error { return s.putMembers(ctx, tx, b.putMembers) },
		func() error { return execRows(ctx, s, tx, b.putInvites, sqlPutInvites) },
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// putMembers also keeps the owner first in a room that got another one.
func (s *Store) putMembers(ctx context.Context, tx *sql.Tx, rows []memberRow) error {
	if len(rows) == 0 {
		return nil
	}
	args, err := s.dialect.args(rows)
	if err != nil {
		return err
	}
	owned, err := s.updateMembers(ctx, tx, args)
	if err != nil {
		return err
	}
	if _, err := tx.ExecContext(ctx, s.names.Replace(sqlInsertMembers), args...); err != nil {
		return err
	}
	if len(owned) == 0 {
		return nil
	}
	return s.reorder(ctx, tx, owned)
}

// updateMembers returns the rooms in which a stored member became the owner.
func (s *Store) updateMembers(ctx context.Context, tx *sql.Tx, args []any) (owned []string, err error) {
	rows, err := tx.QueryContext(ctx, s.names.Replace(sqlUpdateMembers), args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var room string
		var flag int
		if err := rows.Scan(&room, &flag); err != nil {
			return nil, err
		}
		if flag&engine.MemberOwner != 0 {
			owned = append(owned, room)
		}
	}
	return owned, rows.Err()
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
