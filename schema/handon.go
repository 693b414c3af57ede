package schema

import (
	"cmp"
	"slices"

	"imcd/engine/store"
)

// smallRoom is how many members a room may have for the map of them to be used
// again: to clear a map takes as long as the largest room that it ever held.
const smallRoom = 64

// handOn makes the rooms and lets go of each. Everything has been read.
func (a *assembler) handOn(fn func(store.RoomState) error) error {
	a.byURI, a.byID = nil, nil
	for i, r := range a.rooms {
		a.rooms[i] = nil
		if err := fn(a.assemble(r)); err != nil {
			return err
		}
	}
	return nil
}

// assemble makes a room of its rows.
func (a *assembler) assemble(r *storedRoom) store.RoomState {
	state := store.RoomState{Room: r.row, Places: r.places, Settings: r.set}
	if r.count > 0 {
		state.Members = make([]store.MemberRow, 0, r.count)
	}
	if clear(a.seen); a.seen == nil || r.count > smallRoom {
		a.seen = make(map[string]int, r.count)
	}
	for _, m := range a.oldestFirst(r) {
		a.addMember(r, &state, m)
	}
	for c := range r.cursors.all() {
		a.addCursor(r, &state, c)
	}
	if r.count > smallRoom {
		a.seen = nil
	}
	return state
}

// oldestFirst lists the members. The list is good until the next call.
func (a *assembler) oldestFirst(r *storedRoom) []packedName {
	a.sorter = slices.AppendSeq(a.sorter[:0], r.members.all())
	if r.unsorted {
		slices.SortFunc(a.sorter, func(a, b packedName) int { return cmp.Compare(a.number, b.number) })
	}
	return a.sorter
}

func (a *assembler) addMember(r *storedRoom, state *store.RoomState, p packedName) {
	name, key := p.name(), p.key()
	if i, duplicate := a.seen[key]; duplicate {
		kept := state.Members[i].User
		if kept == name {
			a.twice.add(name.URI() + " in " + r.uri)
			return
		}
		a.log.Warn().Str("room", r.uri).Str("member", name.URI()).Str("kept", kept.URI()).
			Msg("a member that differs from another by case or escapes only is ignored")
		a.left.addMember(r.row.Name, name)
		return
	}
	a.seen[key] = len(state.Members)
	m := store.MemberRow{Room: r.row.Name, User: name, Flag: p.flag}
	if m.Flag&store.MemberInvited != 0 {
		m.Delivered = true // by the module, if there is no row of ours
		if i, ours := a.invited[invitee{r, name}]; ours {
			m.Inviter, m.Delivered = i.inviter, i.delivered
		}
	}
	state.Members = append(state.Members, m)
}

// addCursor knows the members already.
func (a *assembler) addCursor(r *storedRoom, state *store.RoomState, p packedName) {
	name := p.name()
	i, ok := a.seen[p.key()]
	switch {
	case ok && state.Members[i].User == name:
		seq := uint64(p.number)
		state.Members[i].Cursor = &seq
	case len(a.lost) < cleanUpCursors:
		a.lost = append(a.lost, cursorRow{RoomID: r.row.ID, Username: name.User, Domain: name.Host})
	}
}
