package schema

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"imcd/engine/store"
)

// Most commits are messages and deliveries. On PostgreSQL such a commit is one statement:
// the senders wait for the answer to each statement.

// turnRow is what a commit changes in the row of a room.
type turnRow struct {
	RoomID  int64 `json:"room_id"`
	Lowest  int64 `json:"lowest"` // as in headRow; 0: no messages
	Highest int64 `json:"highest"`
	Bytes   int64 `json:"bytes"`
	At      int64 `json:"at"`
	Done    int64 `json:"done"` // as in progressRow; -1: as it was
}

// sqlQuick does what apply does for such a batch. $1: see relax. $2: the number of
// rooms with messages; if others are raised, the division fails and nothing is done.
// $3 to $6: see Store.fenceArgs.
const sqlQuick = `WITH {fence},
	relaxed AS MATERIALIZED (
		SELECT CASE WHEN $1::boolean THEN set_config('synchronous_commit', 'off', true) END),
	raised AS (UPDATE imcd_rooms SET bytes = imcd_rooms.bytes + v.bytes,
			seq = CASE WHEN v.lowest > 0 THEN v.highest ELSE imcd_rooms.seq END,
			oldest = CASE WHEN v.lowest > 0 AND imcd_rooms.pruned = imcd_rooms.seq THEN v.at ELSE imcd_rooms.oldest END,
			done = CASE WHEN v.done >= 0 THEN v.done ELSE imcd_rooms.done END
		FROM {turns} WHERE imcd_rooms.id = v.room_id AND (v.lowest = 0 OR imcd_rooms.seq < v.lowest)
		RETURNING v.lowest),
	said AS (INSERT INTO imcd_messages
			(room_id, seq, sender_username, sender_domain, display, content_type, body, at, headers, expires, message_id, wants,
			device)
		SELECT v.room_id, v.seq, v.username, v.domain, v.display, v.content_type, v.body, v.at,
			v.headers, v.expires, v.message_id, v.wants, v.device FROM {messages}),
	gone AS (DELETE FROM imcd_cursors
		WHERE (room_id, username, domain) IN (SELECT v.room_id, v.username, v.domain FROM {gone})),
	v AS MATERIALIZED (SELECT v.room_id, v.username, v.domain, v.seq, s.room
		FROM {moved} JOIN imcd_rooms s ON s.id = v.room_id),
	moved AS (INSERT INTO imcd_cursors (room_id, username, domain, seq)
		SELECT v.room_id, v.username, v.domain, v.seq FROM v
		WHERE EXISTS (SELECT 1 FROM {members} m WHERE m.username = v.username AND m.domain = v.domain AND m.room = v.room)
		ON CONFLICT (room_id, username, domain) DO UPDATE SET seq = excluded.seq),
	placed AS (INSERT INTO imcd_places (room_id, places)
		SELECT v.room_id, v.places FROM {places} JOIN imcd_rooms s ON s.id = v.room_id WHERE true
		` + sqlPlacesAgain + `),
	seen AS (INSERT INTO imcd_seen (key, shard, code, rc, reason, at)
		SELECT v.key, v.shard, v.code, v.rc, v.reason, v.at FROM {seen} WHERE true
		` + sqlSeenAgain + `),
	happened AS (INSERT INTO imcd_events (hash, at, room_id, seq, event)
		SELECT v.hash, v.at, v.room_id, v.seq, v.event FROM {events} ORDER BY v.ord)
	SELECT {fenced} / CASE WHEN (SELECT count(*) FROM raised WHERE lowest > 0) = $2::bigint THEN 1 ELSE 0 END FROM relaxed`

// quickStatements are those that a connection prepares.
type quickStatements struct {
	many   string // sqlQuick
	single string // sqlSingle
}

func newQuickStatements(membersTable string) *quickStatements {
	return &quickStatements{many: quickStatement(membersTable), single: singleStatement()}
}

// quickStatement fills in the names of sqlQuick.
func quickStatement(membersTable string) string {
	const fence = 3
	names := []string{"{members}", membersTable, "{fence}", fenceAt(fence), "{fenced}", fencedBy(fence)}
	next := fence + fenceParams
	for _, list := range []struct {
		name string
		row  any
	}{{"turns", turnRow{}}, {"messages", messageRow{}}, {"gone", cursorRow{}}, {"moved", cursorRow{}},
		{"places", placesRow{}}, {"seen", seenRow{}}, {"events", eventRow{}}} {
		cols := columnsOf(list.row)
		names = append(names, "{"+list.name+"}", arraysFrom(next, cols))
		next += len(cols)
	}
	return strings.NewReplacer(names...).Replace(sqlQuick)
}

// isQuick reports whether all changes are of the kind that sqlQuick knows.
func isQuick(changes []store.Change) bool {
	for i := range changes {
		switch changes[i].Op {
		case store.PutMessage, store.PutCursor, store.PutProgress, store.PutPlaces, store.PutSeen, store.PutEvent:
		default:
			return false
		}
	}
	return true
}

// asQuick returns changes as a commit by one statement; ok is false if they need more. The
// most frequent ones, of a single message, come first.
func (s *Store) asQuick(f store.Fence, changes []store.Change) (q quickCommit, ok bool, err error) {
	if q, ok = s.quick.ofSingle(changes); ok {
		q.args = append(q.args, s.fenceArgs(f)...)
		return q, true, nil
	}
	if !isQuick(changes) {
		return q, false, nil
	}
	b := compact(changes, nil, map[store.Name]int64{})
	if chunk(b.messages) < len(b.messages) {
		return q, false, nil
	}
	q, err = s.ofBatch(&b, f, onlyDeliveries(changes))
	return q, err == nil, err
}

// turns joins what the messages and the progress of b change in rooms.
func (b *batch) turns() []turnRow {
	at := make(map[int64]int, len(b.heads))
	turns := make([]turnRow, 0, len(b.heads)+len(b.progress))
	for _, h := range b.heads {
		at[h.RoomID] = len(turns)
		turns = append(turns, turnRow{RoomID: h.RoomID, Lowest: h.Lowest, Highest: h.Highest, Bytes: h.Bytes, At: h.At,
			Done: -1})
	}
	for _, p := range b.progress {
		if i, ok := at[p.RoomID]; ok {
			turns[i].Done = p.Done
		} else {
			turns = append(turns, turnRow{RoomID: p.RoomID, Done: p.Done})
		}
	}
	return turns
}

// execOnce carries a statement out; open: it may have been though there is an error. The
// pool by itself would do so again if the connection is lost meanwhile.
func (s *Store) execOnce(ctx context.Context, statement string, args []any) (open bool, err error) {
	conn, err := s.commits.Conn(ctx)
	if err != nil {
		return false, err
	}
	defer conn.Close() // gives it back
	_, err = conn.ExecContext(ctx, statement, args...)
	return undecided(err), err
}

// quickCommit is a commit by one statement.
type quickCommit struct {
	statement string
	args      []any
	rooms     int      // with messages
	seen      *seenRow // an answer, by which the commit is recognised; nil: there is none
}

// ofBatch returns sqlQuick with its parameters.
func (s *Store) ofBatch(b *batch, f store.Fence, relaxed bool) (quickCommit, error) {
	q := quickCommit{statement: s.quick.many, rooms: len(b.heads), args: append([]any{relaxed, len(b.heads)},
		s.fenceArgs(f)...)}
	if len(b.seen) > 0 {
		q.seen = &b.seen[0]
	}
	for _, rows := range []any{b.turns(), b.messages, b.dropCursors, b.putCursors, b.places, b.seen, b.events} {
		more, err := s.dialect.args(rows)
		if err != nil {
			return q, err
		}
		q.args = append(q.args, more...)
	}
	return q, nil
}

// commitQuick carries q out. again: this or another call may have done so before. With a fence, q does
// nothing then. Without one, a statement with messages does nothing, as their rooms' numbers are raised;
// one without does no harm.
func (s *Store) commitQuick(ctx context.Context, f store.Fence, q quickCommit, again bool) error {
	open, err := s.execOnce(ctx, q.statement, q.args)
	for range s.opts.MaxConns {
		if err == nil || ctx.Err() != nil || !s.dialect.stale(err) {
			break
		}
		again = again || open
		open, err = s.execOnce(ctx, q.statement, q.args)
	}
	again = again || open
	if f.Batch > 0 && isFenceError(err) {
		return s.settle(ctx, f, err)
	}
	if again && isDivision(err) && q.seen != nil {
		stored, why := s.wasStored(ctx, s.db, []seenRow{*q.seen})
		if stored {
			return nil
		}
		if why != nil {
			err = why
		}
	}
	switch {
	case isDivision(err):
		return fmt.Errorf("%w: of %d rooms with messages some are not stored, or had messages of these numbers before",
			ErrInvalid, q.rooms)
	case again && err != nil && !errors.Is(classify(err), ErrInvalid):
		return uncertain(err)
	}
	return err
}
