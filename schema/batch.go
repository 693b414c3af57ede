package schema

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"imcd/engine/store"
)

// batch is a list of changes brought down to what it comes to: at most one
// delete and one put for everything that is stored. All deletes go first.
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
	progress    []progressRow
	dropCursors []cursorRow
	putCursors  []cursorRow
	places      []placesRow
	seen        []seenRow
	dropNotes   []idRow
	putNotes    []noteRow
}

// idsNeeded returns the rooms whose stored ids compact must know: those that may
// get another one or none, and those in which a name stands for a cursor.
func idsNeeded(changes []store.Change, left *leftovers) []store.Name {
	need := make(map[store.Name]struct{})
	for _, c := range changes {
		switch c.Op {
		case store.PutRoom, store.DeleteRoom:
			need[c.Room.Name] = struct{}{}
			for _, twin := range left.rooms[c.Room.Name.Key()] {
				need[twin] = struct{}{}
			}
		case store.PutMember, store.DeleteMember:
			if c.Op == store.DeleteMember || c.Member.Cursor != nil {
				need[c.Member.Room] = struct{}{}
			}
		}
	}
	return slices.Collect(maps.Keys(need))
}

// fate is what becomes of one room or member.
type fate[T any] struct {
	drop bool // the stored row goes
	put  *T   // and this one comes or changes what is stored
	seq  int  // order of the puts, which is the order of age
}

// fates collects changes. The zero value is not usable.
type fates struct {
	rooms   map[store.Name]*fate[store.RoomRow]
	members map[store.Name]map[store.Name]*fate[store.MemberRow]
	left    *leftovers
	seq     int
	deliveries
}

// compact brings changes, which were checked, down to a batch. left is only read.
// ids are those that the rooms of idsNeeded have in the database; it is used up.
func compact(changes []store.Change, left *leftovers, ids map[store.Name]int64) batch {
	f := fates{rooms: make(map[store.Name]*fate[store.RoomRow]),
		members: make(map[store.Name]map[store.Name]*fate[store.MemberRow]), left: left,
		deliveries: newDeliveries(ids)}
	for _, c := range changes {
		f.add(c)
	}
	return f.batch()
}

func (f *fates) add(c store.Change) {
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
		for _, twin := range f.left.rooms[c.Room.Name.Key()] {
			f.dropRoom(twin)
		}
	case store.PutMember:
		setPut(f.member(c.Member.Room, c.Member.User), c.Member, f.seq)
		f.memberCursor(c.Member)
	case store.DeleteMember:
		f.dropMember(c.Member.Room, c.Member.User)
		for _, twin := range f.left.members[memberKey(c.Member.Room, c.Member.User)] {
			f.dropMember(c.Member.Room, twin)
		}
	default:
		f.addDelivery(c)
	}
}

func setPut[T any](to *fate[T], row T, seq int) {
	if to.put == nil {
		to.seq = seq
	}
	to.put = &row
}

func (f *fates) room(name store.Name) *fate[store.RoomRow] {
	if f.rooms[name] == nil {
		f.rooms[name] = &fate[store.RoomRow]{}
	}
	return f.rooms[name]
}

func (f *fates) member(room, user store.Name) *fate[store.MemberRow] {
	if f.members[room] == nil {
		f.members[room] = make(map[store.Name]*fate[store.MemberRow])
	}
	if f.members[room][user] == nil {
		f.members[room][user] = &fate[store.MemberRow]{}
	}
	return f.members[room][user]
}

// dropRoom forgets what was to become of the members: their rows go with the
// room's.
func (f *fates) dropRoom(name store.Name) {
	*f.room(name) = fate[store.RoomRow]{drop: true}
	delete(f.members, name)
	f.end(name)
}

func (f *fates) dropMember(room, user store.Name) {
	*f.member(room, user) = fate[store.MemberRow]{drop: true}
	f.dropCursor(room, user)
}

func (f *fates) batch() batch {
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
	f.deliveries.into(&b)
	return b
}

func (b *batch) addMember(room, user store.Name, m *fate[store.MemberRow]) {
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
		row.InviterName, row.InviterDomain, row.Told = m.put.Inviter.User, m.put.Inviter.Host, m.put.Told
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
