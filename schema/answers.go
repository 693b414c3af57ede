package schema

import (
	"context"
	"database/sql"
	"slices"
	"time"

	"imcd/engine/store"
)

// Seen implements store.Store. The oldest come first.
func (s *Store) Seen(ctx context.Context, part store.Part, since time.Time) ([]store.SeenRow, error) {
	var list []store.SeenRow
	in := part.Matcher()
	err := s.query(ctx, s.db, func(rows *sql.Rows) error {
		var r store.SeenRow
		var key []byte
		var at int64
		if err := rows.Scan(&key, &r.Shard, &r.Code, &r.RC, &r.Reason, &at); err != nil {
			return err
		}
		copy(r.Key[:], key)
		r.At = time.UnixMilli(at)
		if in(r.Shard) {
			list = append(list, r)
		}
		return nil
	}, sqlSeen, since.UnixMilli())
	if err != nil {
		return nil, wrap(ctx, "load the answers", err)
	}
	return list, nil
}

// Notes implements store.Store.
func (s *Store) Notes(ctx context.Context, part store.Part, limit int) ([]store.NoteRow, error) {
	var list []store.NoteRow
	in := part.Matcher()
	err := s.query(ctx, s.db, func(rows *sql.Rows) error {
		var r store.NoteRow
		var at int64
		if err := rows.Scan(&r.ID, &r.Room.User, &r.Room.Host, &r.User.User, &r.User.Host, &r.Body, &at); err != nil {
			return err
		}
		r.At = time.UnixMilli(at)
		if in(store.Hash(r.Room.Key())) {
			list = append(list, r)
		}
		return nil
	}, sqlNotes, limit)
	if err != nil {
		return nil, wrap(ctx, "load the notices that wait", err)
	}
	slices.Reverse(list)
	return list, nil
}
