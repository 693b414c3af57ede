package engine

// Who takes part in the deliveries of a room, and from where each gets its copies.

// enter lets m take part in the deliveries of r: from the end of the log on, or
// from its cursor if the log starts later.
func (s *shard) enter(r *room, m *member, cursor uint64) {
	if !r.has(m) || m.live {
		return
	}
	m.live, m.cursor = true, cursor
	if cursor >= r.last {
		s.follow(r, m, r.log.end())
		return
	}
	m.mode, m.excuse = behind, r.last
	s.setReady(r, m)
}

// follow lets m get its copies from the log, from number n on.
func (s *shard) follow(r *room, m *member, n uint64) {
	m.mode, m.next = following, n
	s.caughtUp(m)
	r.followers++
	for i := n; i < r.log.end(); i++ {
		r.log.at(i).owed++
	}
}

// unfollow ends that; what m has not got stays in the database.
func (s *shard) unfollow(r *room, m *member) {
	if !m.live || m.mode != following {
		return
	}
	r.followers--
	for n := max(m.next, r.log.base); n < r.log.end(); n++ {
		r.log.at(n).owed--
	}
	s.engine.charge(-r.log.trim())
	m.mode, m.excuse = behind, r.last
}

// leave takes m out of the room's deliveries.
func (s *shard) leave(r *room, m *member) {
	if !m.live {
		return
	}
	s.unfollow(r, m)
	if m.wait != nil {
		s.forgetWait(m.wait)
	}
	s.caughtUp(m)
	s.dropPlace(r, m)
	s.leftOpen(r, m)
	delete(r.losses, m.key)
	delete(r.ahead, m)
	s.dropPage(m)
	m.live, m.wait = false, nil
}

// discard ends the deliveries of a room that is no more.
func (s *shard) discard(r *room) {
	for _, m := range r.order {
		s.leave(r, m)
	}
	delete(s.dirty, r)
	delete(s.held, r)
	delete(s.placed, r)
	s.stopMoving(r)
	r.open = nil
}
