package schema

import (
	"context"
	"database/sql"
	"fmt"
	"math"
	"slices"
	"time"

	"imcd/engine/store"
)

// One statement takes no more messages than this: it holds them twice or more in
// memory, here and in the database.
const (
	chunkMessages = 1000
	chunkBytes    = 4 << 20
)

// putMessages raises the rooms' numbers first, which shows whether the messages
// may be stored at all.
func (s *Store) putMessages(ctx context.Context, tx *sql.Tx, b *batch) error {
	if len(b.messages) == 0 {
		return nil
	}
	args, err := s.dialect.args(b.heads)
	if err != nil {
		return err
	}
	result, err := tx.ExecContext(ctx, s.names.Replace(sqlRaiseSeq), args...)
	if err != nil {
		return err
	}
	raised, err := result.RowsAffected()
	if err != nil {
		return fmt.Errorf("count the rooms of messages: %w", err)
	}
	if raised != int64(len(b.heads)) {
		return fmt.Errorf("%w: %d of %d rooms with messages are not stored, or had messages of these numbers before",
			ErrInvalid, int64(len(b.heads))-raised, len(b.heads))
	}
	for rest := b.messages; len(rest) > 0; {
		n := chunk(rest)
		if err := execRows(ctx, s, tx, rest[:n], sqlInsertMessages); err != nil {
			return err
		}
		rest = rest[n:]
	}
	return nil
}

// chunk returns how many messages, at least one, the next statement takes.
func chunk(messages []messageRow) int {
	size := 0
	for i := range messages {
		size += len(messages[i].Body) + len(messages[i].ContentType) + len(messages[i].Headers)
		if i == chunkMessages || i > 0 && size > chunkBytes {
			return i
		}
	}
	return len(messages)
}

// Messages implements store.Store.
func (s *Store) Messages(ctx context.Context, room int64, after uint64, limit int) ([]store.MessageRow, error) {
	if limit <= 0 || after >= math.MaxInt64 {
		return nil, nil
	}
	var list []store.MessageRow
	err := s.query(ctx, s.db, func(rows *sql.Rows) error {
		m := store.MessageRow{Room: room}
		var contentType, headers, id []byte
		var at, expires int64
		if err := rows.Scan(&m.Seq, &m.Sender.User, &m.Sender.Host, &m.Display, &contentType, &m.Body, &at,
			&headers, &expires, &id, &m.Wants); err != nil {
			return err
		}
		m.ContentType, m.At, m.Headers, m.MessageID = string(contentType), time.UnixMilli(at), headersIn(headers), string(id)
		if expires != 0 {
			m.Expires = time.UnixMilli(expires)
		}
		list = append(list, m)
		return nil
	}, sqlMessages, room, int64(after), limit)
	if err != nil {
		return nil, wrap(ctx, "load messages", err)
	}
	return list, nil
}

// Seen implements store.Store. The oldest come first.
func (s *Store) Seen(ctx context.Context, since time.Time) ([]store.SeenRow, error) {
	var list []store.SeenRow
	err := s.query(ctx, s.db, func(rows *sql.Rows) error {
		var r store.SeenRow
		var key []byte
		var at int64
		if err := rows.Scan(&key, &r.Shard, &r.Code, &r.RC, &r.Reason, &at); err != nil {
			return err
		}
		copy(r.Key[:], key)
		r.At = time.UnixMilli(at)
		list = append(list, r)
		return nil
	}, sqlSeen, since.UnixMilli())
	if err != nil {
		return nil, wrap(ctx, "load the answers", err)
	}
	return list, nil
}

// Notes implements store.Store.
func (s *Store) Notes(ctx context.Context, limit int) ([]store.NoteRow, error) {
	var list []store.NoteRow
	err := s.query(ctx, s.db, func(rows *sql.Rows) error {
		var r store.NoteRow
		var at int64
		if err := rows.Scan(&r.ID, &r.Room.User, &r.Room.Host, &r.User.User, &r.User.Host, &r.Body, &at); err != nil {
			return err
		}
		r.At = time.UnixMilli(at)
		list = append(list, r)
		return nil
	}, sqlNotes, limit)
	if err != nil {
		return nil, wrap(ctx, "load the notices that wait", err)
	}
	slices.Reverse(list)
	return list, nil
}

// query calls fn for each row of a query.
func (s *Store) query(ctx context.Context, q querier, fn func(*sql.Rows) error, query string, args ...any) error {
	rows, err := q.QueryContext(ctx, s.names.Replace(query), args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := fn(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}

// idRows returns the rows of a query for room and id, whose parameters are rows.
func idRows[T any](ctx context.Context, s *Store, q querier, query string, rows []T) (list []idRow, err error) {
	args, err := s.dialect.args(rows)
	if err != nil {
		return nil, err
	}
	err = s.query(ctx, q, func(rows *sql.Rows) error {
		var r idRow
		if err := rows.Scan(&r.Room, &r.ID); err != nil {
			return err
		}
		list = append(list, r)
		return nil
	}, query, args...)
	return list, err
}
