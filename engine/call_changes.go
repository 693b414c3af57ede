package engine

import (
	"time"

	"imcd/engine/store"
)

func (c *call) putRoom() {
	c.changes = append(c.changes, store.Change{Op: store.PutRoom, Room: c.room.row()})
}

func (c *call) put(m *member) {
	c.owners = true // m may have become an owner, or was one
	c.changes = append(c.changes, store.Change{Op: store.PutMember, Member: c.room.memberRow(m)})
}

// enter makes m a full member, which gets everything from the next message on.
func (c *call) enter(m *member) {
	c.room.admit(m)
	c.owners = c.owners || m.owner()
	m.inviter, m.invitationArrived = nil, false
	m.tracked, m.stored = true, c.room.seq
	row, cursor := c.room.memberRow(m), c.room.seq
	row.Cursor = &cursor // the committer reads it later
	c.changes = append(c.changes, store.Change{Op: store.PutMember, Member: row})
	c.says = append(c.says, say{join: m, cursor: c.room.seq})
	c.happened(EventJoin, m.name(), roleName(m.flag))
}

// drop removes m from the room.
func (c *call) drop(m *member) {
	c.shard.delivery.leave(c.room, m)
	c.room.drop(m)
	delete(c.room.names, m.key)
	c.left = append(c.left, m)
	c.owners = c.owners || m.owner()
	c.changes = append(c.changes, store.Change{Op: store.DeleteMember, Member: c.room.memberRow(m)})
	if !m.invited() {
		c.happened(EventLeave, m.name(), "")
	}
}

// create makes the room of the request, with the sender as its owner; an operator is no member.
func (c *call) create(private bool) *refusal {
	if err := checkRoomName(c.req.room); err != nil {
		return refuseArguments(err.Error())
	}
	c.room = newRoom(c.req.room, newRoomID())
	c.room.private, c.room.stored = private, true
	c.shard.addRoom(c.room)
	c.putRoom()
	c.happened(EventCreated, c.req.from, "")
	if c.service() {
		return nil
	}
	c.me = c.room.add(c.req.from, store.MemberOwner)
	c.heardName()
	c.enter(c.me)
	if private {
		c.answer("created_private", nil)
	} else {
		c.answer("created", nil)
	}
	return nil
}

// destroy ends the room and informs its members of who does so.
func (c *call) destroy() { c.end("destroyed") }

// end ends the room and informs its members by a notice.
func (c *call) end(notice string) {
	c.acted(actDestroy, "", time.Time{}, "")
	for _, m := range c.room.order {
		if !m.invited() {
			c.tellParted(m.name(), notice)
		}
	}
	if c.outside() {
		c.answer(notice, nil)
	}
	c.shard.removeRoom(c.room)
	c.shard.delivery.discard(c.room)
	c.owners = true
	c.changes = append(c.changes, store.Change{Op: store.DeleteRoom, Room: c.room.row()})
	c.happened(EventDestroyed, store.Name{}, "")
}

// join makes the sender a member and informs the room.
func (c *call) join() *refusal {
	if r := c.checkJoining(); r != nil {
		return r
	}
	if r := c.refuseBanned(c.req.from, "You are banned from this room", "ban"); r != nil {
		return r
	}
	if r := c.checkSpace(); r != nil {
		return r
	}
	if c.me == nil {
		c.me = c.room.add(c.req.from, 0)
		c.heardName()
	}
	c.enter(c.me)
	c.greet(c.me, "you_joined", store.Name{})
	c.announce(c.me, "joined", nil)
	if n := c.room.settings.historyOnJoin(&c.shard.engine.cfg); n > 0 && c.req.person() {
		_ = c.showHistory(n) // else there is too much to read
	}
	return nil
}

func (c *call) checkSpace() *refusal {
	if limit := c.room.settings.maxMembers(&c.shard.engine.cfg); limit > 0 && c.room.full() >= limit {
		return &refusal{code: 403, detail: rcFull, reason: "Room is full", notice: "room_full"}
	}
	return nil
}

// maxInvited bounds the invitations to a room without a limit of members: some are never answered.
const maxInvited = 10000

// checkInvitations refuses more invitations than members are possible.
func (c *call) checkInvitations() *refusal {
	limit := c.room.settings.maxMembers(&c.shard.engine.cfg)
	if limit == 0 {
		limit = maxInvited
	}
	if len(c.room.order)-c.room.full() < limit {
		return nil
	}
	return &refusal{code: 403, detail: rcFull, reason: "Too many invitations", notice: "room_full"}
}

// happened adds an event about a member of the room.
func (c *call) happened(kind EventKind, user store.Name, role string) {
	if !c.shard.engine.wants(kind) {
		return
	}
	ev := &Event{Kind: kind, Time: c.shard.now, Room: c.room.name, User: user, Role: role, Private: c.room.private,
		RoomID: c.room.id}
	if c.req != nil {
		ev.By = c.req.from
	}
	c.raise(ev)
}

// posted adds the event of a message.
func (c *call) posted(row *store.MessageRow) {
	if !c.shard.engine.wants(EventMessage) {
		return
	}
	c.raise(&Event{Kind: EventMessage, Time: row.At, Room: c.room.name, User: row.Sender,
		Seq: row.Seq, Display: row.Display, ContentType: row.ContentType, Body: row.Body})
}

// checkJoining refuses a sender that is a room: a room sends no commands, so the sender is forged.
func (c *call) checkJoining() *refusal {
	if c.req.order == nil && c.isRoom(c.req.from) {
		return forbid("A room cannot be a member of a room", "")
	}
	return nil
}

// heardName keeps the display name of a member that sends something.
func (c *call) heardName() {
	if c.shard.engine.usesNames && c.me != nil && c.req.order == nil {
		c.room.noteName(c.me, c.req.display)
	}
}

// refuseBanned refuses a user who is banned from the room; reason and notice say so to who asks.
func (c *call) refuseBanned(user store.Name, reason, notice string) *refusal {
	until, ok := c.room.rules.banned(user, c.shard.now)
	if !ok {
		return nil
	}
	r := forbid(reason, notice)
	r.vars = vars{"user": c.show(user), "until": c.until(until)}
	return r
}
