package schema

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"imcd/engine"
)

// batch is a list of changes brought down to what it comes to: at most one
// delete and one put for every room and member. All deletes go first.
type batch struct {
	dropRooms   []roomRow
	dropMembers []memberRow
	dropInvites []memberRow // of members that stay, or are dropped
	putRooms    []roomRow
	putMembers  []memberRow
	putInvites  []memberRow
}

// fate is what becomes of one room or member.
type fate[T any] struct {
	drop bool // the stored row goes
	put  *T   // and this one comes or changes what is stored
	seq  int  // order of the puts, which is the order of age
}

// fates collects changes. The zero value is not usable.
type fates struct {
	rooms   map[engine.Name]*fate[engine.RoomRow]
	members map[engine.Name]map[engine.Name]*fate[engine.MemberRow]
	left    *leftovers
	seq     int
}

// compact checks the changes and brings them down to a batch. left is only read.
func compact(changes []engine.Change, left *leftovers) (batch, error) {
	f := fates{rooms: make(map[engine.Name]*fate[engine.RoomRow]),
		members: make(map[engine.Name]map[engine.Name]*fate[engine.MemberRow]), left: left}
	for i, c := range changes {
		if err := checkChange(c); err != nil {
			return batch{}, fmt.Errorf("change %d: %w: %w", i+1, ErrInvalid, err)
		}
		f.add(c)
	}
	return f.batch(), nil
}

func (f *fates) add(c engine.Change) {
	f.seq++
	switch c.Op {
	case engine.PutRoom:
		room := f.room(c.Room.Name)
		if f.left.hides(c.Room.Name) {
			room.drop = true
		}
		setPut(room, c.Room, f.seq)
	case engine.DeleteRoom:
		f.dropRoom(c.Room.Name)
		for _, twin := range f.left.rooms[c.Room.Name.Key()] {
			f.dropRoom(twin)
		}
	case engine.PutMember:
		setPut(f.member(c.Member.Room, c.Member.User), c.Member, f.seq)
	case engine.DeleteMember:
		f.dropMember(c.Member.Room, c.Member.User)
		for _, twin := range f.left.members[memberKey(c.Member.Room, c.Member.User)] {
			f.dropMember(c.Member.Room, twin)
		}
	}
}

func setPut[T any](to *fate[T], row T, seq int) {
	if to.put == nil {
		to.seq = seq
	}
	to.put = &row
}

func (f *fates) room(name engine.Name) *fate[engine.RoomRow] {
	if f.rooms[name] == nil {
		f.rooms[name] = &fate[engine.RoomRow]{}
	}
	return f.rooms[name]
}

func (f *fates) member(room, user engine.Name) *fate[engine.MemberRow] {
	if f.members[room] == nil {
		f.members[room] = make(map[engine.Name]*fate[engine.MemberRow])
	}
	if f.members[room][user] == nil {
		f.members[room][user] = &fate[engine.MemberRow]{}
	}
	return f.members[room][user]
}

// dropRoom forgets what was to become of the members: their rows go with the
// room's.
func (f *fates) dropRoom(name engine.Name) {
	*f.room(name) = fate[engine.RoomRow]{drop: true}
	delete(f.members, name)
}

func (f *fates) dropMember(room, user engine.Name) {
	*f.member(room, user) = fate[engine.MemberRow]{drop: true}
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
	return b
}

func (b *batch) addMember(room, user engine.Name, m *fate[engine.MemberRow]) {
	row := memberRow{Room: room.URI(), Username: user.User, Domain: user.Host}
	if m.drop {
		b.dropMembers = append(b.dropMembers, row)
	}
	if m.put == nil {
		b.dropInvites = append(b.dropInvites, row)
		return
	}
	row.Ord, row.Flag = m.seq, m.put.Flag
	if m.put.Flag&engine.MemberInvited == 0 {
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

// maxChars is the length of the text columns of Kamailio's tables.
const maxChars = 64

func checkChange(c engine.Change) error {
	switch c.Op {
	case engine.PutRoom, engine.DeleteRoom:
		return checkRoom(c.Room.Name)
	case engine.PutMember, engine.DeleteMember:
		if err := checkRoom(c.Member.Room); err != nil {
			return err
		}
		if err := checkName("member", c.Member.User); err != nil {
			return err
		}
		if c.Member.Inviter.IsZero() {
			return nil
		}
		return checkName("inviter", c.Member.Inviter)
	}
	return fmt.Errorf("unknown operation %d", c.Op)
}

func checkRoom(n engine.Name) error {
	if err := checkName("room", n); err != nil {
		return err
	}
	return checkText("room URI", n.URI())
}

func checkName(what string, n engine.Name) error {
	if err := checkText(what+" name", n.User); err != nil {
		return err
	}
	return checkText(what+" domain", n.Host)
}

// checkText keeps from the database what it would answer with an error: the
// message is better here, and nothing is half done.
func checkText(what, s string) error {
	switch {
	case s == "":
		return fmt.Errorf("%s is empty", what)
	case !utf8.ValidString(s):
		return fmt.Errorf("%s is not valid UTF-8", what)
	case strings.ContainsRune(s, 0):
		return fmt.Errorf("%s contains a NUL", what)
	case utf8.RuneCountInString(s) > maxChars:
		return fmt.Errorf("%s is longer than %d characters", what, maxChars)
	}
	return nil
}
