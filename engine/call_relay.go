package engine

import (
	"errors"
	"fmt"
	"hash/maphash"
	"strconv"
	"unicode/utf8"

	"imcd/engine/store"
	"imcd/evapi"
	"imcd/evapi/sipmsg"
)

// run checks the conditions of the command table and runs the command, or relays the message.
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
	case n != needMember && c.serviceAdmin():
		return nil
	case c.me == nil:
		return forbid("Not a member of the room", "not_member")
	case c.me.invited():
		return forbid("Only invited to the room", "only_invited")
	case n == needAdmin && !c.me.rights(), n == needInviter && !c.me.rights() && !c.room.settings.membersInvite():
		return forbid("Only for owners and admins", "need_admin")
	case n == needOwner && !c.me.owner():
		return forbid("Only for owners", "need_owner")
	}
	return nil
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
	if r := c.silenced(); r != nil {
		return r
	}
	if r := c.automatic(); r != nil {
		return r
	}
	row := &store.MessageRow{Room: c.room.id, Seq: c.room.seq + 1, Sender: sender, Body: c.req.body, At: c.shard.now,
		Display: cleanDisplay(c.req.display), ContentType: c.req.contentType, Headers: c.req.rowHeaders(),
		Expires: c.req.marks.lives.until(c.shard.now), MessageID: c.req.messageID(), Wants: c.req.wants(),
		Device: c.shard.engine.sentOn(c.req)}
	row.Headers = append(row.Headers, c.extensions()...)
	out, err := c.shard.engine.compose(c.room, row)
	if err == nil && c.shard.engine.natives.some.Load() {
		err = c.fitsNative(out)
	}
	if err != nil {
		return refuseContent(err, c.req)
	}
	if !c.room.stored { // the imc module made the room
		c.putRoom()
		c.room.stored = true
	}
	c.room.seq, c.req.seq, c.room.spoken = row.Seq, row.Seq, row.At
	c.changes = append(c.changes, store.Change{Op: store.PutMessage, Message: row})
	key := sender.Key()
	if line := c.shard.engine.composeLine(c.room, row); line != nil {
		size := c.shard.engine.sizeOf(line)
		c.shard.engine.charge(size)
		c.says = append(c.says, say{out: line, skip: key, sentOn: row.Device, size: size, at: row.At, expires: row.Expires,
			line: true})
	}
	size := c.shard.engine.sizeOf(out)
	if c.shard.engine.cfg.Durability == DurabilityMemory {
		size += rowBytes + len(row.Body) // they wait for the database after the answer
	}
	c.shard.engine.charge(size)
	c.says = append(c.says, say{out: out, skip: key, sentOn: row.Device, size: size, seq: row.Seq, at: row.At,
		expires: row.Expires, receipt: c.receiptFor(row)})
	if c.shard.engine.natives.has(key) {
		c.room.nameMessage(row)
	}
	c.posted(row)
	return nil
}

// sender is the author of the message. An operator without a user writes as the room; nobody else can.
func (c *call) sender() (store.Name, *refusal) {
	switch {
	case c.service():
		return c.room.name, nil
	case c.me.key == c.room.key:
		return store.Name{}, forbid("A room cannot write to itself", "not_member")
	}
	return c.me.name(), nil
}

// refuse makes the answer of a refusal, with its notice to the sender.
func (c *call) refuse(why *refusal) {
	rc := why.rc
	if rc == 0 {
		rc = c.req.base() - why.detail
	}
	c.late = why.late
	c.reply = evapi.Answer{Code: why.code, Reason: why.reason, RC: rc, Unsupported: why.unsupported}
	if why.code == 403 {
		c.reply.Code = c.shard.engine.cfg.ForbiddenCode
	}
	if c.reply.RetryAfter = why.after; why.code == 503 {
		c.reply.RetryAfter = c.shard.engine.cfg.RetryAfter
	}
	if c.req.order != nil {
		c.req.order.why = why // an operator gets it as the answer
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

// mayNotice reports whether the sender gets a notice of the refusal. A user who gave a command always
// does. A program that answers by itself must not: other texts, unknown words and incomplete commands
// ("#leave a message after the beep") get few notices.
func (c *call) mayNotice(why *refusal) bool {
	if !c.req.person() || c.isRoom(c.req.from) {
		return false
	}
	if c.req.cmd != nil && why.code != 400 {
		return true
	}
	what, repeats := c.req.fromKey()+"\n"+c.req.roomKey()+"\n"+why.notice, 1
	if c.room != nil {
		what += strconv.FormatInt(c.room.id, 36) // a new room of that name is another room
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

// automatic refuses a message that looks like one of many automatic answers. There is no notice, which
// would be answered as well.
func (c *call) automatic() *refusal {
	most := c.shard.engine.cfg.AutoReplies
	if most == 0 || c.service() {
		return nil
	}
	if c.room.auto == nil {
		c.room.auto = &autoReplies{seed: maphash.MakeSeed()}
	}
	if !c.room.auto.take(c.me.key, c.req.body, c.room.seq+1, most, c.shard.now) {
		return nil
	}
	return &refusal{code: 480, detail: rcLimited, reason: "Too many automatic answers", after: autoReplyTime}
}

// receiptFor says which receipts the sender of row gets; nil: none.
func (c *call) receiptFor(row *store.MessageRow) *openReceipt {
	cfg := &c.shard.engine.cfg
	members := c.room.settings.receiptMembers(cfg)
	if members < 0 || c.me == nil {
		return nil
	}
	cpim, delivered, displayed := c.req.content.CPIM, false, false
	switch {
	case cpim || row.Wants != 0: // it asks for certain receipts
		delivered, displayed = row.Wants&store.WantsDelivered != 0, row.Wants&store.WantsDisplayed != 0
	case c.room.places[c.me].displayed > 0 || c.shard.engine.speakers.has(c.me.key):
		delivered, displayed = true, true
	}
	if !delivered && !displayed || row.MessageID == "" || !c.room.atMost(members) {
		return nil
	}
	natives := c.shard.engine.natives
	return &openReceipt{seq: row.Seq, sender: c.me.key, id: row.MessageID, cpim: cpim, via: c.via(),
		native: natives.has(c.me.key), plain: !natives.registered(c.me.key, deviceOf(c.req.msg.Request, c.me.name())),
		delivered: waitingFor{open: delivered}, displayed: waitingFor{open: displayed}}
}

// refuseContent says why a message cannot be relayed.
func refuseContent(err error, req *request) *refusal {
	if errors.Is(err, evapi.ErrTooLarge) {
		return &refusal{code: 413, detail: rcTooLarge, reason: "Message too large", notice: "too_large",
			vars: vars{"why": sizeInWords(err, req)}}
	}
	return &refusal{code: 400, detail: rcArguments, reason: "Bad message: " + clip(err.Error()), notice: "bad_message",
		vars: vars{"why": err.Error()}}
}

// sizeInWords says how much too large a message is, in characters if it is text.
func sizeInWords(err error, req *request) string {
	var e *evapi.SizeError
	if !errors.As(err, &e) || e.Size <= e.Limit {
		return "its headers are too long"
	}
	fits := func(n int) int { return n * (e.Limit - e.Limit/20) / e.Size }
	if req.content.Kind == sipmsg.Attachment {
		return fmt.Sprintf("it has %s, about %s are possible", formatBytes(len(req.body)), formatBytes(fits(len(req.body))))
	}
	n := utf8.RuneCount(req.body)
	return fmt.Sprintf("it has %d characters, about %d are possible", n, fits(n)/100*100)
}
