package engine

import "slices"

// member is one user's place in a room, or the invitation to it. Owned by the
// room's shard.
type member struct {
	name    Name
	key     string // name.Key()
	flag    int    // MemberOwner, MemberAdmin, MemberInvited or 0
	told    bool   // the invitation has arrived
	inviter Name   // who invited; zero if not known

	// Delivery, see roomLog.
	id     uint32  // distinguishes members of a room in Call-IDs
	next   uint64  // number of the next log entry to deliver
	live   bool    // takes part in deliveries: its joining is durable
	queued bool    // stands in room.ready
	flight *flight // copy under way; nil if none
}

func (m *member) invited() bool { return m.flag&MemberInvited != 0 }
func (m *member) owner() bool   { return m.flag&MemberOwner != 0 }
func (m *member) rights() bool  { return m.flag&(MemberOwner|MemberAdmin) != 0 }

// mark is what a list of members shows before the name.
func (m *member) mark() string {
	switch {
	case m.owner():
		return "*"
	case m.flag&MemberAdmin != 0:
		return "~"
	}
	return ""
}

// room is a chat room. Owned by its shard.
type room struct {
	name    Name
	key     string // name.Key()
	private bool
	members map[string]*member // by key, invited ones included
	order   []*member          // the same, oldest first

	lastID   uint32 // of members
	epoch    uint64 // grows when the room is made or taken from the database again
	inflight int    // commits under way
	tag      string // tells this incarnation's copies from those of an earlier one

	log   roomLog
	lives int       // members that take part in deliveries
	ready []*member // live members that have something to get and nothing under way
	turn  bool      // stands in shard.turns
}

func newRoom(name Name, private bool, epoch uint64, tag string) *room {
	return &room{name: name, key: name.Key(), private: private, epoch: epoch, tag: tag,
		members: make(map[string]*member)}
}

func (r *room) row() RoomRow {
	row := RoomRow{Name: r.name}
	if r.private {
		row.Flag = RoomPrivate
	}
	return row
}

func (r *room) memberRow(m *member) MemberRow {
	return MemberRow{Room: r.name, User: m.name, Flag: m.flag, Inviter: m.inviter, Told: m.told}
}

// add puts a new member last.
func (r *room) add(name Name, flag int) *member {
	r.lastID++
	m := &member{name: name, key: name.Key(), flag: flag, id: r.lastID}
	r.members[m.key] = m
	r.order = append(r.order, m)
	return m
}

func (r *room) drop(m *member) {
	delete(r.members, m.key)
	if i := slices.Index(r.order, m); i >= 0 {
		r.order = slices.Delete(r.order, i, i+1)
	}
}

// enter lets m take part in deliveries, from the end of the log on.
func (r *room) enter(m *member) {
	if r.members[m.key] != m || m.live {
		return
	}
	m.live = true
	m.next = r.log.end()
	r.lives++
}

// full counts those who are in the room, the invited left out.
func (r *room) full() int {
	n := 0
	for _, m := range r.order {
		if !m.invited() {
			n++
		}
	}
	return n
}

// owners lists the owners, oldest first.
func (r *room) owners() []*member { return r.having((*member).owner) }

func (r *room) having(is func(*member) bool) []*member {
	var found []*member
	for _, m := range r.order {
		if is(m) {
			found = append(found, m)
		}
	}
	return found
}

// heir is who owns the room after its last owner left: the oldest admin, else
// the oldest member; nil if nobody is left.
func (r *room) heir(leaver *member) *member {
	var heir *member
	for _, m := range r.order {
		switch {
		case m == leaver || m.invited():
		case m.flag&MemberAdmin != 0:
			return m
		case heir == nil:
			heir = m
		}
	}
	return heir
}

// show names a user the way people in this room know it: without the host where
// it is the room's own.
func (r *room) show(n Name) string { return showName(n, r.name.Host) }

func showName(n Name, host string) string {
	if equalFold(n.Host, host) {
		return n.User
	}
	return n.User + "@" + n.Host
}
