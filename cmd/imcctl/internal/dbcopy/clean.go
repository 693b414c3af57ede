package dbcopy

import (
	"cmp"
	"math"
	"slices"
	"strings"
	"unicode/utf8"

	"imcd/engine/store"
	"imcd/schema"
)

// Outcome is what happens to rows of which something was found.
type Outcome string

// The values of Outcome.
const (
	LeftOut Outcome = "left out" // imcd leaves them out as well when it loads the rooms
	Changed Outcome = "changed"
	AsIs    Outcome = "as it is"
)

// kind is a number for something that is found of rows.
type kind int

const (
	deletedRooms kind = iota
	oddRooms
	otherCaseRooms
	twiceRooms
	droppedRooms
	deletedMembers
	oddMembers
	orphans
	otherCase
	twiceMembers
	newIDs
	respelt
	reordered
	emptyRooms
	ownerless
	oddFlags
)

// kinds are what a report says of each kind, before the number of rows.
var kinds = [...]struct {
	outcome Outcome
	what    string
}{
	deletedRooms:   {LeftOut, "rooms that are marked deleted"},
	oddRooms:       {LeftOut, "rooms with names that cannot be used"},
	otherCaseRooms: {LeftOut, "rooms that differ from an older one by case or escapes only"},
	twiceRooms:     {LeftOut, "rooms that are there twice"},
	droppedRooms:   {LeftOut, "rooms without members, since imc.so stops loading at the first of them"},
	deletedMembers: {LeftOut, "members that are marked deleted"},
	oddMembers:     {LeftOut, "members with names that cannot be used"},
	orphans:        {LeftOut, "members of rooms that are not there, or left out"},
	otherCase:      {LeftOut, "members that differ from an older one of their room by case or escapes only"},
	twiceMembers:   {LeftOut, "members that are there twice"},
	newIDs:         {Changed, "rows with new ids, since the old ones were not different numbers from 1 to 2147483647"},
	respelt:        {Changed, "members whose room is now spelt as in the table of rooms"},
	reordered:      {Changed, "rooms whose owner now is the first member, as imc.so needs it"},
	emptyRooms:     {AsIs, "rooms without members; imc.so stops loading at the first of them"},
	ownerless:      {AsIs, "rooms without an owner; imc.so takes their first member for it"},
	oddFlags:       {AsIs, "rows with flags that neither imcd nor imc.so knows"},
}

const (
	roomFlags   = store.RoomPrivate | store.RoomDeleted
	memberFlags = store.MemberOwner | store.MemberAdmin | store.MemberInvited | store.MemberDeleted | store.MemberSkip
	maxURI      = 64 // characters in the column room
)

// Finding says of how many rows something was found.
type Finding struct {
	Outcome Outcome
	What    string // in words that stand before the number
	Rows    int
	Names   []string // of the first of them; empty for new ids
}

// shown is how many names a Finding has at most.
const shown = 10

// cleaner makes rows fit for both programs.
type cleaner struct {
	folds bool // the database that the rows come from compares names without case
	empty bool // rooms without members are kept

	found [len(kinds)]Finding // by kind
	rooms []*room
	byURI map[string]*room // by URI; if folds, in lower case, too
}

// room is a room that is kept.
type room struct {
	uri     string
	row     schema.ModuleRoom
	members []*schema.ModuleMember // that are kept, by id
}

// clean returns the rows that can be copied, by id, and what was found; it changes all. Names and flags that are
// kept stay as they are. See cleaner for folds and empty.
func clean(all schema.ModuleRows, folds, empty bool) (schema.ModuleRows, []Finding) {
	c := &cleaner{folds: folds, empty: empty, byURI: make(map[string]*room)}
	sortByID(c, all.Rooms, func(r *schema.ModuleRoom) *int64 { return &r.ID })
	sortByID(c, all.Members, func(m *schema.ModuleMember) *int64 { return &m.ID })
	c.addRooms(all.Rooms)
	c.addMembers(all.Members)
	rows := schema.ModuleRows{Rooms: all.Rooms[:0:0]}
	kept := 0
	for _, r := range c.rooms {
		if c.finish(r) {
			rows.Rooms = append(rows.Rooms, r.row)
			kept += len(r.members)
		}
	}
	rows.Members = make([]schema.ModuleMember, 0, kept)
	for _, r := range c.rooms {
		for _, m := range r.members {
			rows.Members = append(rows.Members, *m)
		}
	}
	slices.SortFunc(rows.Members, func(a, b schema.ModuleMember) int { return cmp.Compare(a.ID, b.ID) })
	return rows, c.findings()
}

func (c *cleaner) find(k kind, name string) {
	f := &c.found[k]
	if f.Rows++; len(f.Names) < shown && name != "" {
		f.Names = append(f.Names, name)
	}
}

func (c *cleaner) findings() (list []Finding) {
	for k, f := range c.found {
		if f.Rows > 0 {
			f.Outcome, f.What = kinds[k].outcome, kinds[k].what
			list = append(list, f)
		}
	}
	return list
}

// sortByID also numbers the rows again if their ids cannot be taken over.
func sortByID[T any](c *cleaner, rows []T, id func(*T) *int64) {
	byID := func(a, b T) int { return cmp.Compare(*id(&a), *id(&b)) }
	if !slices.IsSortedFunc(rows, byID) {
		slices.SortStableFunc(rows, byID)
	}
	last, fit := int64(0), true
	for i := range rows {
		n := *id(&rows[i])
		fit = fit && n > last && n <= math.MaxInt32
		last = n
	}
	if fit {
		return
	}
	for i := range rows {
		*id(&rows[i]) = int64(i) + 1
		c.find(newIDs, "")
	}
}

func uriOf(name, domain string) string { return "sip:" + name + "@" + domain }

func (c *cleaner) addRooms(rows []schema.ModuleRoom) {
	byKey := make(map[string]*room, len(rows))
	c.rooms = make([]*room, 0, len(rows))
	for _, row := range rows {
		uri := uriOf(row.Name, row.Domain)
		if !schema.UsableName(row.Name, row.Domain) || utf8.RuneCountInString(uri) > maxURI {
			c.find(oddRooms, uri)
			continue
		}
		if row.Flag&store.RoomDeleted != 0 {
			c.find(deletedRooms, uri)
			continue
		}
		key := store.Name{User: row.Name, Host: row.Domain}.Key()
		if older := byKey[key]; older != nil {
			c.find(kindOf(older.uri == uri, twiceRooms, otherCaseRooms), uri)
			continue
		}
		if row.Flag&^roomFlags != 0 {
			c.find(oddFlags, uri)
		}
		r := &room{uri: uri, row: row}
		c.rooms = append(c.rooms, r)
		byKey[key], c.byURI[uri] = r, r
		if c.folds {
			if lower := strings.ToLower(uri); c.byURI[lower] == nil {
				c.byURI[lower] = r
			}
		}
	}
}

func kindOf(twice bool, same, other kind) kind {
	if twice {
		return same
	}
	return other
}

// roomOf returns the room that the database finds for a member; nil if there is none.
func (c *cleaner) roomOf(uri string) *room {
	r := c.byURI[uri]
	if r == nil && c.folds {
		r = c.byURI[strings.ToLower(uri)]
	}
	return r
}

func (c *cleaner) addMembers(rows []schema.ModuleMember) {
	for i := range rows {
		m := &rows[i]
		switch r := c.roomOf(m.Room); {
		case m.Flag&store.MemberDeleted != 0:
			c.find(deletedMembers, nameOf(m))
		case !schema.UsableName(m.User, m.Domain):
			c.find(oddMembers, nameOf(m))
		case r == nil:
			c.find(orphans, nameOf(m))
		default:
			r.members = append(r.members, m)
		}
	}
}

func nameOf(m *schema.ModuleMember) string { return uriOf(m.User, m.Domain) + " in " + m.Room }

// finish makes the members of a room fit, and reports whether the room is kept.
func (c *cleaner) finish(r *room) bool {
	c.dropDuplicates(r)
	if len(r.members) == 0 {
		c.find(kindOf(c.empty, emptyRooms, droppedRooms), r.uri)
		return c.empty
	}
	for _, m := range r.members {
		if m.Room != r.uri {
			c.find(respelt, nameOf(m))
			m.Room = r.uri
		}
		if m.Flag&^memberFlags != 0 {
			c.find(oddFlags, nameOf(m))
		}
	}
	owner := slices.IndexFunc(r.members, func(m *schema.ModuleMember) bool { return m.Flag&store.MemberOwner != 0 })
	if owner < 0 {
		c.find(ownerless, r.uri)
	} else if owner > 0 {
		c.find(reordered, r.uri)
		ownerFirst(r.members, owner)
	}
	return true
}

// ownerFirst gives the lowest id to the owner, and each member before it the next one.
func ownerFirst(members []*schema.ModuleMember, owner int) {
	lowest := members[0].ID
	for i := range owner {
		members[i].ID = members[i+1].ID
	}
	members[owner].ID = lowest
}

// dropDuplicates keeps the oldest.
func (c *cleaner) dropDuplicates(r *room) {
	if len(r.members) < 2 {
		return
	}
	seen := make(map[string]*schema.ModuleMember, len(r.members))
	r.members = slices.DeleteFunc(r.members, func(m *schema.ModuleMember) bool {
		key := store.Name{User: m.User, Host: m.Domain}.Key()
		older := seen[key]
		if older == nil {
			seen[key] = m
			return false
		}
		c.find(kindOf(older.User == m.User && older.Domain == m.Domain, twiceMembers, otherCase), nameOf(m))
		return true
	})
}
