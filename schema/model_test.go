package schema

import (
	"maps"
	"slices"
	"time"

	"imcd/engine/store"
)

// model is what a Store should hold: rooms with their members by age, and their
// messages by id.
type model struct {
	rooms map[store.Name]*store.RoomState
	said  map[int64][]store.MessageRow
	seen  map[[16]byte]store.SeenRow
}

func newModel() model {
	return model{rooms: map[store.Name]*store.RoomState{}, said: map[int64][]store.MessageRow{},
		seen: map[[16]byte]store.SeenRow{}}
}

func (m model) apply(c store.Change) {
	switch c.Op {
	case store.PutRoom:
		m.putRoom(c.Room)
	case store.DeleteRoom:
		if r := m.rooms[c.Room.Name]; r != nil {
			delete(m.said, r.Room.ID)
			delete(m.rooms, c.Room.Name)
		}
	case store.PutMember:
		m.putMember(c.Member)
	case store.DeleteMember:
		r := m.rooms[c.Member.Room]
		if i := indexOf(r, c.Member.User); i >= 0 {
			r.Members = slices.Delete(r.Members, i, i+1)
		}
	case store.PutSeen:
		m.seen[c.Seen.Key] = *c.Seen
	default:
		m.deliver(c)
	}
}

func (m model) putRoom(row store.RoomRow) {
	r := m.rooms[row.Name]
	if r == nil {
		r = &store.RoomState{}
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

func (m model) putMember(row store.MemberRow) {
	r := m.rooms[row.Room]
	if row.Flag&store.MemberInvited == 0 {
		row.Inviter, row.Delivered = store.Name{}, false
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
func (m model) deliver(c store.Change) {
	for _, r := range m.rooms {
		switch {
		case c.Op == store.PutMessage && r.Room.ID == c.Message.Room:
			r.Room.Seq = c.Message.Seq
			m.said[r.Room.ID] = append(slices.Clone(m.said[r.Room.ID]), *c.Message)
		case c.Op == store.DeleteMessage && r.Room.ID == c.Message.Room:
			said := slices.Clone(m.said[r.Room.ID])
			for i := range said {
				if said[i].Seq == c.Message.Seq {
					said[i] = emptied(said[i])
				}
			}
			m.said[r.Room.ID] = said
		case c.Op == store.PutProgress && r.Room.ID == c.Progress.Room:
			r.Room.Done = c.Progress.Done
		case c.Op == store.PutCursor && r.Room.ID == c.Cursor.Room:
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
func (m model) prune(l store.Limits, now time.Time) (n int) {
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
	maps.DeleteFunc(m.seen, func(_ [16]byte, r store.SeenRow) bool {
		return l.SeenAge > 0 && r.At.Before(now.Add(-l.SeenAge))
	})
	return n
}

func (m model) copy() model {
	c := model{rooms: make(map[store.Name]*store.RoomState), said: maps.Clone(m.said), seen: maps.Clone(m.seen)}
	for name, r := range m.rooms {
		c.rooms[name] = &store.RoomState{Room: r.Room, Members: slices.Clone(r.Members)}
	}
	return c
}

func (m model) byURI() map[string]store.RoomState {
	rooms := make(map[string]store.RoomState)
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

func indexOf(r *store.RoomState, user store.Name) int {
	return slices.IndexFunc(r.Members, func(m store.MemberRow) bool { return m.User == user })
}
