package engine

// Who takes part in the deliveries of a room.

// enter lets m take part in the deliveries of r: from the end of the log, or from its cursor if the log
// begins later.
func (d *delivery) enter(r *room, m *member, cursor uint64) {
	if !r.has(m) || m.live {
		return
	}
	m.live, m.cursor = true, cursor
	if cursor >= r.last {
		d.follow(r, m, r.log.end())
		return
	}
	m.mode, m.exempt = lagging, r.last
	d.setReady(r, m)
}

// enterStored lets m, which was loaded with its room, take part: from its stored cursor, or, if that is
// nil, from the number that all members have reached.
func (d *delivery) enterStored(r *room, m *member, stored *uint64) {
	if m.live {
		d.setReady(r, m)
		return
	}
	cursor := r.done
	if m.tracked = stored != nil; m.tracked {
		cursor, m.stored = *stored, *stored
	}
	cursor = max(cursor, m.cursor) // its leaving failed, and it had come further than was written
	if m.tracked && cursor < r.last {
		d.enterLater(r, m, cursor)
	} else {
		d.enter(r, m, cursor)
		if m.mode == lagging { // a device may have gone before imcd was started
			m.wait = &wait{room: r, member: m, index: -1, looked: true}
		}
		d.setReady(r, m) // it may have a loss to be informed of
	}
}

// leave takes m out of the deliveries of r.
func (d *delivery) leave(r *room, m *member) {
	if !m.live {
		return
	}
	d.unfollow(r, m)
	if m.wait != nil {
		d.forgetWait(m.wait)
	}
	d.caughtUp(m)
	d.dropPlace(r, m)
	d.leftOpen(r, m)
	delete(r.losses, m.key)
	delete(r.ahead, m)
	d.dropPage(m)
	m.live, m.wait = false, nil
}

// discard ends the deliveries of a room that does not exist any more.
func (d *delivery) discard(r *room) {
	for _, m := range r.order {
		d.leave(r, m)
	}
	delete(d.dirty, r)
	delete(d.held, r)
	delete(d.placed, r)
	d.stopMoving(r)
	r.open = nil
}
