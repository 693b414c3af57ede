package engine

// follow lets m get its copies from the log, from entry n on.
func (d *delivery) follow(r *room, m *member, n uint64) {
	m.mode, m.next = following, n
	d.caughtUp(m)
	r.followers++
	for i := n; i < r.log.end(); i++ {
		r.log.at(i).owed++
	}
}

// unfollow ends follow; m gets the rest from the database.
func (d *delivery) unfollow(r *room, m *member) {
	if !m.live || m.mode != following {
		return
	}
	r.followers--
	for n := max(m.next, r.log.base); n < r.log.end(); n++ {
		r.log.at(n).owed--
	}
	d.engine.charge(-r.log.trim())
	m.mode, m.exempt = lagging, r.last
}

// caughtUp frees the place of m among the members that catch up: it has caught up, waits again, or left.
func (d *delivery) caughtUp(m *member) {
	if m.resumed {
		m.resumed = false
		d.catching--
	}
}

// dropPage takes the page of m away, if it has one.
func (d *delivery) dropPage(m *member) {
	if m.page == nil {
		return
	}
	if m.page.users--; m.page.users == 0 {
		d.engine.held.pages.Add(int64(-m.page.bytes))
		m.page.bytes = 0 // others may still get the page, see loaded
	}
	m.page = nil
}
