package engine

import (
	"time"

	"imcd/engine/native"
	"imcd/engine/store"
)

// What lets groups go on: devices register, ask and list their rooms, a Kamailio is connected, and time passes.

// tick says what has changed, and goes on with devices.
func (g *groups) tick() {
	for len(g.due) > 0 && !g.due[0].at.After(g.shard.now) {
		gr := g.due[0]
		g.due[0] = nil
		g.due = g.due[1:]
		gr.at = time.Time{}
		g.compare(gr)
	}
	g.expire()
	if len(g.shard.stale) == 0 && len(g.deferred) > 0 {
		calls := g.deferred
		g.deferred = nil
		for _, f := range calls {
			f()
		}
	}
	for _, d := range g.again.due(g.shard.now) {
		d.away = false
		g.do(d)
	}
	for d, ok := g.quiet.take(g.shard.now); ok; d, ok = g.quiet.take(g.shard.now) {
		g.unlisted(d)
	}
	g.pump()
}

// wants lets a device of a member hear the whole state: it has asked for it, so it has the room.
func (g *groups) wants(r *room, user, gruu string) {
	if gruu == "" {
		return
	}
	gr := g.of(r)
	g.shard.engine.natives.learn(user, gruu)
	d := gr.device(user, gruu)
	g.know(d)
	d.back()
	d.leaves, d.alien, d.unsure, d.full, d.news, d.cut = false, false, false, true, native.Document{}, g.cuts
	g.do(d)
	g.changed(gr)
}

// made notes that a device has made the room. It asks for the state once it has the answer: a state that came before
// that would be for a room that it does not know, so that it would be invited into its own room. It is stored with the
// room.
func (c *call) made() *group {
	g, req := c.shard.groups, c.req
	user, gruu := req.fromKey(), req.native.device
	g.shard.engine.natives.learn(user, gruu)
	gr := g.of(c.room)
	d := gr.device(user, gruu)
	was := d.deviceSession
	d.known, d.kept, d.invited = true, true, true
	d.callID, d.holds, d.unsure, d.cut = req.callID, false, true, g.cuts
	d.accepts()
	d.back()
	c.undoes(d, was)
	c.changes = append(c.changes, gr.rowOf(settingNative, d.who(), user))
	if value := d.sessionValue(d.callID); value != "" {
		c.changes = append(c.changes, gr.rowOf(settingSession, d.who(), value))
	}
	return gr
}

// ask lets a device be invited once more that may not have the room. If it has it, it does not ask for the state.
func (d *groupDevice) ask() {
	d.full = d.full || d.known
	d.known, d.dialog = false, nil
}

// postpone defers what a device has said while rooms of the shard are loaded again, as it may be about them, and
// reports whether it does.
func (g *groups) postpone(f func()) bool {
	if len(g.shard.stale) == 0 && len(g.deferred) == 0 || len(g.deferred) >= maxQuiet {
		return false
	}
	g.deferred = append(g.deferred, f)
	return true
}

// registered looks for the rooms of a user whose device has registered. One that has a room hears its whole state then
// if it registered elsewhere, as it compares its rooms with those of the other engine alone, or if this engine was
// started since: clients send the list of their rooms when they start, and not with every registration.
func (g *groups) registered(user, gruu string, elsewhere bool) {
	if g.postpone(func() { g.registered(user, gruu, elsewhere) }) {
		return
	}
	unsure := false
	for _, r := range g.shard.rooms {
		m := r.get(user)
		if m == nil || m.invited() {
			continue
		}
		d := g.of(r).device(user, gruu)
		d.back()
		d.stays()
		d.full = d.full || (elsewhere || d.unsure) && d.known
		d.unsure = false
		if d.known && !d.holds {
			d.ask() // started again, it would answer 200 to a state of a room that it does not have
		}
		unsure = unsure || d.known && d.cut != g.cuts
		g.do(d)
	}
	if unsure {
		g.quiet.add(user, gruu, g.shard.now)
	}
	for _, gr := range g.byRoom {
		if d := gr.devices[gruu]; d != nil {
			d.back()
			g.do(d)
		}
	}
	g.pump()
}

// listed takes the list of rooms that a device has.
func (g *groups) listed(user, gruu string, has map[string]listedRoom) {
	if g.postpone(func() { g.listed(user, gruu, has) }) {
		return
	}
	for _, r := range g.shard.rooms {
		m := r.get(user)
		if m == nil || m.invited() {
			continue
		}
		gr := g.of(r)
		d := gr.device(user, gruu)
		d.back()
		d.stays()
		if l, ok := has[r.key]; ok {
			g.know(d)
			d.full = d.full || d.unsure || l.version != gr.version // two imcd that were killed may have used one version
			d.holds, d.unsure, d.cut = true, false, g.cuts
		} else {
			d.ask() // also a room that it came to since it was started is not there
		}
		g.do(d)
	}
	for key, l := range has {
		hash := store.Hash(key)
		if g.shard.engine.shardOfHash(hash) != g.shard || !g.shard.engine.ownership.has(hash) ||
			g.shard.stale[key] != nil {
			continue
		}
		r := g.shard.rooms[key]
		if r != nil && r.get(user) != nil && !r.get(user).invited() {
			continue
		}
		gr := g.byRoom[key]
		if gr == nil {
			gr = &group{name: l.name, title: l.name.User, devices: make(map[string]*groupDevice)}
			g.byRoom[key] = gr
		}
		if gr.devices[gruu] == nil {
			gr.device(user, gruu).alien = true
		}
		d := gr.devices[gruu]
		d.known, d.dialog = true, nil
		d.back()
		g.putOut(d)
	}
	g.pump()
}

// listedRoom is a room that a device has.
type listedRoom struct {
	name    store.Name
	version uint32 // of its state there
}

// connected says that a Kamailio is connected: registrations, and what devices have sent, may have been missed.
func (g *groups) connected() {
	g.cuts++
	for _, gr := range g.byRoom {
		for _, d := range gr.devices {
			if d.away {
				d.back()
				g.do(d)
			}
		}
	}
	g.pump()
}

// unlisted invites a device that has sent no list into the rooms that it may have left: Linphone sends none if it had
// no room when it was started. A BYE is sent once, and its room counts as left there, whatever came of it. Who is still
// a member has the room again; a device that has it ends its session before, and nobody notices (replaced).
func (g *groups) unlisted(q quietDevice) {
	for _, gr := range g.byRoom {
		d := gr.devices[q.gruu]
		if d != nil && d.user == q.user && d.cut != g.cuts && d.known && !d.leaves && gr.room != nil {
			d.ask()
			g.do(d)
		}
	}
}
