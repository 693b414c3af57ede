package schema

import (
	"context"
	"database/sql"
	"strings"
	"time"

	"github.com/lib/pq"

	"imcd/engine/store"
)

const (
	sqlPutEvents = `INSERT INTO imcd_events (hash, at, room_id, seq, event)
		SELECT v.hash, v.at, v.room_id, v.seq, v.event FROM {event_rows} WHERE true ORDER BY v.ord`
	sqlEvents = `SELECT id, at, room_id, seq, event FROM imcd_events WHERE id > $1 {of_part} ORDER BY id LIMIT $2`
	// sqlOfPart chooses the events of shards.
	sqlOfPart     = `AND (hash & $3::bigint) = ANY($4::bigint[])`
	sqlDropEvents = `DELETE FROM imcd_events WHERE id {of_ids}`
	// sqlOldEvents looks at the oldest ones only: an index on at is not needed for that.
	sqlOldEvents = `DELETE FROM imcd_events WHERE id IN (SELECT o.id FROM (SELECT id, at FROM imcd_events
		ORDER BY id LIMIT {slice}) o WHERE o.at < $1)`
	sqlCountEvents = `SELECT count(*), coalesce(min(at), 0) FROM (SELECT at FROM imcd_events ORDER BY id LIMIT $1) o`
	sqlAllEvents   = `DELETE FROM imcd_events`

	sqlGoneSince   = `SELECT at FROM imcd_webhooks_gone WHERE target = $1`
	sqlWebhookGone = `INSERT INTO imcd_webhooks_gone (target, at) VALUES ($1, $2) ON CONFLICT (target) DO NOTHING`
)

// eventRow is a row of imcd_events, whose id the database gives.
type eventRow struct {
	Ord    int   `json:"ord"`
	Hash   int64 `json:"hash"`
	At     int64 `json:"at"` // ms
	RoomID int64 `json:"room_id"`
	Seq    int64 `json:"seq"`
	Event  blob  `json:"event"`
}

func eventOf(e *store.EventRow, ord int) eventRow {
	return eventRow{Ord: ord, Hash: int64(store.Hash(e.Room.Key())), At: e.At.UnixMilli(), RoomID: e.RoomID,
		Seq: int64(e.Seq), Event: e.Event}
}

// Events returns up to limit events of rooms of part with an ID above after, in their order. They have no Room.
func (s *Store) Events(ctx context.Context, part store.Part, after int64, limit int) ([]store.EventRow, error) {
	where, args := "", []any{after, limit}
	if !part.All() {
		where, args = sqlOfPart, append(args, int64(part.Of-1), pq.Array(part.Shards))
	}
	var list []store.EventRow
	err := EachRow(ctx, s.db, func(rows *sql.Rows) error {
		var e store.EventRow
		var at int64
		if err := rows.Scan(&e.ID, &at, &e.RoomID, &e.Seq, &e.Event); err != nil {
			return err
		}
		e.At = time.UnixMilli(at)
		list = append(list, e)
		return nil
	}, strings.Replace(sqlEvents, "{of_part}", where, 1), args...)
	return list, wrap(ctx, "load events", err)
}

// DropEvents deletes events. A crash of the database may bring them back.
func (s *Store) DropEvents(ctx context.Context, ids []int64) error {
	rows := make([]idRow, len(ids))
	for i, id := range ids {
		rows[i] = idRow{ID: id}
	}
	err := s.inTx(ctx, func(tx *sql.Tx) error {
		if set := s.dialect.relaxed(); set != "" {
			if _, err := tx.ExecContext(ctx, set); err != nil {
				return err
			}
		}
		return execRows(ctx, s, tx, rows, sqlDropEvents)
	})
	return wrap(ctx, "delete events that were sent", err)
}

// DropOldEvents deletes events that happened before a time, and returns how many.
func (s *Store) DropOldEvents(ctx context.Context, before time.Time) (n int64, err error) {
	for {
		more, err := s.drop(ctx, sqlOldEvents, before.UnixMilli())
		if n += more; err != nil || more < pruneMessages {
			return n, wrap(ctx, "delete old events", err)
		}
	}
}

// DropAllEvents deletes all events, and returns how many.
func (s *Store) DropAllEvents(ctx context.Context) (int64, error) {
	n, err := s.drop(ctx, sqlAllEvents)
	return n, wrap(ctx, "delete events", err)
}

func (s *Store) drop(ctx context.Context, statement string, args ...any) (int64, error) {
	result, err := s.db.ExecContext(ctx, s.names.Replace(statement), args...)
	if err != nil {
		return 0, err
	}
	return result.RowsAffected()
}

// CountEvents returns how many events there are, of all rooms, and since when the oldest waits; zero: there is none.
// It counts up to most.
func (s *Store) CountEvents(ctx context.Context, most int) (n int, oldest time.Time, err error) {
	var at int64
	err = s.db.QueryRowContext(ctx, sqlCountEvents, most).Scan(&n, &at)
	if at > 0 {
		oldest = time.UnixMilli(at)
	}
	return n, oldest, wrap(ctx, "count events", err)
}

// WebhookGone returns since when a target does not want events any more; zero: it does.
func (s *Store) WebhookGone(ctx context.Context, target string) (time.Time, error) {
	var at time.Time
	err := s.query(ctx, s.db, func(rows *sql.Rows) error {
		var ms int64
		err := rows.Scan(&ms)
		at = time.UnixMilli(ms)
		return err
	}, sqlGoneSince, target)
	return at, wrap(ctx, "ask for the webhook", err)
}

// PutWebhookGone notes that a target does not want events any more.
func (s *Store) PutWebhookGone(ctx context.Context, target string, at time.Time) error {
	_, err := s.db.ExecContext(ctx, sqlWebhookGone, target, at.UnixMilli())
	return wrap(ctx, "note that the webhook is gone", err)
}
