package engine

import "imcd/engine/store"

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
	s.engine.fillSettings(r, state.Settings)
	s.groups.fill(r, state.Settings)
}

// fillSettings gives r its stored settings and rules.
func (e *Engine) fillSettings(r *room, rows []store.SettingRow) {
	r.fillRules(rows)
	stored := make(map[string]string, len(rows))
	for _, row := range rows {
		if row.Who == "" {
			stored[row.Name] = row.Value
		}
	}
	var err error
	if r.settings, err = newSettings(stored); err != nil {
		e.log.Warn().Err(err).Str("room", r.key).Msg("a setting of a room cannot be read and does not count")
	}
}
