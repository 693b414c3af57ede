package engine

// A copy without an answer may delay its recipient only.

// leftRecipient ends the count of f, and lets the next copy to its recipient go.
func (d *delivery) leftRecipient(f *sentCopy) {
	c, user := &d.recipients, f.to()
	c.under[f.slot]--
	if f.named {
		if c.named[user]--; c.named[user] == 0 {
			delete(c.named, user)
		}
	}
	d.letNext(user)
}

// letNext lets the next member have its turn that waits for fewer copies to its user. A member that
// had its turn and got no copy calls it as well.
func (d *delivery) letNext(user string) {
	wait := d.recipients.wait
	if len(wait) == 0 || len(wait[user]) == 0 {
		return
	}
	next := wait[user][0]
	if wait[user] = wait[user][1:]; len(wait[user]) == 0 {
		delete(wait, user)
	}
	d.back(next)
}

// anyTo reports whether copies may be under way to one of these users.
func (d *delivery) anyTo(users map[string]bool) bool {
	for user := range users {
		if d.recipients.under[d.recipients.slot(user)] > 0 {
			return true
		}
	}
	return false
}

// waitsAside lets m, whose turn it is, wait outside of its room's turns if too many copies are under way
// to its user, or to suspects. It reports whether m waits.
func (d *delivery) waitsAside(r *room, m *member) bool {
	switch {
	case d.recipients.most(m.key, max(userCopies, 2*d.engine.cfg.MemberWindow)*max(1, len(d.engine.devices.of(m.key)))):
		d.recipients.wait[m.key] = append(d.recipients.wait[m.key], aside{r, m})
	case m.isSuspect() && d.engine.credits.suspectsLeft() <= 0:
		d.aside = append(d.aside, aside{r, m})
	default:
		return false
	}
	m.queued = beside
	return true
}

// back lets a member that waited aside have its turn.
func (d *delivery) back(a aside) {
	a.member.queued = ready
	a.member.exempt = a.room.last // a delay is its own fault
	a.room.ready = append(a.room.ready, a.member)
	d.enqueue(a.room)
}

// trySuspects lets suspects that wait aside have their turns, as far as the bound allows.
func (d *delivery) trySuspects() {
	if len(d.aside) == 0 {
		return
	}
	n := max(0, min(len(d.aside), d.engine.credits.suspectsLeft()))
	for i := range n {
		d.back(d.aside[i])
		d.aside[i] = aside{}
	}
	d.aside = d.aside[n:]
}
