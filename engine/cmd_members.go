package engine

import (
	"strconv"
	"time"

	"imcd/engine/store"
)

// Commands about other members and about invitations.

func runInvite(c *call) *refusal {
	user, r := c.newcomer()
	if r != nil {
		return r
	}
	if r := c.checkInvitations(); r != nil {
		return r
	}
	m := c.room.add(user, store.MemberInvited)
	inviter := c.req.from
	m.inviter = &inviter
	c.put(m)
	c.invitation(m)
	c.answer("invited", vars{"user": c.show(user)})
	return nil
}

func runAdd(c *call) *refusal {
	user, r := c.newcomer()
	if r != nil {
		return r
	}
	m := c.room.get(user.Key())
	if m == nil {
		m = c.room.add(user, 0)
	}
	if c.req.order != nil {
		m.flag |= c.req.order.role
	}
	c.enter(m)
	c.greet(m, "you_added", c.req.from)
	v := vars{"user": c.show(m.name())}
	if c.unheardOf(user) {
		m.news = withheld
		c.answer("joined", v)
	} else if !c.announce(m, "joined", v) {
		c.answer("joined", v)
	}
	if m.rights() {
		c.tellRole(m)
	}
	return nil
}

// newcomer reads the user argument, and checks that the user is not in the room and there is space. An
// operator may add an invited user.
func (c *call) newcomer() (store.Name, *refusal) {
	user, r := c.user(0)
	if r != nil {
		return store.Name{}, r
	}
	if m := c.room.get(user.Key()); m != nil {
		v := vars{"user": c.show(m.name())}
		switch {
		case !m.invited():
			return store.Name{}, refuseExists("User is in the room already", "is_member", v)
		case !c.service():
			return store.Name{}, refuseExists("User is invited already", "already_invited", v)
		}
	}
	if r := c.refuseBanned(user, "User is banned from the room", "user_banned"); r != nil {
		return store.Name{}, r
	}
	if r := c.checkNewcomer(user); r != nil {
		return store.Name{}, r
	}
	return user, c.checkSpace()
}

func runAccept(c *call) *refusal { return c.join() }

func runDeny(c *call) *refusal {
	tell := []store.Name{c.me.invitedBy()}
	if c.me.inviter == nil { // invited by the imc module, which does not store the inviter
		tell = nil
		for _, m := range c.room.owners() {
			tell = append(tell, m.name())
		}
	}
	c.drop(c.me)
	c.answer("you_denied", nil)
	for _, n := range tell {
		c.tell(n, "denied", nil)
	}
	return nil
}

func runRemove(c *call) *refusal {
	m, r := c.target()
	if r != nil {
		return r
	}
	if m.owner() && !c.service() {
		return &refusal{code: 403, detail: rcProtected, reason: "Owner cannot be removed",
			notice: "owner_protected", vars: vars{"user": c.show(m.name())}}
	}
	c.drop(m)
	c.acted(actRemove, m.uri, time.Time{}, "")
	c.tellRemoved(m)
	if !m.invited() && c.room.full() == 0 {
		c.destroy()
		return nil
	}
	c.tellAbout(m, "removed", vars{"user": c.show(m.name())})
	if m.owner() {
		c.inherit(m)
	}
	return nil
}

// inherit gives the room to the heir of an owner who was removed, unless there is another owner.
func (c *call) inherit(removed *member) {
	heir := c.room.heir(removed)
	if len(c.room.owners()) > 0 || heir == nil {
		return
	}
	heir.flag = heir.flag&^store.MemberAdmin | store.MemberOwner
	c.put(heir)
	c.tellRole(heir)
}

// tellRole informs the room about the role of m.
func (c *call) tellRole(m *member) {
	c.happened(EventRole, m.name(), roleName(m.flag))
	role := c.shard.engine.notices.format(roleName(m.flag), nil)
	c.tellAbout(m, "role_changed", vars{"user": c.show(m.name()), "role": role})
}

// target reads the user argument, who must be in the room or invited to it.
func (c *call) target() (*member, *refusal) {
	user, r := c.user(0)
	if r != nil {
		return nil, r
	}
	m := c.room.get(user.Key())
	if m == nil {
		return nil, refuseUser(c.show(user))
	}
	return m, nil
}

// roleFlag gives a role's flag by the word of the command modify.
func roleFlag(word string) (flag int8, ok bool) {
	for _, r := range []struct {
		word string
		flag int8
	}{{"owner", store.MemberOwner}, {"admin", store.MemberAdmin}, {"member", 0}} {
		if equalFold(word, r.word) {
			return r.flag, true
		}
	}
	return 0, false
}

func runModify(c *call) *refusal {
	m, r := c.target()
	if r != nil {
		return r
	}
	word := c.req.args[1]
	flag, ok := roleFlag(word)
	switch {
	case !ok:
		return refuseArguments("'" + clip(word) + "' is no role: owner, admin or member")
	case m.invited():
		return refuseUser(c.show(m.name()))
	case (flag == store.MemberOwner || m.owner()) && !c.owns():
		return forbid("Only for owners", "need_owner")
	case m.owner() && flag != store.MemberOwner && len(c.room.owners()) == 1:
		return &refusal{code: 403, detail: rcProtected, reason: "Room would have no owner",
			notice: "last_owner", vars: vars{"user": c.show(m.name())}}
	}
	if flag == store.MemberOwner {
		if r := c.mayOwn(m); r != nil {
			return r
		}
	}
	m.flag = flag
	c.put(m)
	c.acted(actRole, m.uri, time.Time{}, roleName(flag))
	c.tellRole(m)
	return nil
}

// invitation sends m the invitation of its inviter.
func (c *call) invitation(m *member) {
	text := c.format("invitation", vars{"by": c.show(m.invitedBy()), "room": c.room.name.User})
	c.text(m.name(), text, m)
}

// tellRemoved informs a user who was removed, or whose invitation was taken back. If the invitation has
// not arrived, that notice is not kept.
func (c *call) tellRemoved(m *member) {
	switch {
	case !m.invited() || m.invitationArrived:
		c.tellParted(m.name(), "you_removed")
	default:
		c.tell(m.name(), "you_removed", nil)
	}
}

// mayOwn counts the room for a member that will become an owner.
func (c *call) mayOwn(m *member) *refusal {
	e := c.shard.engine
	if c.req.order != nil || m.owner() {
		return nil
	}
	if !e.ledger.reserve(m.key) {
		return &refusal{code: 403, detail: rcFull, reason: "User owns too many rooms", notice: "user_rooms",
			vars: vars{"user": c.show(m.name()), "n": strconv.Itoa(e.cfg.MaxRooms)}}
	}
	if e.ledger.limit > 0 {
		c.room.counted = append(c.room.counted[:len(c.room.counted):len(c.room.counted)], m.key)
	}
	return nil
}
