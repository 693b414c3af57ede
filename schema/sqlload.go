package schema

// The queries of Load, each of one table and in no order: the server only reads, and the
// assembler joins the rows. LoadRooms adds the conditions below.
const (
	sqlLoadRooms = `SELECT COALESCE(t.id, 0) AS id, t.name, t.domain, COALESCE(t.flag, 0) AS flag FROM {rooms} t`
	sqlLoadIDs   = `SELECT s.room, s.id, s.seq, s.done FROM imcd_rooms s`
	// An invitation that the module wrote has no row here; the module sent it when
	// it wrote it.
	sqlLoadInvitations = `SELECT i.room, i.username, i.domain, i.inviter_username, i.inviter_domain, i.told
		FROM imcd_invitations i`
	sqlLoadCursors  = `SELECT c.room_id, c.username, c.domain, c.seq FROM imcd_cursors c`
	sqlLoadPlaces   = `SELECT p.room_id, p.places FROM imcd_places p`
	sqlLoadSettings = `SELECT t.room_id, t.name, t.who, t.value FROM imcd_settings t`
	// Those that are marked deleted come, too: PostgreSQL would take a condition about flags to leave next to nothing,
	// and look up the members of each room by itself.
	sqlLoadMembers = `SELECT COALESCE(m.id, 0) AS id, m.room, m.username, m.domain, COALESCE(m.flag, 0) AS flag
		FROM {members} m`
)

// Conditions that make each of them a query for some rooms only.
const (
	sqlOfRooms       = ` WHERE (t.name, t.domain) IN (SELECT v.name, v.domain FROM {room_rows})`
	sqlOfIDs         = ` WHERE s.room {of_rooms}`
	sqlOfInvitations = ` WHERE i.room {of_rooms}`
	sqlOfCursors     = ` JOIN imcd_rooms s ON s.id = c.room_id WHERE s.room {of_rooms}`
	sqlOfPlaces      = ` JOIN imcd_rooms s ON s.id = p.room_id WHERE s.room {of_rooms}`
	sqlOfSettings    = ` JOIN imcd_rooms s ON s.id = t.room_id WHERE s.room {of_rooms}`
	sqlOfMembers     = ` WHERE m.room {of_rooms}`
)
