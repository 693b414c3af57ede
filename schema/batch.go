package schema

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"imcd/engine/store"
)

// batch is the outcome of a list of changes: at most one delete and one put for each row.
// All deletes go first.
type batch struct {
	dropRooms   []roomRow
	dropMembers []memberRow
	dropInvites []memberRow // of members that stay, or are dropped
	putRooms    []roomRow
	putMembers  []memberRow
	putInvites  []memberRow

	dropIDs     []idRow
	putIDs      []idRow
	messages    []messageRow
	heads       []headRow
	emptied     []keyRow // messages that were deleted
	progress    []progressRow
	dropCursors []cursorRow
	putCursors  []cursorRow
	places      []placesRow
	dropSet     []settingRow
	putSet      []settingRow
	seen        []seenRow
	dropNotes   []idRow
	putNotes    []noteRow
	acts        []actRow
	events      []eventRow
	moves       []store.Move
}

// idsNeeded returns the rooms whose stored ids compact must know: rooms that may get
// another id or none, and rooms with a cursor that a change names by the room's name.
func idsNeeded(changes []store.Change, left *leftovers) []store.Name {
	need := make(map[store.Name]struct{})
	for _, c := range changes {
		switch c.Op {
		case store.PutRoom, store.DeleteRoom:
			need[c.Room.Name] = struct{}{}
			for _, duplicate := range left.rooms[c.Room.Name.Key()] {
				need[duplicate] = struct{}{}
			}
		case store.PutMember, store.DeleteMember:
			if c.Op == store.DeleteMember || c.Member.Cursor != nil {
				need[c.Member.Room] = struct{}{}
			}
		}
	}
	return slices.Collect(maps.Keys(need))
}

// outcome is that of all changes of one room or member.
type outcome[T any] struct {
	drop bool // the stored row is deleted
	put  *T   // then this row is added, or changes the stored one; nil: neither
	seq  int  // order of the puts, which is the order of age
}

// outcomes merges changes. The zero value is not usable.
type outcomes struct {
	rooms   map[store.Name]*outcome[store.RoomRow]
	members map[store.Name]map[store.Name]*outcome[store.MemberRow]
	left    *leftovers
	moves   []store.Move
	seq     int
	deliveries
}

// compact merges changes, which were checked, into a batch. left is only read. ids has
// the stored ids of the rooms that idsNeeded returns; compact changes it.
func compact(changes []store.Change, left *leftovers, ids map[store.Name]int64) batch {
	f := outcomes{rooms: make(map[store.Name]*outcome[store.RoomRow]),
		members: make(map[store.Name]map[store.Name]*outcome[store.MemberRow]), left: left,
		deliveries: newDeliveries(ids)}
	for _, c := range changes {
		f.add(c)
	}
	return f.batch()
}

func (f *outcomes) add(c store.Change) {
	f.seq++
	switch c.Op {
	case store.PutRoom:
		room := f.room(c.Room.Name)
		if !room.drop && f.left.hides(c.Room.Name) {
			room.drop = true
			f.end(c.Room.Name)
		}
		setPut(room, c.Room, f.seq)
		f.begin(c.Room)
	case store.DeleteRoom:
		f.dropRoom(c.Room.Name)
		for _, duplicate := range f.left.rooms[c.Room.Name.Key()] {
			f.dropRoom(duplicate)
		}
	case store.PutMember:
		setPut(f.member(c.Member.Room, c.Member.User), c.Member, f.seq)
		f.memberCursor(c.Member)
	case store.DeleteMember:
		f.dropMember(c.Member.Room, c.Member.User)
		for _, duplicate := range f.left.members[memberKey(c.Member.Room, c.Member.User)] {
			f.dropMember(c.Member.Room, duplicate)
		}
	case store.MoveShard:
		f.moves = append(f.moves, *c.Move)
	default:
		f.addDelivery(c)
	}
}

func setPut[T any](to *outcome[T], row T, seq int) {
	if to.put == nil {
		to.seq = seq
	}
	to.put = &row
}

func (f *outcomes) room(name store.Name) *outcome[store.RoomRow] {
	if f.rooms[name] == nil {
		f.rooms[name] = &outcome[store.RoomRow]{}
	}
	return f.rooms[name]
}

func (f *outcomes) member(room, user store.Name) *outcome[store.MemberRow] {
	if f.members[room] == nil {
		f.members[room] = make(map[store.Name]*outcome[store.MemberRow])
	}
	if f.members[room][user] == nil {
		f.members[room][user] = &outcome[store.MemberRow]{}
	}
	return f.members[room][user]
}

// dropRoom also forgets the changes of the members: their rows are deleted with the room's.
func (f *outcomes) dropRoom(name store.Name) {
	*f.room(name) = outcome[store.RoomRow]{drop: true}
	delete(f.members, name)
	f.end(name)
}

func (f *outcomes) dropMember(room, user store.Name) {
	*f.member(room, user) = outcome[store.MemberRow]{drop: true}
	f.dropCursor(room, user)
}

func (f *outcomes) batch() batch {
	var b batch
	for name, r := range f.rooms {
		row := roomRow{Room: name.URI(), Name: name.User, Domain: name.Host}
		if r.drop {
			b.dropRooms = append(b.dropRooms, row)
		}
		if r.put != nil {
			row.Ord, row.Flag = r.seq, r.put.Flag
			b.putRooms = append(b.putRooms, row)
		}
	}
	for room, members := range f.members {
		for user, m := range members {
			b.addMember(room, user, m)
		}
	}
	b.sort()
	b.moves = f.moves
	f.deliveries.into(&b)
	return b
}

func (b *batch) addMember(room, user store.Name, m *outcome[store.MemberRow]) {
	row := memberRow{Room: room.URI(), Username: user.User, Domain: user.Host}
	if m.drop {
		b.dropMembers = append(b.dropMembers, row)
	}
	if m.put == nil {
		b.dropInvites = append(b.dropInvites, row)
		return
	}
	row.Ord, row.Flag = m.seq, m.put.Flag
	if m.put.Flag&store.MemberInvited == 0 {
		b.dropInvites = append(b.dropInvites, row)
	} else {
		row.InviterName, row.InviterDomain, row.Delivered = m.put.Inviter.User, m.put.Inviter.Host, m.put.Delivered
		b.putInvites = append(b.putInvites, row)
	}
	b.putMembers = append(b.putMembers, row)
}

// sort puts the rows in the order of age, and the deletes in one that two
// processes share, so that they cannot deadlock.
func (b *batch) sort() {
	byRoom := func(x, y roomRow) int { return cmp.Or(x.Ord-y.Ord, strings.Compare(x.Room, y.Room)) }
	byMember := func(x, y memberRow) int {
		return cmp.Or(x.Ord-y.Ord, strings.Compare(x.Room, y.Room),
			strings.Compare(x.Username, y.Username), strings.Compare(x.Domain, y.Domain))
	}
	for _, list := range [][]roomRow{b.dropRooms, b.putRooms} {
		slices.SortFunc(list, byRoom)
		number(list, func(r *roomRow, i int) { r.Ord = i })
	}
	for _, list := range [][]memberRow{b.dropMembers, b.dropInvites, b.putMembers, b.putInvites} {
		slices.SortFunc(list, byMember)
		number(list, func(r *memberRow, i int) { r.Ord = i })
	}
}

func number[T any](list []T, set func(*T, int)) {
	for i := range list {
		set(&list[i], i)
	}
}
