package schema

import (
	"maps"
	"slices"
	"strings"

	"imcd/engine/store"
)

// leftovers are rows that Load leaves out. They must be deleted before they could come to
// life: see package doc. Its size is bounded by the tables.
type leftovers struct {
	// rooms by Key: rooms marked deleted, rooms with an older duplicate that differs
	// by case, and rooms that only members speak of.
	rooms map[string][]store.Name
	// members by memberKey: users with an older duplicate that differs by case.
	members map[string][]store.Name

	orphans int // members without a room, for the log
}

func newLeftovers() leftovers {
	return leftovers{rooms: make(map[string][]store.Name), members: make(map[string][]store.Name)}
}

func memberKey(room, user store.Name) string { return room.URI() + "\x00" + user.Key() }

// hides reports whether rows of exactly this room are left over.
func (l *leftovers) hides(room store.Name) bool {
	return len(l.rooms) > 0 && slices.Contains(l.rooms[room.Key()], room)
}

func (l *leftovers) addRoom(name store.Name) {
	if !l.hides(name) {
		l.rooms[name.Key()] = append(l.rooms[name.Key()], name)
	}
}

func (l *leftovers) addMember(room, user store.Name) {
	key := memberKey(room, user)
	l.members[key] = append(l.members[key], user)
}

// remove forgets what a batch has deleted.
func (l *leftovers) remove(b *batch) {
	for _, r := range b.dropRooms {
		l.removeRoom(store.Name{User: r.Name, Host: r.Domain})
	}
	for _, m := range b.dropMembers {
		delete(l.members, memberKey(nameOfURI(m.Room), store.Name{User: m.Username, Host: m.Domain}))
	}
}

// replace puts what a Load of part has left out in the place of what an earlier one had.
func (l *leftovers) replace(part store.Part, by leftovers) {
	if part.All() {
		*l = by
		return
	}
	in := part.Matcher()
	maps.DeleteFunc(l.rooms, func(key string, _ []store.Name) bool { return in(store.Hash(key)) })
	maps.DeleteFunc(l.members, func(key string, _ []store.Name) bool {
		room, _, _ := strings.Cut(key, "\x00")
		return in(store.Hash(nameOfURI(room).Key()))
	})
	maps.Copy(l.rooms, by.rooms)
	maps.Copy(l.members, by.members)
}

func (l *leftovers) removeRoom(name store.Name) {
	if !l.hides(name) {
		return
	}
	key := name.Key()
	l.rooms[key] = slices.DeleteFunc(l.rooms[key], func(n store.Name) bool { return n == name })
	if len(l.rooms[key]) == 0 {
		delete(l.rooms, key)
	}
}

// nameOfURI reads imc_members.room. The domain has no @.
func nameOfURI(uri string) store.Name {
	rest := strings.TrimPrefix(uri, "sip:")
	i := strings.LastIndexByte(rest, '@')
	if i < 0 {
		return store.Name{User: rest}
	}
	return store.Name{User: rest[:i], Host: rest[i+1:]}
}
