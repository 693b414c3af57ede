package schema

import (
	"github.com/rs/zerolog"

	"imcd/engine"
)

// Flags that a RoomState may hold; others in the tables are the module's own.
const (
	roomFlags   = engine.RoomPrivate
	memberFlags = engine.MemberOwner | engine.MemberAdmin | engine.MemberInvited
)

// loadedRow is one row of sqlLoad.
type loadedRow struct {
	folded  string // the room's URI in lower case
	kind    int    // 0: room, 1: member, 2: cursor
	room    string // the room's URI as it is stored
	name    engine.Name
	flag    int
	id      int64  // of a room, also of a cursor's
	seq     uint64 // of a room or cursor
	done    uint64 // of a room
	inviter engine.Name
	told    bool
}

// assembler makes rooms out of sqlLoad's rows, which come sorted by the room.
type assembler struct {
	fn   func(engine.RoomState) error
	left *leftovers
	log  zerolog.Logger

	open   bool   // a room is being put together
	folded string // its URI in lower case
	uri    string // its URI
	state  engine.RoomState
	seen   map[string]int // its members by Key: their places in state

	orphanRoom string // the last that was remembered

	lost []cursorRow // cursors in rooms that are there, of nobody that is; at most cleanUpCursors
}

func (a *assembler) add(r *loadedRow) error {
	switch r.kind {
	case 1:
		a.addMember(r)
		return nil
	case 2:
		a.addCursor(r)
		return nil
	}
	if a.open && r.folded == a.folded {
		a.log.Warn().Str("room", r.room).Str("kept", a.uri).
			Msg("a room that differs from another by case only is ignored")
		a.left.addRoom(r.name)
		return nil
	}
	if err := a.flush(); err != nil {
		return err
	}
	a.open, a.folded, a.uri = true, r.folded, r.room
	a.state = engine.RoomState{Room: engine.RoomRow{Name: r.name, Flag: r.flag & roomFlags,
		ID: r.id, Seq: r.seq, Done: r.done}}
	if a.seen == nil {
		a.seen = make(map[string]int)
	}
	clear(a.seen)
	return nil
}

func (a *assembler) addMember(r *loadedRow) {
	if !a.open || r.room != a.uri {
		a.left.orphans++
		if r.room != a.orphanRoom {
			a.orphanRoom = r.room
			a.left.addRoom(nameOfURI(r.room))
		}
		return
	}
	room := a.state.Room.Name
	key := r.name.Key()
	if i, twin := a.seen[key]; twin {
		kept := a.state.Members[i].User
		a.log.Warn().Str("room", a.uri).Str("member", r.name.URI()).Str("kept", kept.URI()).
			Msg("a member that differs from another by case only is ignored")
		a.left.addMember(room, r.name)
		return
	}
	a.seen[key] = len(a.state.Members)
	m := engine.MemberRow{Room: room, User: r.name, Flag: r.flag & memberFlags}
	if m.Flag&engine.MemberInvited != 0 {
		m.Inviter, m.Told = r.inviter, r.told
	}
	a.state.Members = append(a.state.Members, m)
}

// addCursor knows the members already.
func (a *assembler) addCursor(r *loadedRow) {
	if !a.open || r.room != a.uri {
		return
	}
	i, ok := a.seen[r.name.Key()]
	switch {
	case ok && a.state.Members[i].User == r.name:
		seq := r.seq // r is not kept
		a.state.Members[i].Cursor = &seq
	case len(a.lost) < cleanUpCursors:
		a.lost = append(a.lost, cursorRow{RoomID: r.id, Username: r.name.User, Domain: r.name.Host})
	}
}

// flush hands the room on.
func (a *assembler) flush() error {
	if !a.open {
		return nil
	}
	a.open = false
	return a.fn(a.state)
}
