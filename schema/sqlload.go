package schema

// The query of Load and LoadRooms.
const (
	// One stream: each room followed by its members, oldest first, and by the
	// cursors of those that have one. Rooms that differ by case only are
	// neighbours. An invitation that the module wrote has no row of ours; the
	// module sent it when it wrote it. room_id and seq are those of a room or of a
	// cursor.
	sqlLoad = `SELECT k.folded, k.kind, k.room, k.name, k.domain, k.flag, k.room_id, k.seq, k.done,
			COALESCE(i.inviter_username, ''), COALESCE(i.inviter_domain, ''), COALESCE(i.told, TRUE)
		FROM (
			SELECT lower(('sip:' || t.name || '@' || t.domain) COLLATE {C}) AS folded, 0 AS kind, t.id,
				'sip:' || t.name || '@' || t.domain AS room, t.name, t.domain, t.flag,
				COALESCE(s.id, 0) AS room_id, COALESCE(s.seq, 0) AS seq, COALESCE(s.done, 0) AS done
			FROM {rooms} t LEFT JOIN imcd_rooms s ON s.room = 'sip:' || t.name || '@' || t.domain
			WHERE (t.flag & 2) = 0 {and_rooms}
			UNION ALL
			SELECT lower(room COLLATE {C}), 1, id, room, username, domain, flag, 0, 0, 0
			FROM {members} WHERE (flag & 8) = 0 {and_members}
			UNION ALL
			SELECT lower(s.room COLLATE {C}), 2, 0, s.room, c.username, c.domain, 0, c.room_id, c.seq, 0
			FROM imcd_cursors c JOIN imcd_rooms s ON s.id = c.room_id {where_cursors}
		) k
		LEFT JOIN imcd_invitations i ON i.room = k.room AND i.username = k.name AND i.domain = k.domain
			AND k.kind = 1 AND (k.flag & 4) <> 0
		ORDER BY k.folded COLLATE {C}, k.kind, k.id`
	sqlAndRooms     = `AND (t.name, t.domain) IN (SELECT v.name, v.domain FROM {room_rows})`
	sqlAndMembers   = `AND room {of_rooms}`
	sqlWhereCursors = `WHERE s.room {of_rooms}`
)
