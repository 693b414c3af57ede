package schema

import (
	"slices"
	"strings"

	"github.com/lib/pq"

	"imcd/engine/store"
)

// Most commits are one message, with the answer that is remembered and how far some
// rooms have come. They have a statement of their own: without lists PostgreSQL
// carries it out in half the time.

// sqlSingle does for such a batch what sqlQuick does.
const sqlSingle = `WITH {fence},
	raised AS (UPDATE imcd_rooms SET seq = $2, bytes = bytes + $3::bigint,
			oldest = CASE WHEN pruned = seq THEN $9::bigint ELSE oldest END,
			done = CASE WHEN $4::bigint >= 0 THEN $4::bigint ELSE done END
		WHERE id = $1 AND seq < $2 RETURNING 1),
	said AS (INSERT INTO imcd_messages
			(room_id, seq, sender_username, sender_domain, display, content_type, body, at, headers, expires, message_id, wants,
			device)
		VALUES ($1, $2, $5, $6, $7, $8, $10, $9, $17, $18, $19, $20, $21)),
	seen AS (INSERT INTO imcd_seen (key, shard, code, rc, reason, at)
		VALUES ($11, $12, $13, $14, $15, $16)
		` + sqlSeenAgain + `),
	moved AS (UPDATE imcd_rooms SET done = v.done FROM {others} WHERE imcd_rooms.id = v.room_id)
	SELECT {fenced} / count(*) FROM raised`

func singleStatement() string {
	const others, fence = 22, 24
	return strings.NewReplacer("{fence}", fenceAt(fence), "{fenced}", fencedBy(fence),
		"{others}", arraysFrom(others, columnsOf(progressRow{}))).Replace(sqlSingle)
}

// singleParams is how many parameters sqlSingle has.
const singleParams = 23 + fenceParams

// ofSingle returns sqlSingle with its parameters but for those of the fence, and the answer. ok is
// false if changes, which were checked, are anything else than sqlSingle knows.
func (q *quickStatements) ofSingle(changes []store.Change) (one quickCommit, ok bool) {
	var m *store.MessageRow
	var answer *store.SeenRow
	for i := range changes {
		switch c := &changes[i]; {
		case c.Op == store.PutMessage && m == nil:
			m = c.Message
		case c.Op == store.PutSeen && answer == nil:
			answer = c.Seen
		case c.Op != store.PutProgress:
			return quickCommit{}, false
		}
	}
	if m == nil || answer == nil {
		return quickCommit{}, false
	}
	done, rooms, dones := progressBeside(changes, m.Room)
	row, seen := messageOf(m), seenOf(answer)
	args := append(make([]any, 0, singleParams), row.RoomID, row.Seq, len(m.Body), done,
		row.Username, row.Domain, row.Display, row.ContentType.bytes(), row.At, row.Body.bytes(),
		seen.Key.bytes(), seen.Shard, seen.Code, seen.RC, seen.Reason, seen.At,
		row.Headers.bytes(), row.Expires, row.MessageID.bytes(), row.Wants, row.Device,
		pq.Array(rooms), pq.Array(dones))
	return quickCommit{statement: q.single, rooms: 1, seen: seen, args: args}, true
}

// progressBeside returns the progress of the given room, -1 if there is none, and that of
// all others, sorted by room. The last change of a room counts.
func progressBeside(changes []store.Change, room int64) (done int64, rooms, dones []int64) {
	done = -1
	for i := range changes {
		p := changes[i].Progress
		if changes[i].Op != store.PutProgress {
			continue
		}
		if p.Room == room {
			done = int64(p.Done)
			continue
		}
		at, found := slices.BinarySearch(rooms, p.Room)
		if found {
			dones[at] = int64(p.Done)
			continue
		}
		rooms, dones = slices.Insert(rooms, at, p.Room), slices.Insert(dones, at, int64(p.Done))
	}
	return done, rooms, dones
}
