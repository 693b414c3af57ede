package schema

import "strings"

// The statements, for both databases. {rooms} and {members} are the tables, {C}
// is a collation that compares bytes, {…_rows} a list of rows named v, {of_rooms}
// says that what stands before is a room of the list. Names
// are compared as they are: the engine keeps the case that is stored.
const (
	sqlDropInvitesOfRooms = `DELETE FROM imcd_invitations WHERE room {of_rooms}`
	sqlDropMembersOfRooms = `DELETE FROM {members} WHERE room {of_rooms}`
	sqlDropRooms          = `DELETE FROM {rooms} WHERE (name, domain) IN (SELECT v.name, v.domain FROM {room_rows})`

	sqlDropInvites = `DELETE FROM imcd_invitations
		WHERE (room, username, domain) IN (SELECT v.room, v.username, v.domain FROM {member_rows})`
	sqlDropMembers = `DELETE FROM {members}
		WHERE (username, domain, room) IN (SELECT v.username, v.domain, v.room FROM {member_rows})`

	// Update and insert rather than one upsert, which would use up a number of
	// the 32-bit sequence of Kamailio's tables each time.
	sqlUpdateRooms = `UPDATE {rooms} SET flag = v.flag FROM {room_rows}
		WHERE {rooms}.name = v.name AND {rooms}.domain = v.domain AND {rooms}.flag <> v.flag`
	sqlInsertRooms = `INSERT INTO {rooms} (name, domain, flag)
		SELECT v.name, v.domain, v.flag FROM {room_rows}
		WHERE NOT EXISTS (SELECT 1 FROM {rooms} r WHERE r.name = v.name AND r.domain = v.domain)
		ORDER BY v.ord`

	sqlUpdateMembers = `UPDATE {members} SET flag = v.flag FROM {member_rows}
		WHERE {members}.username = v.username AND {members}.domain = v.domain
		AND {members}.room = v.room AND {members}.flag <> v.flag
		RETURNING {members}.room, {members}.flag`
	sqlInsertMembers = `INSERT INTO {members} (username, domain, room, flag)
		SELECT v.username, v.domain, v.room, v.flag FROM {member_rows}
		WHERE NOT EXISTS (SELECT 1 FROM {members} m
			WHERE m.username = v.username AND m.domain = v.domain AND m.room = v.room)
		ORDER BY v.ord`
	sqlPutInvites = `INSERT INTO imcd_invitations (room, username, domain, inviter_username, inviter_domain, told)
		SELECT v.room, v.username, v.domain, v.inviter_username, v.inviter_domain, v.told FROM {member_rows}
		WHERE true
		ON CONFLICT (room, username, domain) DO UPDATE SET inviter_username = excluded.inviter_username,
			inviter_domain = excluded.inviter_domain, told = excluded.told`

	// One stream: each room followed by its members, oldest first. Rooms that
	// differ by case only are neighbours. An invitation that the module wrote
	// has no row of ours; the module sent it when it wrote it.
	sqlLoad = `SELECT k.folded, k.kind, k.room, k.name, k.domain, k.flag,
			COALESCE(i.inviter_username, ''), COALESCE(i.inviter_domain, ''), COALESCE(i.told, TRUE)
		FROM (
			SELECT lower(('sip:' || name || '@' || domain) COLLATE {C}) AS folded, 0 AS kind, id,
				'sip:' || name || '@' || domain AS room, name, domain, flag
			FROM {rooms} WHERE (flag & 2) = 0 {and_rooms}
			UNION ALL
			SELECT lower(room COLLATE {C}), 1, id, room, username, domain, flag
			FROM {members} WHERE (flag & 8) = 0 {and_members}
		) k
		LEFT JOIN imcd_invitations i ON i.room = k.room AND i.username = k.name AND i.domain = k.domain
			AND k.kind = 1 AND (k.flag & 4) <> 0
		ORDER BY k.folded COLLATE {C}, k.kind, k.id`
	sqlAndRooms   = `AND (name, domain) IN (SELECT v.name, v.domain FROM {room_rows})`
	sqlAndMembers = `AND room {of_rooms}`
)

// roomRow and memberRow are the rows of a statement's parameters.
type roomRow struct {
	Ord    int    `json:"ord"`
	Room   string `json:"room"` // sip:name@domain
	Name   string `json:"name"`
	Domain string `json:"domain"`
	Flag   int    `json:"flag"`
}

type memberRow struct {
	Ord           int    `json:"ord"`
	Room          string `json:"room"`
	Username      string `json:"username"`
	Domain        string `json:"domain"`
	Flag          int    `json:"flag"`
	InviterName   string `json:"inviter_username"`
	InviterDomain string `json:"inviter_domain"`
	Told          bool   `json:"told"`
}

// replacer fills in the statements' names.
func replacer(d dialect, opts Options) *strings.Replacer {
	rooms := d.rows(roomColumns())
	return strings.NewReplacer(
		"{rooms}", opts.RoomsTable, "{members}", opts.MembersTable, "{C}", d.binary(),
		"{room_rows}", rooms, "{of_rooms}", d.oneOf("SELECT v.room FROM "+rooms),
		"{member_rows}", d.rows(memberColumns()))
}

func roomColumns() []column {
	return []column{{"ord", "integer"}, {"room", "text"}, {"name", "text"}, {"domain", "text"}, {"flag", "integer"}}
}

func memberColumns() []column {
	return []column{{"ord", "integer"}, {"room", "text"}, {"username", "text"}, {"domain", "text"},
		{"flag", "integer"}, {"inviter_username", "text"}, {"inviter_domain", "text"}, {"told", "boolean"}}
}
