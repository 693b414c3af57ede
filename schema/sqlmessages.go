package schema

// The statements of messages and of how far they got. imcd_rooms always comes
// first: its row is the lock of what belongs to it.
const (
	deletedAt = "1" // store.DeletedTime, in ms

	sqlIDs = `SELECT room, id FROM imcd_rooms WHERE room {of_rooms}`

	sqlDropIDs      = `DELETE FROM imcd_rooms WHERE id {of_ids}`
	sqlPutDestroyed = `INSERT INTO imcd_destroyed (room_id) SELECT v.id FROM {id_rows} WHERE true ON CONFLICT DO NOTHING`
	sqlPutIDs       = `INSERT INTO imcd_rooms (id, room) SELECT v.id, v.room FROM {id_rows}`

	sqlRaiseSeq = `UPDATE imcd_rooms SET seq = v.highest, bytes = imcd_rooms.bytes + v.bytes,
			oldest = CASE WHEN imcd_rooms.pruned = imcd_rooms.seq THEN v.at ELSE imcd_rooms.oldest END
		FROM {head_rows} WHERE imcd_rooms.id = v.room_id AND imcd_rooms.seq < v.lowest`
	sqlInsertMessages = `INSERT INTO imcd_messages
			(room_id, seq, sender_username, sender_domain, display, content_type, body, at, headers, expires, message_id, wants,
			device)
		SELECT v.room_id, v.seq, v.username, v.domain, v.display, v.content_type, v.body, v.at,
			v.headers, v.expires, v.message_id, v.wants, v.device FROM {message_rows}`

	// The room's row comes first, see above.
	sqlFreeBytes = `UPDATE imcd_rooms SET bytes = imcd_rooms.bytes - o.bytes
		FROM (SELECT m.room_id, sum(length(m.body)) AS bytes
			FROM {key_rows} JOIN imcd_messages m ON m.room_id = v.room_id AND m.seq = v.seq GROUP BY m.room_id) o
		WHERE imcd_rooms.id = o.room_id`
	sqlEmptyMessages = `UPDATE imcd_messages SET display = '', content_type = '', body = '', headers = '', message_id = '',
			wants = 0, device = '', expires = ` + deletedAt + ` FROM {key_rows}
		WHERE imcd_messages.room_id = v.room_id AND imcd_messages.seq = v.seq`

	sqlPutProgress = `UPDATE imcd_rooms SET done = v.done FROM {progress_rows} WHERE imcd_rooms.id = v.room_id`
	sqlDropCursors = `DELETE FROM imcd_cursors
		WHERE (room_id, username, domain) IN (SELECT v.room_id, v.username, v.domain FROM {cursor_rows})`
	// Materialized, so that a member is looked up by all of its key: which part
	// of a key serves best PostgreSQL can only guess before it has statistics.
	sqlPutCursors = `WITH v AS MATERIALIZED (SELECT v.room_id, v.username, v.domain, v.seq, s.room
			FROM {cursor_rows} JOIN imcd_rooms s ON s.id = v.room_id)
		INSERT INTO imcd_cursors (room_id, username, domain, seq)
		SELECT v.room_id, v.username, v.domain, v.seq FROM v
		WHERE EXISTS (SELECT 1 FROM {members} m WHERE m.username = v.username AND m.domain = v.domain AND m.room = v.room)
		ON CONFLICT (room_id, username, domain) DO UPDATE SET seq = excluded.seq`
	sqlPlacesAgain = `ON CONFLICT (room_id) DO UPDATE SET places = excluded.places`
	sqlPutPlaces   = `INSERT INTO imcd_places (room_id, places)
		SELECT v.room_id, v.places FROM {places_rows} JOIN imcd_rooms s ON s.id = v.room_id WHERE true
		` + sqlPlacesAgain
	sqlDropSettings = `DELETE FROM imcd_settings
		WHERE (room_id, name, who) IN (SELECT v.room_id, v.name, v.who FROM {setting_rows})`
	sqlPutSettings = `INSERT INTO imcd_settings (room_id, name, who, value)
		SELECT v.room_id, v.name, v.who, v.value FROM {setting_rows} JOIN imcd_rooms s ON s.id = v.room_id WHERE true
		ON CONFLICT (room_id, name, who) DO UPDATE SET value = excluded.value`
	sqlSeenAgain = `ON CONFLICT (key) DO UPDATE SET shard = excluded.shard, code = excluded.code, rc = excluded.rc,
			reason = excluded.reason, at = excluded.at`
	sqlPutSeen = `INSERT INTO imcd_seen (key, shard, code, rc, reason, at)
		SELECT v.key, v.shard, v.code, v.rc, v.reason, v.at FROM {seen_rows} WHERE true
		` + sqlSeenAgain

	// The same answer with the same time is that of the same request. sqlSameSeen writes the
	// row as it is: the standby must confirm that, and so everything committed before.
	sqlFirstSeen = `INSERT INTO imcd_seen (key, shard, code, rc, reason, at)
		SELECT v.key, v.shard, v.code, v.rc, v.reason, v.at FROM {seen_rows} WHERE true ON CONFLICT (key) DO NOTHING`
	sqlSameSeen = `UPDATE imcd_seen SET at = v.at FROM {seen_rows} WHERE imcd_seen.key = v.key AND imcd_seen.at = v.at`

	sqlMessageColumns = `SELECT seq, sender_username, sender_domain, display, content_type, body, at,
			headers, expires, message_id, wants, device FROM imcd_messages `
	sqlMessages     = sqlMessageColumns + `WHERE room_id = $1 AND seq > $2 ORDER BY seq LIMIT $3`
	sqlLastMessages = sqlMessageColumns + `WHERE room_id = $1 AND seq <= $2 AND expires <> ` + deletedAt + `
		ORDER BY seq DESC LIMIT $3`
	sqlMessagesNamed = sqlMessageColumns + `WHERE room_id = $1 AND seq > $2 AND message_id = $3
		ORDER BY seq DESC LIMIT $4`
	sqlSeen = `SELECT key, shard, code, rc, reason, at FROM imcd_seen WHERE at >= $1 ORDER BY at`

	// Rooms that may be over the limits.
	sqlOver = `SELECT '', id FROM imcd_rooms WHERE pruned < seq AND (seq - pruned > $1 OR bytes > $2 OR oldest < $3)`
	// Rooms that say themselves how long they keep their messages.
	sqlKeeps = `SELECT s.id, t.value, s.seq, s.pruned, s.oldest FROM imcd_settings t JOIN imcd_rooms s ON s.id = t.room_id
		WHERE t.name = $1 AND t.who = ''`
	sqlOverLocked = `SELECT id, seq, pruned, bytes, oldest FROM imcd_rooms
		WHERE id {of_ids} AND pruned < seq ORDER BY id {skip_locked}`
	sqlOldest = `SELECT room_id, seq, at, length(body) FROM imcd_messages
		WHERE (room_id, seq) IN (SELECT v.room_id, v.seq FROM {key_rows}) ORDER BY room_id, seq`
	sqlDropMessages = `DELETE FROM imcd_messages WHERE (room_id, seq) IN (SELECT v.room_id, v.seq FROM {key_rows})`
	sqlPutKept      = `UPDATE imcd_rooms SET pruned = v.pruned, bytes = v.bytes, oldest = v.oldest
		FROM {kept_rows} WHERE imcd_rooms.id = v.room_id`
	// Destroyed rooms: slices of their messages and cursors, and in the end the rooms themselves.
	sqlDestroyed         = `SELECT '', room_id FROM imcd_destroyed LIMIT $1`
	sqlDropMessagesOfIDs = `DELETE FROM imcd_messages WHERE (room_id, seq) IN
		(SELECT room_id, seq FROM imcd_messages WHERE room_id {of_ids} LIMIT {slice})`
	sqlDropCursorsOfIDs = `DELETE FROM imcd_cursors WHERE (room_id, username, domain) IN
		(SELECT room_id, username, domain FROM imcd_cursors WHERE room_id {of_ids} LIMIT {slice})`
	sqlDropPlacesOfIDs   = `DELETE FROM imcd_places WHERE room_id {of_ids}`
	sqlDropSettingsOfIDs = `DELETE FROM imcd_settings WHERE (room_id, name, who) IN
		(SELECT room_id, name, who FROM imcd_settings WHERE room_id {of_ids} LIMIT {slice})`
	sqlDropDestroyed = `DELETE FROM imcd_destroyed WHERE room_id {of_ids}`

	sqlDropSeen = `DELETE FROM imcd_seen WHERE key IN (SELECT key FROM imcd_seen WHERE at < $1 ORDER BY at LIMIT $2)`

	sqlPutNotes = `INSERT INTO imcd_notes (id, room_username, room_domain, username, domain, body, at)
		SELECT v.id, v.room_username, v.room_domain, v.username, v.domain, v.body, v.at FROM {note_rows}`
	sqlDropNotes = `DELETE FROM imcd_notes WHERE id {of_ids}`
	sqlNotes     = `SELECT id, room_username, room_domain, username, domain, body, at FROM imcd_notes
		ORDER BY at DESC, id DESC LIMIT $1`
	sqlOldNotes = `DELETE FROM imcd_notes WHERE id IN (SELECT id FROM imcd_notes WHERE at < $1 ORDER BY at LIMIT $2)`

	// Rooms of ours that the module has deleted.
	sqlLostRooms = `SELECT s.room, s.id FROM imcd_rooms s JOIN (SELECT room FROM imcd_rooms EXCEPT
			SELECT 'sip:' || name || '@' || domain FROM {rooms}) o ON o.room = s.room LIMIT $1`
)
