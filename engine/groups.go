package engine

import (
	"cmp"
	"maps"
	"strconv"
	"time"

	"imcd/engine/native"
	"imcd/engine/store"
	"imcd/evapi"
)

// Rooms are group chats for clients that know such: a device is invited into each room of its user, hears of changes by
// NOTIFY, and is put out by BYE. What has to be said is the difference between the room as it is and as it was said to
// be last: so whatever changes a room, commands and operators too, is heard of in the same way.

// settingNative are the devices that have a room, and the version of its state, as they are stored (store.SettingRow):
// Who is the device without "sip:", or empty for the version. A device to which an INVITE is sent has no row until it
// has had the ACK.
const settingNative = "native"

const (
	groupMark = "-g"
	// nativeWindow is how long a change of a room waits for others.
	nativeWindow = 300 * time.Millisecond
	// nativeLarge is the same in rooms of more than joinsEach members.
	nativeLarge = 5 * time.Second
	// maxNativeFlight bounds the requests of a shard to devices that have no outcome.
	maxNativeFlight = 64
	// firstVersion is that of a new group; a whole state may have the one before, and 0 is none.
	firstVersion = 2
	// versionLeap is how much higher a version is after a start: the last ones may not have been stored.
	versionLeap = 1000
)

// groups are the rooms of a shard that are group chats somewhere. The goroutine of the shard owns it.
type groups struct {
	shard    *shard
	byRoom   map[string]*group       // by key of the room
	due      []*group                // with something to say, oldest first
	ready    []*groupDevice          // with something to do, in their order
	inFlight map[string]*groupDevice // by Call-ID
	serial   uint64                  // of Call-IDs
	again    nativeTries
	quiet    quietDevices
	ended    []*groupDevice // see keepEnded, oldest first
	deferred []func()       // see postpone, oldest first
	cuts     uint64         // how often a Kamailio was connected: requests of devices may have been lost before
}

// group is a room that has devices. It outlives its room, until they have left it.
type group struct {
	room    *room      // nil: it is gone
	name    store.Name //
	version uint32     // of what was said last
	title   string     // as it was said last
	only    bool       // the room never had another title
	users   map[string]native.User
	devices map[string]*groupDevice // by GRUU
	at      time.Time               // when it is said what has changed; zero: nothing has
	whole   wholeState              // what state made last
}

// wholeState is the last one of a group that was made.
type wholeState struct {
	native.Document
	version uint32 // of the group
	only    bool   // group.only
}

// groupDevice is a device in a group.
type groupDevice struct {
	group *group
	user  string // key
	gruu  string
	deviceSession
	leaves   bool            // it is to be put out
	alien    bool            // its user was never seen in the room: the device says that it has it
	full     bool            // it is to hear the whole state
	whole    bool            // the request that is under way is the whole state
	untitled bool            // it is to hear the title: the whole state that it has had was without
	news     native.Document // a change that it is to hear of
	asked    time.Time       // when it was invited last, or has answered that; zero: not by this engine
	busy     string          // method of the request that is under way; empty: none is
	sent     time.Time       // when that was sent
	via      *evapi.Conn     // to the Kamailio that has it
	queued   bool            // is in ready
	away     bool            // could not be reached: nothing is sent until it registers, or is tried again
	tries    int             // requests that got no answer, one after the other
	again    time.Time       // when it is tried again; zero: it is not
	cut      uint64          // groups.cuts when it was known last that it has the room
	returned bool            // it has registered since the request that is under way was sent
	unsure   bool            // what it has heard is not known: it has not asked since it has the room, or since a start
}

// deviceSession is what is known of a device's session, and of what it has by it. It is as it was before if a change of
// it that has to be stored could not be.
type deviceSession struct {
	known    bool          // it has the room
	kept     bool          // its row of settingNative is stored
	unacked  bool          // it may have accepted an INVITE whose ACK it has not had
	holds    bool          // it has had the whole state since it was invited: it keeps the room over a start of its own
	dialog   *evapi.Dialog // of the INVITE; nil: none is known
	callID   string        // of the last INVITE to it or from it; empty: none is known
	own      string        // likewise, of the last session that it began by itself, if another one has replaced that
	accepted bool          // it has accepted callID
	before   string        // likewise, of the session that it had before, while it has not; empty: none
	invited  bool          // an INVITE may have reached it: it may have the room
}

func newGroups(s *shard) *groups {
	return &groups{shard: s, byRoom: make(map[string]*group), inFlight: make(map[string]*groupDevice)}
}

// memberOf is the state of a member, as clients see it.
func memberOf(m *member) native.User { return native.User{URI: m.name().URI(), Admin: m.rights()} }

// titleOf is the title of a room for clients; without one, its name.
func titleOf(r *room) string { return cmp.Or(r.title(), r.name.User) }

// of is the group of a room; it makes one if there is none.
func (g *groups) of(r *room) *group {
	gr := g.byRoom[r.key]
	if gr == nil {
		gr = &group{name: r.name, title: titleOf(r), users: make(map[string]native.User),
			devices: make(map[string]*groupDevice), version: firstVersion}
		for _, m := range r.order {
			if m.invited() {
				continue
			}
			gr.users[m.key] = memberOf(m)
			g.invite(gr, m)
		}
		g.byRoom[r.key] = gr
	}
	gr.room = r
	return gr
}

// invite lets the native devices of a member come in.
func (g *groups) invite(gr *group, m *member) {
	native, _ := g.shard.engine.natives.of(m.key)
	for _, gruu := range native {
		d := gr.device(m.key, gruu)
		d.stays()
		g.do(d)
	}
}

// stays notes that a device is of a member. One that was to leave has missed what happened meanwhile.
func (d *groupDevice) stays() {
	d.full = d.full || d.leaves
	d.leaves, d.alien = false, false
}

// back notes that a device can be reached.
func (d *groupDevice) back() {
	d.away, d.returned = false, d.busy != ""
	d.tries, d.again = 0, time.Time{}
}

// device is a device of a user in a group; it is made if there is none.
func (gr *group) device(user, gruu string) *groupDevice {
	d := gr.devices[gruu]
	if d == nil {
		d = &groupDevice{group: gr, user: user, gruu: gruu}
		gr.devices[gruu] = d
	}
	return d
}

// applied looks what a call has changed.
func (g *groups) applied(t *call) {
	if t.room == nil || len(t.changes) == 0 {
		return
	}
	gr := g.byRoom[t.room.key]
	for i := range t.changes {
		switch c := &t.changes[i]; c.Op {
		case store.PutMember:
			if gr == nil && g.shard.rooms[t.room.key] == t.room && g.shard.engine.natives.has(c.Member.User.Key()) {
				gr = g.of(t.room)
			}
			g.changed(gr)
		case store.DeleteMember, store.DeleteRoom, store.PutSetting, store.PutRoom:
			g.changed(gr)
		}
	}
}

// changed lets a group look for changes in a moment; gr may be nil.
func (g *groups) changed(gr *group) {
	if gr == nil || !gr.at.IsZero() {
		return
	}
	wait := nativeWindow
	if len(gr.users) > joinsEach {
		wait = nativeLarge
	}
	gr.at = g.shard.now.Add(wait)
	g.due = append(g.due, gr)
}

// compare finds out what has changed in a group since that was said last.
func (g *groups) compare(gr *group) {
	r := g.shard.rooms[gr.name.Key()]
	switch {
	case g.byRoom[gr.name.Key()] != gr:
		return
	case !g.here(gr) && r != nil: // other rooms are still being loaded with it
		g.changed(gr)
		return
	case !g.here(gr):
		delete(g.byRoom, gr.name.Key())
		return
	}
	if r == nil && g.shard.stale[gr.name.Key()] != nil {
		g.changed(gr) // it is loaded again
		return
	}
	gr.room = r
	if r == nil {
		for _, d := range gr.devices {
			g.putOut(d)
		}
		return
	}
	is := make(map[string]native.User, len(r.order))
	var change native.Conference
	for _, m := range r.order {
		if m.invited() {
			continue
		}
		u := memberOf(m)
		is[m.key] = u
		was, had := gr.users[m.key]
		switch {
		case !had:
			change.Users = append(change.Users, u)
			g.invite(gr, m)
		case was.Admin != u.Admin:
			u.State = native.Changed
			change.Users = append(change.Users, u)
		}
	}
	for key, u := range gr.users {
		if _, stays := is[key]; !stays {
			u.State = native.Gone
			change.Users = append(change.Users, u)
		}
	}
	for _, d := range gr.devices {
		if _, stays := is[d.user]; !stays {
			g.putOut(d)
		} else {
			g.do(d) // it may have waited for the room (absent)
		}
	}
	gr.users = is
	if title := titleOf(r); title != gr.title {
		gr.title, gr.only, change.Title = title, false, title
	}
	if len(change.Users) > 0 || change.Title != "" {
		g.say(gr, &change)
	}
}

// say lets the devices of a group hear of a change.
func (g *groups) say(gr *group, change *native.Conference) {
	gr.version++
	g.keep(gr, "", strconv.FormatUint(uint64(gr.version), 10))
	change.Room, change.Version, change.Partial, change.At = gr.name.URI(), gr.version, true, g.shard.now
	news := change.Pack()
	for _, d := range gr.devices {
		switch {
		case !d.known || d.leaves:
			continue
		case d.busy != "" || d.news.Body != nil || d.untitled: // in one: the whole state
			d.full, d.news = true, native.Document{}
		case !d.full:
			d.news = news
		}
		g.do(d)
	}
}

// know notes that a device has the room.
func (g *groups) know(d *groupDevice) {
	d.known = true
	if !d.kept && !d.unacked {
		d.kept = true
		g.keep(d.group, d.who(), d.user)
	}
}

// putOut lets a device leave the room.
func (g *groups) putOut(d *groupDevice) {
	if !d.known && !d.invited && d.busy == "" {
		g.forget(d)
		return
	}
	d.leaves, d.full, d.news = true, false, native.Document{}
	g.do(d)
}

// forget drops a device from its group, and the group with the last one.
func (g *groups) forget(d *groupDevice) {
	gr := d.group
	if gr.devices[d.gruu] != d {
		return
	}
	delete(gr.devices, d.gruu)
	if d.kept {
		g.keep(gr, d.who(), "")
	}
	if d.callID != "" {
		g.keepRow(gr, settingSession, d.who(), "")
	}
	if d.own != "" {
		g.keepRow(gr, settingOwn, d.who(), "")
	}
	if len(gr.devices) == 0 && g.byRoom[gr.name.Key()] == gr {
		delete(g.byRoom, gr.name.Key())
	}
}

// handOver forgets the group of a room that another engine will have.
func (g *groups) handOver(room string) { delete(g.byRoom, room) }

// here reports whether a group is this engine's: it may have been handed over, and have something to do all the same.
func (g *groups) here(gr *group) bool {
	key := gr.name.Key()
	return g.byRoom[key] == gr && g.shard.engine.ownership.has(store.Hash(key))
}

// absent reports whether the room of a group is gone, was never stored, or is loaded again. Its devices go on when the
// group is compared with what there is then.
func (g *groups) absent(gr *group) bool {
	return gr.room != nil && g.shard.rooms[gr.name.Key()] != gr.room
}

// keep stores a device, or the version. A room that is gone has lost all of it.
func (g *groups) keep(gr *group, who, value string) { g.keepRow(gr, settingNative, who, value) }

func (g *groups) keepRow(gr *group, name, who, value string) {
	if gr.room != nil {
		g.shard.store(append(gr.roomRow(), gr.rowOf(name, who, value)), true, nil)
	}
}

// roomRow stores the room, if the imc module made it.
func (gr *group) roomRow() (changes []store.Change) {
	if !gr.room.stored {
		changes = append(changes, store.Change{Op: store.PutRoom, Room: gr.room.row()})
		gr.room.stored = true
	}
	return changes
}

// fill gives a room that was loaded its stored devices. If it is loaded again, what is known here is newer.
func (g *groups) fill(r *room, rows []store.SettingRow) {
	var known map[string]*groupDevice // by GRUU
	again := g.byRoom[r.key]
	if again != nil && again.room == r {
		known = maps.Clone(again.devices)
	}
	for _, row := range rows {
		gruu := "sip:" + row.Who
		if row.Name != settingNative && row.Name != settingSession && row.Name != settingOwn || known[gruu] != nil {
			continue
		}
		gr := g.of(r)
		if row.Name != settingNative {
			if d, ok := gr.fillSession(&row); ok {
				g.shard.engine.natives.learn(d.user, d.gruu)
			}
			continue
		}
		if row.Who == "" {
			if n, err := strconv.ParseUint(row.Value, 10, 32); err == nil && uint32(n)+versionLeap > gr.version {
				gr.version = uint32(n) + versionLeap
			}
			continue
		}
		d := gr.device(row.Value, gruu)
		d.known, d.kept, d.unacked, d.holds, d.unsure = true, true, false, true, true
		g.shard.engine.natives.learn(d.user, gruu)
	}
	if gr := g.byRoom[r.key]; gr != nil {
		gr.room = r
		g.changed(gr)
	}
}
