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
	return s.messages(ctx, sqlMessages, room, int64(after), limit)
}

// LastMessages implements store.Store.
func (s *Store) LastMessages(ctx context.Context, room int64, upto uint64, limit int) ([]store.MessageRow, error) {
	if limit <= 0 {
		return nil, nil
	}
	list, err := s.messages(ctx, sqlLastMessages, room, int64(min(upto, math.MaxInt64)), limit)
	slices.Reverse(list)
	return list, err
}

// MessagesNamed implements store.Store. There is no index of the names: it looks at each message above after.
func (s *Store) MessagesNamed(ctx context.Context, room int64, after uint64, id string,
	limit int) ([]store.MessageRow, error) {
	if limit <= 0 || id == "" || after >= math.MaxInt64 {
		return nil, nil
	}
	return s.messages(ctx, sqlMessagesNamed, room, int64(after), blob(id).bytes(), limit)
}

// messages returns those of a room that a query finds; more are its arguments behind the room.
func (s *Store) messages(ctx context.Context, query string, room int64, more ...any) ([]store.MessageRow, error) {
	var list []store.MessageRow
	err := s.query(ctx, s.db, func(rows *sql.Rows) error {
		m := store.MessageRow{Room: room}
		var contentType, headers, id []byte
		var at, expires int64
		if err := rows.Scan(&m.Seq, &m.Sender.User, &m.Sender.Host, &m.Display, &contentType, &m.Body, &at,
			&headers, &expires, &id, &m.Wants, &m.Device); err != nil {
			return err
		}
		m.ContentType, m.At, m.Headers, m.MessageID = string(contentType), time.UnixMilli(at), headersIn(headers), string(id)
		if expires != 0 {
			m.Expires = time.UnixMilli(expires)
		}
		list = append(list, m)
		return nil
	}, query, append([]any{room}, more...)...)
	if err != nil {
		return nil, wrap(ctx, "load messages", err)
	}
	return list, nil
}

// query calls fn for each row of a query, in which names are filled in.
func (s *Store) query(ctx context.Context, q querier, fn func(*sql.Rows) error, query string, args ...any) error {
	return EachRow(ctx, q, fn, s.names.Replace(query), args...)
}

// idRows returns the rows of a query for room and id.
func (s *Store) idRows(ctx context.Context, q querier, query string, args ...any) (list []idRow, err error) {
	err = s.query(ctx, q, func(rows *sql.Rows) error {
		list = append(list, idRow{})
		last := &list[len(list)-1]
		return rows.Scan(&last.Room, &last.ID)
	}, query, args...)
	return list, err
}
