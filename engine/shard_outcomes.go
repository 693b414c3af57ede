package engine

import "imcd/evapi"

// sendInvitation repeats an invitation that may not have arrived before the engine was started.
func (s *shard) sendInvitation(r *room, m *member) {
	c := s.own(r)
	c.invitation(m)
	for i := range c.says {
		c.says[i].noted = true // before the start, or the inviter has waited for long
	}
	s.submit(c)
}

// invitationWaits implements deliveryOwner: the inviter gets a notice.
func (s *shard) invitationWaits(r *room, m *member) {
	if !s.delivery.isInvited(r, m) || m.invitedBy().IsZero() {
		return
	}
	c := s.own(r)
	c.tell(m.invitedBy(), "invite_waits", vars{"user": c.show(m.name())})
	s.submit(c)
}

// invitationDone implements deliveryOwner: the invitation has arrived, or it is withdrawn and its inviter
// gets a notice.
func (s *shard) invitationDone(r *room, m *member, result evapi.Result) {
	if !s.delivery.isInvited(r, m) {
		return // answered, removed or gone meanwhile
	}
	c := s.own(r)
	if judge(result) <= known {
		m.invitationArrived = true
		c.put(m)
	} else {
		inviter := m.invitedBy()
		c.drop(m)
		if !inviter.IsZero() {
			c.tell(inviter, "not_registered", vars{"user": c.show(m.name())})
		}
	}
	s.submit(c)
}

// greeted implements deliveryOwner. The greeting is the first sign of whether a new member has a device.
func (s *shard) greeted(n note, result evapi.Result) {
	r, m := n.room, n.greets
	if s.rooms[r.key] != r || !r.has(m) {
		return // gone meanwhile
	}
	if m.last.code() == 0 {
		m.last = m.last.with(result.Code, s.now)
	}
	if m.news == withheld && judge(result) == arrived {
		c := s.own(r)
		c.appears(m)
		s.submit(c)
	}
	if !n.adder.IsZero() && judge(result) == offline {
		c := s.own(r)
		c.tell(n.adder, "added_offline", vars{"user": c.show(m.name())})
		s.submit(c)
	}
}
