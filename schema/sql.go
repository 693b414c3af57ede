package schema

import (
	"strconv"
	"strings"
)

// The statements, for both databases. {rooms} and {members} are the tables, {C}
// is a collation that compares bytes, {…_rows} a list of rows named v; {of_rooms} and
// {of_ids} compare the column before them with the rooms or ids of such a list. Names are
// compared as they are: the engine keeps the case that is stored.
const (
	sqlDropInvitesOfRooms = `DELETE FROM imcd_invitations WHERE room {of_rooms}`
	sqlDropMembersOfRooms = `DELETE FROM {members} WHERE room {of_rooms}`
	sqlDropRooms          = `DELETE FROM {rooms} WHERE (name, domain) IN (SELECT v.name, v.domain FROM {room_rows})`

	sqlDropInvites = `DELETE FROM imcd_invitations
		WHERE (room, username, domain) IN (SELECT v.room, v.username, v.domain FROM {member_rows})`
	sqlDropMembers = `DELETE FROM {members}
		WHERE (username, domain, room) IN (SELECT v.username, v.domain, v.room FROM {member_rows})`

	// Members of rooms that do not exist must not get into a new one.
	sqlDropOrphans = `DELETE FROM {members} USING {room_rows} WHERE {members}.room = v.room
		AND NOT EXISTS (SELECT 1 FROM {rooms} r WHERE r.name = v.name AND r.domain = v.domain)`

	// Update and insert rather than one upsert, which would use up a number of
	// the 32-bit sequence of Kamailio's tables each time.
	sqlUpdateRooms = `UPDATE {rooms} SET flag = v.flag FROM {room_rows}
		WHERE {rooms}.name = v.name AND {rooms}.domain = v.domain AND {rooms}.flag IS DISTINCT FROM v.flag`
	sqlInsertRooms = `INSERT INTO {rooms} (name, domain, flag)
		SELECT v.name, v.domain, v.flag FROM {room_rows}
		WHERE NOT EXISTS (SELECT 1 FROM {rooms} r WHERE r.name = v.name AND r.domain = v.domain)
		ORDER BY v.ord`

	sqlUpdateMembers = `UPDATE {members} SET flag = v.flag FROM {member_rows}
		WHERE {members}.username = v.username AND {members}.domain = v.domain
		AND {members}.room = v.room AND {members}.flag IS DISTINCT FROM v.flag`
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
)

// replacer fills in the statements' names.
func replacer(d dialect, opts Options) *strings.Replacer {
	names := []string{"{rooms}", opts.RoomsTable, "{members}", opts.MembersTable, "{C}", d.binary(),
		"{of_rooms}", d.oneOf("SELECT v.room FROM " + d.rows(columnsOf(roomRow{}))),
		"{of_ids}", d.oneOf("SELECT v.id FROM " + d.rows(columnsOf(idRow{}))),
		"{skip_locked}", d.skipLocked(), "{slice}", strconv.Itoa(pruneMessages)}
	for name, row := range map[string]any{"room": roomRow{}, "member": memberRow{}, "id": idRow{},
		"message": messageRow{}, "head": headRow{}, "cursor": cursorRow{}, "progress": progressRow{}, "places": placesRow{},
		"seen": seenRow{}, "setting": settingRow{}, "act": actRow{}, "event": eventRow{}, "note": noteRow{},
		"key": keyRow{}, "kept": keptRow{},
		"device": deviceRow{}, "module_room": ModuleRoom{}, "module_member": ModuleMember{}} {
		names = append(names, "{"+name+"_rows}", d.rows(columnsOf(row)))
	}
	return strings.NewReplacer(names...)
}
