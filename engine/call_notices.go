package engine

import (
	"maps"
	"strconv"

	"imcd/engine/store"
)

// from is the sender of notices: the room of the request, or the request URI where there is none.
func (c *call) from() store.Name {
	if c.room != nil {
		return c.room.name
	}
	return c.req.target
}

// format makes a notice of its template. Values that v, which may be nil, does not have are made when the
// template needs them: a name is expensive where display names are shown.
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

// answer sends a notice to the sender, except to an operator.
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

// greet informs m that it is in the room now.
func (c *call) greet(m *member, notice string, adder store.Name) {
	text := c.format(notice, vars{"members": c.members()})
	if topic := c.room.settings.topicText(); topic != "" {
		text += "\n" + c.format("topic", vars{"value": topic})
	}
	c.keepText(m.name(), text, say{to: m.name(), greets: m, adder: adder})
}

// text queues a text to one user, or to all live members if to is zero. A program that sent the request
// gets no text.
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
	out, err := e.composeText(c.from(), c.room.title(), text, callID)
	if err != nil && callID != "" {
		out, err = e.composeText(c.from(), c.room.title(), text, "") // the Call-ID is no header value
	}
	if err != nil {
		// A template that is too long: the command must not fail for it.
		e.log.Warn().Err(err).Msg("notice cannot be sent")
		return
	}
	y.out, y.size = out, e.sizeOf(out)
	e.charge(y.size)
	c.says = append(c.says, y)
	if y.to.IsZero() && c.outside() && y.skip != c.req.fromKey() {
		c.speak(text, say{to: c.req.from})
	}
}

// tellParted is tellKept for the notice that its user is not in the room any more. Linphone hears of it by BYE: the
// notice would open a chat with the room beside the group.
func (c *call) tellParted(to store.Name, notice string) {
	if c.shard.engine.natives.has(to.Key()) {
		return
	}
	c.keepText(to, c.format(notice, nil), say{to: to, parts: true})
}

// tellKept is tell for a notice that is kept while its user is offline.
func (c *call) tellKept(to store.Name, notice string, v vars) {
	text := c.format(notice, v)
	c.keepText(to, text, say{to: to})
}

// keepText queues a text to one user that is kept while the user is offline.
func (c *call) keepText(to store.Name, text string, y say) {
	n := len(c.says)
	c.speak(text, y)
	if c.req != nil && to.Key() == c.req.fromKey() || len(c.says) == n || c.kept >= maxKeptOnce {
		return // an answer, or no text
	}
	c.kept++
	row := &store.NoteRow{ID: newRoomID(), Room: c.from(), User: to, Body: []byte(text), At: c.shard.now}
	c.says[n].stored = row.ID
	c.changes = append(c.changes, store.Change{Op: store.PutNote, Note: row})
}

// list sends items to one user, in as many messages as needed. header is the notice before them; with
// several messages it ends with _n.
func (c *call) list(to store.Name, header, sep string, items []string, v vars) {
	e := c.shard.engine
	head := func(n, of int) string {
		if of == 1 {
			return c.format(header, v)
		}
		words := vars{"n": strconv.Itoa(n), "of": strconv.Itoa(of)}
		maps.Copy(words, v)
		return c.format(header+"_n", words)
	}
	for _, body := range split(items, sep, e.cfg.ListBytes, head) {
		c.text(to, body, nil)
	}
}

// members is the number of members in words.
func (c *call) members() string { return c.shard.engine.notices.count("member", c.room.full()) }

// actor names the user who acts, for notices.
func (c *call) actor() string {
	if c.service() {
		return c.shard.engine.notices.format("operator", nil)
	}
	if c.room != nil && c.req.order == nil {
		return c.shard.engine.called(c.room, c.req.from, c.req.display)
	}
	return c.show(c.req.from)
}

// announce informs the others that m has joined or left, by the notice and as JoinNotices says. It reports
// whether that happens at once. v, which may be nil, has the notice's variables.
func (c *call) announce(m *member, notice string, v vars) bool {
	_, moving := c.shard.delivery.moving[c.room]
	switch how := c.room.settings.joinNotices(&c.shard.engine.cfg); {
	case how == JoinsOff:
		return false
	case how == JoinsCounted && (c.room.full() > joinsEach || moving):
		mv := &move{member: m, left: notice == "left"}
		if mv.left && c.shard.engine.usesNames {
			mv.shown = newShownName(c.req.display, m.name())
		}
		c.says = append(c.says, say{move: mv})
		return c.room.moves.due(c.shard.now, c.shard.engine.cfg.JoinWindow)
	}
	c.speak(c.format(notice, v), say{skip: m.key})
	return true
}

// tellAbout informs the room about m; if m is unheard of, only the user who acts.
func (c *call) tellAbout(m *member, notice string, v vars) {
	if m.news == withheld {
		c.answer(notice, v)
	} else {
		c.broadcast(notice, v)
	}
}

// isRoom reports whether a name belongs to a room of this service or its manager, as far as this shard
// knows.
func (c *call) isRoom(n store.Name) bool {
	return c.shard.rooms[n.Key()] != nil || c.shard.engine.served.Load().isRoomName(n, c.req.target)
}
