package engine

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
	return c.join()
}

func runJoin(c *call) *refusal {
	switch {
	case c.room == nil && !c.shard.engine.cfg.CreateOnJoin:
		return refuseNoRoom()
	case c.room == nil:
		return c.open(false)
	case c.me != nil && !c.me.invited():
		c.answer("already_member", nil)
		return nil
	case c.me == nil && c.room.private:
		for _, m := range c.room.having((*member).rights) {
			c.tell(m.name(), "join_attempt", vars{"uri": c.req.from.URI()})
		}
		return forbid("Room is private", "by_invitation")
	}
	return c.join()
}

func runExit(c *call) *refusal {
	if !c.me.owner() || len(c.room.owners()) > 1 {
		c.leave()
		return nil
	}
	heir := c.room.heir(c.me)
	switch {
	case c.shard.engine.cfg.OwnerLeave == OwnerLeaveRefuse:
		return &refusal{code: 403, detail: rcProtected, reason: "Owner cannot leave", notice: "owner_stays"}
	case c.shard.engine.cfg.OwnerLeave == OwnerLeaveDestroy || heir == nil:
		c.destroy()
		return nil
	}
	heir.flag = heir.flag&^MemberAdmin | MemberOwner
	c.drop(c.me)
	c.put(heir)
	c.happened(EventRole, heir.name(), roleName(heir.flag))
	c.answer("left", nil)
	c.broadcast("new_owner", vars{"by": c.show(heir.name())})
	return nil
}

// leave takes the sender out; a room that nobody is left in ends.
func (c *call) leave() {
	c.drop(c.me)
	c.answer("left", nil)
	if c.room.full() == 0 {
		c.destroy()
		return
	}
	c.broadcast("left", nil)
}

func runDestroy(c *call) *refusal {
	c.destroy()
	return nil
}

func runList(c *call) *refusal {
	var lines []string
	for _, m := range c.room.order {
		if !m.invited() {
			lines = append(lines, m.mark()+"["+c.show(m.name())+"]")
		}
	}
	c.list("members_header", lines)
	return nil
}

func runHelp(c *call) *refusal {
	e := c.shard.engine
	var lines []string
	for _, cmd := range e.language.commands {
		line := cmd.usage(e.cfg.CmdStartChar) + " - " + cmd.help
		for _, alias := range cmd.names[1:] {
			line += " (also " + e.cfg.CmdStartChar + alias + ")"
		}
		lines = append(lines, line)
	}
	c.list("help_header", lines)
	return nil
}

// list answers with lines, in as many messages as it takes.
func (c *call) list(header string, lines []string) {
	e := c.shard.engine
	head := e.listHead(header, c.fill(nil))
	if header == "help_header" {
		head = func(_, _ int) string { return e.notices.format(header, c.fill(nil)) }
	}
	for _, body := range split(lines, e.cfg.ListBytes, head) {
		c.text(c.req.from, body, nil)
	}
}
