package schema

import (
	"cmp"
	"slices"
	"unicode/utf8"

	"github.com/rs/zerolog"

	"imcd/engine/store"
)

// Flags that a RoomState may hold; others in the tables are the module's own.
const (
	roomFlags   = store.RoomPrivate
	memberFlags = store.MemberOwner | store.MemberAdmin | store.MemberInvited
)

// storedRoom holds the rows of a room.
type storedRoom struct {
	rowID   int64 // in Kamailio's table
	uri     string
	row     store.RoomRow
	members packed // in the order in which they came; their number is the id of their row
	cursors packed // their number is the seq
	places  []byte // as in store.PlacesRow
	set     []store.SettingRow

	count    int   // of members
	newest   int64 // the highest id of a member
	unsorted bool  // the members did not come by id
}

// invitee is a user who is invited to a room; invitation is our row about that.
type (
	invitee struct {
		room *storedRoom
		user store.Name
	}
	invitation struct {
		inviter   store.Name
		delivered bool
	}
)

// assembler makes rooms out of the rows of Load's queries. It belongs to one call
// of Load or LoadRooms.
type assembler struct {
	left    *leftovers
	log     zerolog.Logger
	in      func(hash uint32) bool // of part; nil: all
	names   int                    // rooms in Kamailio's table, of all parts
	rooms   []*storedRoom
	byURI   map[string]*storedRoom
	byID    map[int64]*storedRoom // by store.RoomRow.ID
	invited map[invitee]invitation

	last       *storedRoom // of the last member, and mostly of the next one, too
	orphanRoom string      // the last that was remembered

	sorter []packedName   // of the room that is handed on
	seen   map[string]int // its members by Key: their places in its RoomState

	oddRooms, oddMembers oddRows // with names that cannot be used
	twice                oddRows // that are there twice, letter by letter

	lost []cursorRow // cursors in rooms that are there, of nobody that is; at most cleanUpCursors
}

// newAssembler makes one for the rooms of a part.
func newAssembler(part store.Part, left *leftovers, log zerolog.Logger) *assembler {
	a := &assembler{left: left, log: log, byID: make(map[int64]*storedRoom), invited: make(map[invitee]invitation)}
	if !part.All() {
		a.in = part.Matcher()
	}
	return a
}

// addRoom takes a row of sqlLoadRooms. A room that is marked deleted is
// remembered: a new one of that name gets a row of its own age.
func (a *assembler) addRoom(row *row) {
	user, host, flag := row.text(1), row.text(2), row.number(3)
	if flag&store.RoomDeleted == 0 {
		a.names++
	}
	if a.in != nil && !a.in(store.Hash(store.Name{User: user, Host: host}.Key())) {
		return
	}
	r := &storedRoom{rowID: row.number(0), uri: "sip:" + user + "@" + host}
	if !usableName(user, host) || utf8.RuneCountInString(r.uri) > maxChars {
		a.oddRooms.add(r.uri)
		return
	}
	at := len("sip:") + len(user)
	r.row = store.RoomRow{Name: store.Name{User: r.uri[len("sip:"):at], Host: r.uri[at+1:]}, Flag: int(flag) & roomFlags}
	if flag&store.RoomDeleted != 0 {
		a.left.addRoom(r.row.Name)
		return
	}
	a.rooms = append(a.rooms, r)
}

// dropDuplicates leaves the oldest of rooms that differ by case or escapes only. All rooms are
// known.
func (a *assembler) dropDuplicates() {
	slices.SortFunc(a.rooms, func(a, b *storedRoom) int { return cmp.Compare(a.rowID, b.rowID) })
	byKey := make(map[string]*storedRoom, len(a.rooms))
	a.byURI = make(map[string]*storedRoom, len(a.rooms))
	a.rooms = slices.DeleteFunc(a.rooms, func(r *storedRoom) bool {
		key := r.row.Name.Key()
		if kept := byKey[key]; kept != nil && kept.uri == r.uri {
			a.twice.add(r.uri) // no row to get rid of: it goes with the other one
			return true
		} else if kept != nil {
			a.log.Warn().Str("room", r.uri).Str("kept", kept.uri).
				Msg("a room that differs from another by case or escapes only is ignored")
			a.left.addRoom(r.row.Name)
			return true
		}
		byKey[key], a.byURI[r.uri] = r, r
		a.left.removeRoom(r.row.Name) // a row of the same name that is marked deleted: it must not take this one with it
		return false
	})
}

// list has the names of the rooms, as conditions take them.
func (a *assembler) list() []roomRow {
	rows := make([]roomRow, len(a.rooms))
	for i, r := range a.rooms {
		rows[i] = roomRow{Room: r.uri, Name: r.row.Name.User, Domain: r.row.Name.Host}
	}
	return rows
}

// addID takes a row of sqlLoadIDs.
func (a *assembler) addID(row *row) {
	if r := a.byURI[row.text(0)]; r != nil {
		r.row.ID, r.row.Seq, r.row.Done = row.number(1), row.count(2), row.count(3)
		a.byID[r.row.ID] = r
	}
}

// addInvitation takes a row of sqlLoadInvitations.
func (a *assembler) addInvitation(row *row) {
	if r := a.byURI[row.text(0)]; r != nil {
		a.invited[invitee{r, store.Name{User: row.text(1), Host: row.text(2)}}] = invitation{
			inviter: store.Name{User: row.text(3), Host: row.text(4)}, delivered: row.number(5) != 0}
	}
}

// addCursorRow takes a row of sqlLoadCursors.
func (a *assembler) addCursorRow(row *row) {
	if r := a.byID[row.number(0)]; r != nil {
		r.cursors = r.cursors.add(row.number(3), 0, row.text(1), row.text(2))
	}
}

// addPlaces takes a row of sqlLoadPlaces.
func (a *assembler) addPlaces(row *row) {
	if r := a.byID[row.number(0)]; r != nil {
		r.places = []byte(row.text(1))
	}
}

// addSetting takes a row of sqlLoadSettings.
func (a *assembler) addSetting(row *row) {
	if r := a.byID[row.number(0)]; r != nil {
		r.set = append(r.set, store.SettingRow{Room: r.row.ID, Name: row.text(1), Who: row.text(2), Value: row.text(3)})
	}
}

// addMembers takes members that readMembers has read.
func (a *assembler) addMembers(list sheet) {
	var room []byte
	var member packed
	for len(list) > 0 {
		room, member, list = list.take()
		if a.last == nil || a.last.uri != string(room) {
			if a.last = a.byURI[string(room)]; a.last == nil {
				a.addOrphan(string(room))
				continue
			}
		}
		r := a.last
		id := member.number()
		if r.unsorted = r.unsorted || id < r.newest; id > r.newest {
			r.newest = id
		}
		r.count++
		r.members = append(r.members, member...)
	}
}

func (a *assembler) addOrphan(room string) {
	a.left.orphans++
	if room != a.orphanRoom {
		a.orphanRoom = room
		a.left.addRoom(nameOfURI(room))
	}
}
