package engine

import (
	"errors"
	"slices"

	"imcd/engine/store"
	"imcd/evapi"
)

// done takes a call back from the committer.
func (s *shard) done(t *call, err error) {
	if t.room != nil {
		t.room.committing--
	}
	if t.after != nil {
		t.after(err)
	}
	if err == nil {
		s.apply(t)
		return
	}
	again := false
	s.delivery.giveBack(t.room, t.changes)
	switch {
	case t.room != nil && t.room.left:
	case errors.Is(err, errSuperseded):
		again = s.superseded(t)
	case errors.Is(err, store.ErrUnavailable):
		if t.room != nil {
			s.distrust(t.room, t.left)
		}
	default:
		s.refused(t)
	}
	switch {
	case !t.asked() || t.early || again:
	case t.unsure:
		s.dedupe.endLate(t.req.seen, evapi.Answer{Code: 503}, s.now) // it was not done
	default:
		s.refuse(t.req, t.room, refuseCommit(err))
	}
	for _, y := range t.says {
		s.engine.charge(-y.size)
	}
	if t.reading != nil {
		s.engine.reads.end(t.req.fromKey())
	}
}

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
		s.groups.changed(s.groups.byRoom[r.key])
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
		s.delivery.dropPage(m)    // it may lack one that is not deleted after all
		if _, stays := is[key]; !stays {
			s.delivery.leave(r, m)
		}
	}
	s.addRoom(r)
	s.fill(r, *state, was)
	s.delivery.rewrite([]*room{r})
}

// refused takes a call back that the database refuses. Nothing of it was done.
func (s *shard) refused(t *call) {
	if t.room == nil {
		return
	}
	s.distrust(t.room, t.left)
	r := s.stale[t.room.key]
	r.parking = true
	s.engine.committer.put(&call{shard: s, room: r, again: true})
}
