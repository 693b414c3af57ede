package schema

import (
	"maps"
	"slices"
	"time"

	"imcd/engine"
)

// model is what a Store should hold: rooms with their members by age, and their
// messages by id.
type model struct {
	rooms map[engine.Name]*engine.RoomState
	said  map[int64][]engine.MessageRow
	seen  map[[16]byte]engine.SeenRow
}

func newModel() model {
	return model{rooms: map[engine.Name]*engine.RoomState{}, said: map[int64][]engine.MessageRow{},
		seen: map[[16]byte]engine.SeenRow{}}
}

func (m model) apply(c engine.Change) {
	switch c.Op {
	case engine.PutRoom:
		m.putRoom(c.Room)
	case engine.DeleteRoom:
		if r := m.rooms[c.Room.Name]; r != nil {
			delete(m.said, r.Room.ID)
			delete(m.rooms, c.Room.Name)
		}
	case engine.PutMember:
		m.putMember(c.Member)
	case engine.DeleteMember:
		r := m.rooms[c.Member.Room]
		if i := indexOf(r, c.Member.User); i >= 0 {
			r.Members = slices.Delete(r.Members, i, i+1)
		}
	case engine.PutSeen:
		m.seen[c.Seen.Key] = *c.Seen
	default:
		m.deliver(c)
	}
}

func (m model) putRoom(row engine.RoomRow) {
	r := m.rooms[row.Name]
	if r == nil {
		r = &engine.RoomState{}
		m.rooms[row.Name] = r
	}
	if row.ID == 0 || row.ID == r.Room.ID {
		row.ID, row.Seq, row.Done = r.Room.ID, r.Room.Seq, r.Room.Done
	} else {
		delete(m.said, r.Room.ID)
		for i := range r.Members {
			r.Members[i].Cursor = nil
		}
	}
	r.Room = row
}

func (m model) putMember(row engine.MemberRow) {
	r := m.rooms[row.Room]
	if row.Flag&engine.MemberInvited == 0 {
		row.Inviter, row.Told = engine.Name{}, false
	}
	if r.Room.ID == 0 {
		row.Cursor = nil
	}
	i := indexOf(r, row.User)
	if i < 0 {
		r.Members = append(r.Members, row)
		return
	}
	if row.Cursor == nil {
		row.Cursor = r.Members[i].Cursor
	}
	r.Members[i] = row
}

// deliver ignores rooms and members that are not there.
func (m model) deliver(c engine.Change) {
	for _, r := range m.rooms {
		switch {
		case c.Op == engine.PutMessage && r.Room.ID == c.Message.Room:
			r.Room.Seq = c.Message.Seq
			m.said[r.Room.ID] = append(slices.Clone(m.said[r.Room.ID]), *c.Message)
		case c.Op == engine.PutProgress && r.Room.ID == c.Progress.Room:
			r.Room.Done = c.Progress.Done
		case c.Op == engine.PutCursor && r.Room.ID == c.Cursor.Room:
			i := indexOf(r, c.Cursor.User)
			switch {
			case i < 0:
			case c.Cursor.Remove:
				r.Members[i].Cursor = nil
			default:
				r.Members[i].Cursor = &c.Cursor.Seq
			}
		}
	}
}

// prune deletes the slow way.
func (m model) prune(l engine.Limits, now time.Time) (n int) {
	for id, said := range m.said {
		for len(said) > 0 {
			size := 0
			for _, row := range said {
				size += len(row.Body)
			}
			if (l.Messages == 0 || len(said) <= l.Messages) && (l.Bytes == 0 || int64(size) <= l.Bytes) &&
				(l.Age == 0 || !said[0].At.Before(now.Add(-l.Age))) {
				break
			}
			said = said[1:]
			n++
		}
		m.said[id] = said
	}
	maps.DeleteFunc(m.seen, func(_ [16]byte, r engine.SeenRow) bool {
		return l.SeenAge > 0 && r.At.Before(now.Add(-l.SeenAge))
	})
	return n
}

func (m model) copy() model {
	c := model{rooms: make(map[engine.Name]*engine.RoomState), said: maps.Clone(m.said), seen: maps.Clone(m.seen)}
	for name, r := range m.rooms {
		c.rooms[name] = &engine.RoomState{Room: r.Room, Members: slices.Clone(r.Members)}
	}
	return c
}

func (m model) byURI() map[string]engine.RoomState {
	rooms := make(map[string]engine.RoomState)
	for name, r := range m.rooms {
		state := *r
		if len(state.Members) == 0 {
			state.Members = nil
		}
		rooms[name.URI()] = state
	}
	return rooms
}

// counts returns how many messages, cursors and ids there are in all.
func (m model) counts() (n [3]int) {
	for _, r := range m.rooms {
		n[0] += len(m.said[r.Room.ID])
		for _, member := range r.Members {
			if member.Cursor != nil {
				n[1]++
			}
		}
		if r.Room.ID != 0 {
			n[2]++
		}
	}
	return n
}

func indexOf(r *engine.RoomState, user engine.Name) int {
	return slices.IndexFunc(r.Members, func(m engine.MemberRow) bool { return m.User == user })
}
