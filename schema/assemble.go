package schema

import (
	"cmp"
	"database/sql"
	"slices"
	"strings"

	"github.com/rs/zerolog"

	"imcd/engine"
)

// Flags that a RoomState may hold; others in the tables are the module's own.
const (
	roomFlags   = engine.RoomPrivate
	memberFlags = engine.MemberOwner | engine.MemberAdmin | engine.MemberInvited
)

// storedRoom is what has been read of a room.
type storedRoom struct {
	rowID   int64 // in Kamailio's table
	uri     string
	row     engine.RoomRow
	members packed // in the order in which they came; their number is the id of their row
	cursors packed // their number is the seq

	count    int   // of members
	newest   int64 // the highest id of a member
	unsorted bool  // the members did not come by id
}

// invitee is who is invited to a room; invitation what is known of that.
type (
	invitee struct {
		room *storedRoom
		user engine.Name
	}
	invitation struct {
		inviter engine.Name
		told    bool
	}
)

// assembler makes rooms out of the rows of Load's queries. It belongs to one call
// of Load or LoadRooms.
type assembler struct {
	left *leftovers
	log  zerolog.Logger

	rooms   []*storedRoom
	byURI   map[string]*storedRoom
	byID    map[int64]*storedRoom // by engine.RoomRow.ID
	invited map[invitee]invitation

	last                 *storedRoom  // of the member that came last: the next one's, too, as a rule
	orphanRoom           string       // the last that was remembered
	room, username, host sql.RawBytes // of a row that is being scanned

	sorter []packedName   // of the room that is handed on
	seen   map[string]int // its members by Key: their places in its RoomState

	lost []cursorRow // cursors in rooms that are there, of nobody that is; at most cleanUpCursors
}

func newAssembler(left *leftovers, log zerolog.Logger) *assembler {
	return &assembler{left: left, log: log, byID: make(map[int64]*storedRoom), invited: make(map[invitee]invitation)}
}

// scanRoom takes a row of sqlLoadRooms. A room that is marked deleted is
// remembered: a new one of that name gets a row of its own age.
func (a *assembler) scanRoom(rows *sql.Rows) error {
	var id, flag int64
	if err := rows.Scan(&id, &a.username, &a.host, &flag); err != nil {
		return err
	}
	r := &storedRoom{rowID: id, uri: "sip:" + string(a.username) + "@" + string(a.host)}
	at := len("sip:") + len(a.username)
	r.row = engine.RoomRow{Name: engine.Name{User: r.uri[len("sip:"):at], Host: r.uri[at+1:]}, Flag: int(flag) & roomFlags}
	if flag&engine.RoomDeleted != 0 {
		a.left.addRoom(r.row.Name)
		return nil
	}
	a.rooms = append(a.rooms, r)
	return nil
}

// dropTwins leaves the oldest of rooms that differ by case only. All rooms are
// known.
func (a *assembler) dropTwins() {
	slices.SortFunc(a.rooms, func(a, b *storedRoom) int { return cmp.Compare(a.rowID, b.rowID) })
	byKey := make(map[string]*storedRoom, len(a.rooms))
	a.byURI = make(map[string]*storedRoom, len(a.rooms))
	a.rooms = slices.DeleteFunc(a.rooms, func(r *storedRoom) bool {
		key := strings.ToLower(r.uri)
		if kept := byKey[key]; kept != nil {
			a.log.Warn().Str("room", r.uri).Str("kept", kept.uri).
				Msg("a room that differs from another by case only is ignored")
			a.left.addRoom(r.row.Name)
			return true
		}
		byKey[key], a.byURI[r.uri] = r, r
		return false
	})
}

// scanID takes a row of sqlLoadIDs.
func (a *assembler) scanID(rows *sql.Rows) error {
	var id int64
	var seq, done uint64
	if err := rows.Scan(&a.room, &id, &seq, &done); err != nil {
		return err
	}
	if r := a.byURI[string(a.room)]; r != nil {
		r.row.ID, r.row.Seq, r.row.Done = id, seq, done
		a.byID[id] = r
	}
	return nil
}

// scanInvitation takes a row of sqlLoadInvitations.
func (a *assembler) scanInvitation(rows *sql.Rows) error {
	var i invitation
	var user engine.Name
	if err := rows.Scan(&a.room, &user.User, &user.Host, &i.inviter.User, &i.inviter.Host, &i.told); err != nil {
		return err
	}
	if r := a.byURI[string(a.room)]; r != nil {
		a.invited[invitee{r, user}] = i
	}
	return nil
}

// scanCursor takes a row of sqlLoadCursors.
func (a *assembler) scanCursor(rows *sql.Rows) error {
	var id, seq int64
	if err := rows.Scan(&id, &a.username, &a.host, &seq); err != nil {
		return err
	}
	if r := a.byID[id]; r != nil {
		r.cursors = r.cursors.add(seq, 0, a.username, a.host)
	}
	return nil
}

// scanMember takes a row of sqlLoadMembers.
func (a *assembler) scanMember(rows *sql.Rows) error {
	var id, flag int64
	if err := rows.Scan(&id, &a.room, &a.username, &a.host, &flag); err != nil {
		return err
	}
	if a.last == nil || a.last.uri != string(a.room) {
		if a.last = a.byURI[string(a.room)]; a.last == nil {
			a.addOrphan(string(a.room))
			return nil
		}
	}
	r := a.last
	if r.unsorted = r.unsorted || id < r.newest; id > r.newest {
		r.newest = id
	}
	r.count++
	r.members = r.members.add(id, int(flag)&memberFlags, a.username, a.host)
	return nil
}

func (a *assembler) addOrphan(room string) {
	a.left.orphans++
	if room != a.orphanRoom {
		a.orphanRoom = room
		a.left.addRoom(nameOfURI(room))
	}
}
