package engine

import (
	"strconv"
	"strings"

	"imcd/engine/store"
)

// Commands that make, enter, leave and end rooms. Semantics and return codes:
// the imc module's, see the command table.

func runCreate(c *call) *refusal {
	private := false
	if n := len(c.req.args); n > 0 && equalFold(c.req.args[n-1], wordPrivate) {
		private = true
	} else if n == 2 {
		return refuseArguments("The second argument can only be 'private'")
	}
	if c.room == nil {
		return c.open(private)
	}
	inside := c.me != nil && !c.me.invited()
	switch {
	case c.shard.engine.cfg.CheckOnCreate || c.req.order != nil:
		return refuseExists("Room exists", "exists", nil)
	case inside:
		c.answer("already_member", nil)
		return nil
	case c.room.private:
		return refuseExists("Room exists and is private", "exists_private", nil)
	}
	if r := c.checkKey(); r != nil {
		return r
	}
	return c.join()
}

func runJoin(c *call) *refusal {
	switch {
	case c.room == nil && (!c.shard.engine.cfg.CreateOnJoin || len(c.req.args) > 1):
		return refuseNoRoom()
	case c.room == nil:
		return c.open(false)
	case c.me != nil && !c.me.invited():
		c.answer("already_member", nil)
		return nil
	case c.me == nil && c.room.private:
		if r := c.refuseBanned(c.req.from, "You are banned from this room", "ban"); r != nil {
			return r // nobody hears that it wants to join
		}
		for _, m := range c.room.having((*member).rights) {
			c.tell(m.name(), "join_attempt", vars{"uri": c.req.from.URI()})
		}
		return forbid("Room is private", "by_invitation")
	}
	if r := c.checkKey(); r != nil {
		return r
	}
	return c.join()
}

func runExit(c *call) *refusal { return c.exit(c.shard.engine.cfg.OwnerLeave) }

// exit takes the sender out. how is a value of Config.OwnerLeave.
func (c *call) exit(how string) *refusal {
	if !c.me.owner() || len(c.room.owners()) > 1 {
		c.leave()
		return nil
	}
	heir := c.room.heir(c.me)
	switch {
	case how == OwnerLeaveRefuse:
		return &refusal{code: 403, detail: rcProtected, reason: "Owner cannot leave", notice: "owner_stays"}
	case how == OwnerLeaveDestroy || heir == nil:
		c.destroy()
		return nil
	}
	heir.flag = heir.flag&^store.MemberAdmin | store.MemberOwner
	c.drop(c.me)
	c.put(heir)
	c.happened(EventRole, heir.name(), roleName(heir.flag))
	c.answer("you_left", nil)
	c.broadcast("new_owner", vars{"by": c.show(heir.name())})
	return nil
}

// leave takes the sender out; an empty room ends.
func (c *call) leave() {
	c.drop(c.me)
	c.answer("you_left", nil)
	if c.room.full() == 0 {
		c.destroy()
		return
	}
	c.announce(c.me, "left", nil)
}

func runDestroy(c *call) *refusal {
	c.destroy()
	return nil
}

func runList(c *call) *refusal {
	var items []string
	for _, m := range c.room.order {
		if m.invited() {
			continue
		}
		role, away, says := roleName(m.flag), "", ""
		if role == "member" {
			role = ""
		}
		if m.away() {
			away = "offline"
		}
		if _, muted := c.room.rules.muted(m, c.shard.now); muted {
			says = "is_muted"
		} else if c.room.hasVoice(m, c.shard.now) {
			says = "voice"
		}
		items = append(items, c.shard.engine.notices.marked(m.mark()+c.show(m.name()), role, says, away))
	}
	c.list(c.req.from, "members_header", inLine, items, vars{"members": c.members()})
	return nil
}

// runHelp lists the commands, or explains one.
func runHelp(c *call) *refusal {
	e := c.shard.engine
	if len(c.req.args) > 0 {
		if cmd := e.language.find(strings.TrimPrefix(c.req.args[0], e.cfg.CmdStartChar)); cmd != nil {
			if explained := cmd.explain(e.cfg.CmdStartChar); cmd.is("set") {
				c.list(c.req.from, "set_help", below, explainSettings(explained), nil)
			} else {
				c.text(c.req.from, explained, nil)
			}
			return nil
		}
	}
	var lines []string
	for _, cmd := range e.language.commands {
		lines = append(lines, cmd.brief(e.cfg.CmdStartChar))
	}
	c.list(c.req.from, "help_header", below, lines, nil)
	return nil
}

// open is create for users, who may not make as many rooms as they like.
func (c *call) open(private bool) *refusal {
	e := c.shard.engine
	if c.req.order != nil {
		return c.create(private)
	}
	if r := c.checkJoining(); r != nil {
		return r
	}
	if !e.creators.allow(c.req.from) {
		return forbid("Creating rooms is not allowed", "create_denied")
	}
	owner := c.req.fromKey()
	if !e.ledger.reserve(owner) {
		return &refusal{code: 403, detail: rcFull, reason: "You own too many rooms", notice: "too_many_rooms",
			vars: vars{"n": strconv.Itoa(e.cfg.MaxRooms)}}
	}
	r := c.create(private)
	switch {
	case e.ledger.limit == 0:
	case r != nil:
		e.ledger.replace([]string{owner}, nil)
	default:
		c.room.counted = []string{owner}
	}
	return r
}
