package schema

import (
	"strings"

	"github.com/lib/pq"
)

// Most commits are one message, with the answer that is remembered and how far some
// rooms have come. They have a statement of their own: without lists PostgreSQL
// carries it out in half the time.

// sqlSingle does for such a batch what sqlQuick does.
const sqlSingle = `WITH raised AS (UPDATE imcd_rooms SET seq = $2, bytes = bytes + $3::bigint,
			oldest = CASE WHEN pruned = seq THEN $9::bigint ELSE oldest END,
			done = CASE WHEN $4::bigint >= 0 THEN $4::bigint ELSE done END
		WHERE id = $1 AND seq < $2 RETURNING 1),
	said AS (INSERT INTO imcd_messages
			(room_id, seq, sender_username, sender_domain, display, content_type, body, at, headers, expires, message_id, wants)
		VALUES ($1, $2, $5, $6, $7, $8, $10, $9, $17, $18, $19, $20)),
	seen AS (INSERT INTO imcd_seen (key, shard, code, rc, reason, at)
		VALUES ($11, $12, $13, $14, $15, $16)
		` + sqlSeenAgain + `),
	moved AS (UPDATE imcd_rooms SET done = v.done FROM {others} WHERE imcd_rooms.id = v.room_id),
	holds AS (SELECT 1 FROM imcd_lease WHERE id = $21 FOR KEY SHARE)
	SELECT {holds} / count(*) FROM raised`

func singleStatement() string {
	return strings.NewReplacer("{holds}", holdsIn("$21"),
		"{others}", arraysFrom(22, columnsOf(progressRow{}))).Replace(sqlSingle)
}

// single returns the parameters of sqlSingle; me is Store.holderID. ok is false if b is more than it knows.
func (b *batch) single(me int64) (args []any, ok bool) {
	if len(b.messages) != 1 || len(b.seen) != 1 || len(b.putCursors)+len(b.dropCursors)+len(b.places) > 0 {
		return nil, false
	}
	m, h, s := &b.messages[0], &b.heads[0], &b.seen[0]
	done := int64(-1)
	var rooms, dones []int64
	for _, p := range b.progress {
		if p.RoomID == m.RoomID {
			done = p.Done
			continue
		}
		rooms, dones = append(rooms, p.RoomID), append(dones, p.Done)
	}
	return []any{m.RoomID, m.Seq, h.Bytes, done, m.Username, m.Domain, m.Display, m.ContentType.bytes(), m.At, m.Body.bytes(),
		s.Key.bytes(), s.Shard, s.Code, s.RC, s.Reason, s.At,
		m.Headers.bytes(), m.Expires, m.MessageID.bytes(), m.Wants, me, pq.Array(rooms), pq.Array(dones)}, true
}
