package engine

import (
	"slices"

	"imcd/engine/store"
)

// distrust puts a room aside after a failed commit: memory and database may differ. Requests for it are
// refused until it is loaded again (reload). left are members whose leaving failed.
func (s *shard) distrust(r *room, left []*member) {
	r.leavers = append(r.leavers, left...)
	if s.stale[r.key] != nil {
		return
	}
	if now := s.rooms[r.key]; now != nil {
		s.removeRoom(now)
		if now != r {
			s.delivery.discard(now)
			s.countOwners(now)
		}
	}
	s.stale[r.key] = r
}

// reload gives a distrusted room its stored state; nil: the database has no such room. Members that are
// still there keep their place in the log.
func (s *shard) reload(key string, state *store.RoomState, epoch uint64) {
	s.epoch = epoch
	r := s.stale[key]
	if r == nil {
		return
	}
	delete(s.stale, key)
	s.replace(r, state)
	s.unpark(r)
}

// replace gives r its stored state, as reload does.
func (s *shard) replace(r *room, state *store.RoomState) {
	defer s.countOwners(r)
	if state == nil {
		s.delivery.discard(r)
		return
	}
	was := make(map[string]*member, len(r.order))
	for _, m := range slices.Concat(r.leavers, r.order) {
		was[m.key] = m // a member that has come back counts
	}
	r.roster, r.leavers, r.names = roster{}, nil, nil
	is := make(map[string]struct{}, len(state.Members))
	for _, row := range state.Members {
		is[row.User.Key()] = struct{}{}
	}
	for key, m := range was {
		s.delivery.unfollow(r, m) // messages that were committed are only in the database
		if _, stays := is[key]; !stays {
			s.delivery.leave(r, m)
		}
	}
	s.addRoom(r)
	s.fill(r, *state, was)
	s.delivery.rewrite([]*room{r})
}

// install adds a room that was loaded when the engine starts.
func (s *shard) install(state store.RoomState) {
	r := newRoom(state.Room.Name, 0)
	s.addRoom(r)
	s.fill(r, state, nil)
	s.countOwners(r)
}

// fill gives r its stored state. Members that are in was, by key, stay the same objects.
func (s *shard) fill(r *room, state store.RoomState, was map[string]*member) {
	r.name, r.private = state.Room.Name, state.Room.Flag&store.RoomPrivate != 0
	if r.stored = state.Room.ID != 0; r.stored {
		r.id = state.Room.ID
	} else {
		r.id = newRoomID()
	}
	r.seq, r.last, r.done = state.Room.Seq, state.Room.Seq, state.Room.Done
	r.log.gone = r.last
	r.reserve(len(state.Members))
	for _, row := range state.Members {
		m := newMember(row.User, row.Flag)
		if old := was[m.key]; old != nil {
			m = old
		}
		m.flag, m.inviter, m.invitationArrived = int8(row.Flag), nil, row.Delivered
		r.put(m)
		if !row.Inviter.IsZero() {
			inviter := row.Inviter // a copy, so that the row can be freed
			m.inviter = &inviter
		}
		switch {
		case m.invited():
			s.delivery.leave(r, m)
			if !m.invitationArrived && m.inviter != nil && was == nil {
				s.sendInvitation(r, m)
			}
		default:
			s.delivery.enterStored(r, m, row.Cursor)
		}
	}
	r.fillPlaces(state.Places)
}
