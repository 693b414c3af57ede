package engine

import (
	"strconv"

	"imcd/engine/store"
	"imcd/evapi"
)

// call is one request while its shard evaluates it. What it changes in memory
// goes into tx at the same time. A handler refuses before it changes anything.
type call struct {
	shard *shard
	req   *request
	room  *room   // nil: there is none of that name
	me    *member // the sender's place in room; nil if none
	tx    *tx
}

// run checks what the command table demands and runs the command, or relays the
// message.
func (c *call) run() *refusal {
	if c.room != nil {
		c.me = c.room.get(c.req.fromKey())
		c.heardName()
	}
	if c.me != nil {
		c.appears(c.me)
	}
	if c.req.cmd == nil {
		return c.relay()
	}
	if r := c.check(c.req.cmd.need); r != nil {
		return r
	}
	return c.req.cmd.run(c)
}

func (c *call) check(n need) *refusal {
	if n == needNobody {
		return nil
	}
	if c.room == nil {
		return refuseNoRoom()
	}
	if c.service() {
		return nil // it needs no role
	}
	switch {
	case n == needInvited && (c.me == nil || !c.me.invited()):
		return forbid("Not invited", "not_invited")
	case n == needInvited || n == needRoom:
		return nil
	case c.me == nil:
		return forbid("Not a member of the room", "not_member")
	case c.me.invited():
		return forbid("Only invited to the room", "only_invited")
	case n == needAdmin && !c.me.rights():
		return forbid("Only for owners and admins", "need_admin")
	case n == needOwner && !c.me.owner():
		return forbid("Only for owners", "need_owner")
	}
	return nil
}

// heardName keeps the display name of a member that asks for something.
func (c *call) heardName() {
	if c.shard.engine.usesNames && c.me != nil && c.req.order == nil {
		c.room.noteName(c.me, c.req.display)
	}
}

// relay sends a message to the other members.
func (c *call) relay() *refusal {
	if r := c.check(needMember); r != nil {
		return r
	}
	sender, r := c.sender()
	if r != nil {
		return r
	}
	if r := c.automatic(); r != nil {
		return r
	}
	row := &store.MessageRow{Room: c.room.id, Seq: c.room.seq + 1, Sender: sender, Body: c.req.body, At: c.shard.now,
		Display: cleanDisplay(c.req.display), ContentType: c.req.contentType, Headers: c.req.rowHeaders(),
		Expires: c.req.marks.lives.until(c.shard.now), MessageID: c.req.messageID(), Wants: c.req.wants()}
	out, err := c.shard.engine.compose(c.room, row)
	if err != nil {
		return refuseContent(err, c.req)
	}
	if !c.room.stored { // a room that the module made
		c.putRoom()
		c.room.stored = true
	}
	c.room.seq, c.req.seq = row.Seq, row.Seq
	c.tx.changes = append(c.tx.changes, store.Change{Op: store.PutMessage, Message: row})
	key := sender.Key()
	if line := c.shard.engine.composeLine(c.room, row); line != nil {
		size := c.shard.engine.sizeOf(line)
		c.shard.engine.charge(size)
		c.tx.says = append(c.tx.says, say{out: line, skip: key, size: size, at: row.At, expires: row.Expires})
	}
	size := c.shard.engine.sizeOf(out)
	if c.shard.engine.cfg.Durability == DurabilityMemory {
		size += rowBytes + len(row.Body) // which waits for the database when the request has its answer
	}
	c.shard.engine.charge(size)
	c.tx.says = append(c.tx.says, say{out: out, skip: key, size: size, seq: row.Seq, at: row.At,
		expires: row.Expires, receipt: c.receiptFor(row)})
	c.posted(row)
	return nil
}

// sender is whose message it is. The service speaks as the room itself; nobody
// else can.
func (c *call) sender() (store.Name, *refusal) {
	switch {
	case c.service():
		return c.room.name, nil
	case c.me.key == c.room.key:
		return store.Name{}, forbid("A room cannot write to itself", "not_member")
	}
	return c.me.name(), nil
}

// refuse makes why the answer, with its notice to the sender.
func (c *call) refuse(why *refusal) {
	rc := why.rc
	if rc == 0 {
		rc = c.req.base() - why.detail
	}
	c.tx.answer = evapi.Answer{Code: why.code, Reason: why.reason, RC: rc, Unsupported: why.unsupported}
	if why.code == 403 {
		c.tx.answer.Code = c.shard.engine.cfg.ForbiddenCode
	}
	if c.tx.answer.RetryAfter = why.after; why.code == 503 {
		c.tx.answer.RetryAfter = c.shard.engine.cfg.RetryAfter
	}
	if c.req.order != nil {
		c.req.order.why = why // an operator is told by the answer
		return
	}
	if why.notice == "" || c.req.from.IsZero() || !c.mayNotice(why) {
		return
	}
	v := vars{}
	for k, val := range why.vars {
		v[k] = val
	}
	if c.req.cmd != nil {
		v["usage"] = c.req.cmd.usage(c.shard.engine.cfg.CmdStartChar)
	}
	c.answer(why.notice, v)
}

// mayNotice reports whether the sender may be told why. Who gave a command is told each
// time. Who wrote something else is not, nor who repeats what is none, or lacks what it
// needs ("#leave a message after the beep"): it may be a program that answers.
func (c *call) mayNotice(why *refusal) bool {
	if !c.req.person() || c.isRoom(c.req.from) {
		return false
	}
	if c.req.cmd != nil && why.code != 400 {
		return true
	}
	what, repeats := c.req.fromKey()+"\n"+c.req.roomKey()+"\n"+why.notice, 1
	if c.room != nil {
		what += strconv.FormatInt(c.room.id, 36) // another one of that name is another room
	}
	if c.req.word != "" || why.rc == rcParse { // it was meant as a command
		what, repeats = what+"\n"+c.req.content.Text, maxNoticeRepeats
	}
	if c.shard.engine.noticed.allow(hash64(what), repeats, c.shard.now) {
		return true
	}
	c.shard.engine.metrics.withheld.Inc()
	return false
}

// from is the room as which notices speak: the room it is about, or the request
// URI where there is none.
func (c *call) from() store.Name {
	if c.room != nil {
		return c.room.name
	}
	return c.req.target
}

// format makes a notice of its template. What v, which may be nil, does not have is made
// when the template asks for it: a name takes a look at all members where display names
// are shown.
func (c *call) format(notice string, v vars) string {
	return expand(c.shard.engine.notices.text[notice], func(word string) string {
		if value, ok := v[word]; ok {
			return value
		}
		switch word {
		case "room":
			if c.room == nil {
				return showName(c.req.room, c.req.target.Host)
			}
			return showName(c.room.name, c.req.target.Host)
		case "cmd":
			return c.shard.engine.cfg.CmdStartChar
		case "user", "by":
			return c.actor()
		}
		return ""
	})
}

// show names a user or a room for people.
func (c *call) show(n store.Name) string {
	if c.room == nil {
		return showName(n, c.from().Host)
	}
	return c.shard.engine.calledNow(c.room, n)
}

// answer tells the sender; the service needs no telling.
func (c *call) answer(notice string, v vars) {
	if !c.service() {
		c.tell(c.req.from, notice, v)
	}
}

// tell sends a notice to one user.
func (c *call) tell(to store.Name, notice string, v vars) {
	c.text(to, c.format(notice, v), nil)
}

// broadcast sends a notice to all live members.
func (c *call) broadcast(notice string, v vars) {
	c.text(store.Name{}, c.format(notice, v), nil)
}

// greet tells m that it is in the room now.
func (c *call) greet(m *member, notice string, adder store.Name) {
	text := c.format(notice, vars{"members": c.members()})
	c.keepText(m.name(), text, say{to: m.name(), greets: m, adder: adder})
}

// tellOthers sends a notice to all live members but one.
func (c *call) tellOthers(but *member, notice string, v vars) {
	c.speak(c.format(notice, v), say{skip: but.key})
}

// text queues a text to one user, or to all live members if to is zero. To a program
// that sent a request nothing is said.
func (c *call) text(to store.Name, text string, invite *member) {
	c.speak(text, say{to: to, invite: invite})
}

// speak queues a text to those that y names.
func (c *call) speak(text string, y say) {
	e := c.shard.engine
	if c.req != nil && !y.to.IsZero() && y.to == c.req.from && !c.req.person() {
		return
	}
	callID := ""
	if c.req != nil {
		callID = c.req.callID
	}
	out, err := e.composeText(c.from(), text, callID)
	if err != nil && callID != "" {
		out, err = e.composeText(c.from(), text, "") // a Call-ID that is no header value
	}
	if err != nil {
		// A template that is too long: the command must not fail for it.
		e.log.Warn().Err(err).Msg("notice cannot be sent")
		return
	}
	y.out, y.size = out, e.sizeOf(out)
	e.charge(y.size)
	c.tx.says = append(c.tx.says, y)
}

// Changes of rooms and members, in memory and in the tx.

func (c *call) putRoom() {
	c.tx.changes = append(c.tx.changes, store.Change{Op: store.PutRoom, Room: c.room.row()})
}

func (c *call) put(m *member) {
	c.tx.owners = true // m may be one now, or one no more
	c.tx.changes = append(c.tx.changes, store.Change{Op: store.PutMember, Member: c.room.memberRow(m)})
}

// enter makes sender or another a full member who gets everything from the next
// broadcast on.
func (c *call) enter(m *member) {
	c.room.admit(m)
	c.tx.owners = c.tx.owners || m.owner()
	m.inviter, m.told = nil, false
	m.tracked, m.stored = true, c.room.seq
	row, cursor := c.room.memberRow(m), c.room.seq
	row.Cursor = &cursor // the committer reads it later
	c.tx.changes = append(c.tx.changes, store.Change{Op: store.PutMember, Member: row})
	c.tx.says = append(c.tx.says, say{join: m, cursor: c.room.seq})
	c.happened(EventJoin, m.name(), roleName(m.flag))
}

// drop removes m from the room.
func (c *call) drop(m *member) {
	c.shard.leave(c.room, m)
	c.room.drop(m)
	delete(c.room.names, m.key)
	c.tx.left = append(c.tx.left, m)
	c.tx.owners = c.tx.owners || m.owner()
	c.tx.changes = append(c.tx.changes, store.Change{Op: store.DeleteMember, Member: c.room.memberRow(m)})
	if !m.invited() {
		c.happened(EventLeave, m.name(), "")
	}
}

// create makes the room that the request names, with the sender as its owner;
// the service is in no room.
func (c *call) create(private bool) *refusal {
	if err := checkRoomName(c.req.room); err != nil {
		return refuseArguments(err.Error())
	}
	c.room = c.shard.createRoom(c.req.room, private)
	c.tx.room = c.room
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

// destroy ends the room and tells all who were in it.
func (c *call) destroy() {
	for _, m := range c.room.order {
		if !m.invited() {
			c.tellKept(m.name(), "destroyed", nil)
		}
	}
	c.shard.removeRoom(c.room)
	c.shard.discard(c.room)
	c.tx.owners = true
	c.tx.changes = append(c.tx.changes, store.Change{Op: store.DeleteRoom, Room: c.room.row()})
	c.happened(EventDestroyed, store.Name{}, "")
}

// join makes the sender a member and tells the room.
func (c *call) join() *refusal {
	if r := c.checkJoining(); r != nil {
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
	if n := c.shard.engine.cfg.HistoryOnJoin; n > 0 && c.req.person() && c.shard.engine.reads.begin(c.req.fromKey()) == nil {
		c.tx.history = n // else there is nobody to read it, or no time
	}
	return nil
}

func (c *call) checkSpace() *refusal {
	if limit := c.shard.engine.cfg.MaxMembers; limit > 0 && c.room.full() >= limit {
		return &refusal{code: 403, detail: rcFull, reason: "Room is full", notice: "room_full"}
	}
	return nil
}

// maxInvited bounds the invitations to a room that has no limit of members: those to
// people who are never there would else be kept without end.
const maxInvited = 10000

// checkInvitations sees that there are not more invitations than places.
func (c *call) checkInvitations() *refusal {
	limit := c.shard.engine.cfg.MaxMembers
	if limit == 0 {
		limit = maxInvited
	}
	if len(c.room.order)-c.room.full() < limit {
		return nil
	}
	return &refusal{code: 403, detail: rcFull, reason: "Too many invitations", notice: "room_full"}
}

// user reads argument i as a user.
func (c *call) user(i int) (store.Name, *refusal) {
	n, err := ParseName(c.req.args[i], c.req.target.Host)
	if err != nil {
		return store.Name{}, refuseArguments("Bad user '" + clip(c.req.args[i]) + "': " + err.Error())
	}
	return n, nil
}
