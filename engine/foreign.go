package engine

import (
	"strings"

	"imcd/engine/store"
)

// refuseForeign refuses a user of another domain who is neither in the room nor invited, unless everybody
// may come; room may be nil. There is no notice: strangers must not make this service send messages.
func (e *Engine) refuseForeign(req *request, room *room) *refusal {
	if !req.foreign || e.cfg.ForeignUsers == ForeignAllow {
		return nil
	}
	if room != nil {
		if m := room.get(req.fromKey()); m != nil && (!m.invited() || e.cfg.ForeignUsers == ForeignInvited) {
			return nil
		}
	}
	if e.cfg.ForeignUsers == ForeignRefuse {
		return forbid("Users of other domains cannot be members here", "")
	}
	return forbid("Users of other domains need an invitation", "")
}

// checkNewcomer refuses a user who cannot be a member, or has an unusual address: notices of the room
// quote it.
func (c *call) checkNewcomer(user store.Name) *refusal {
	e := c.shard.engine
	own := e.served.Load().own(user.Host, c.req.target)
	switch {
	case c.isRoom(user):
		return refuseArguments("'" + clip(user.User) + "' is a room, not a user")
	case c.req.order != nil || own && e.users.known(user):
		return nil
	case !plainUser(user.User) || !own && !plainHost(user.Host):
		return refuseArguments("'" + clip(user.User+"@"+user.Host) + "' does not look like a user's address")
	case !own && e.cfg.ForeignUsers == ForeignRefuse:
		return forbid("Users of other domains cannot be members here", "foreign_denied").with("user", c.show(user))
	}
	return nil
}

// unheardOf reports whether a user's name may be a text that somebody wants to show in a room: it is of
// another domain, or long, and there was no sign of such a user.
func (c *call) unheardOf(user store.Name) bool {
	e := c.shard.engine
	if c.req.order != nil || e.users.known(user) {
		return false
	}
	words := strings.FieldsFunc(user.User, func(r rune) bool { return strings.ContainsRune("-_.", r) })
	return len(words) > 2 || !e.served.Load().own(user.Host, c.req.target)
}

// appears informs the room about a member that was unheard of: there is such a user.
func (c *call) appears(m *member) {
	if m.news == withheld {
		m.news = announced
		c.announce(m, "joined", vars{"user": c.show(m.name())})
	}
}

// with adds a variable of the notice.
func (r *refusal) with(word, value string) *refusal {
	r.vars = vars{word: value}
	return r
}
