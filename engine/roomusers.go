package engine

import (
	"context"
	"fmt"
)

// RoomUsers is a room with those who are in it, for a copy of all that is kept elsewhere. Names are Keys (store.Name).
type RoomUsers struct {
	Room  string
	ID    int64 // of this incarnation of the room, as Event.RoomID; never 0
	Users []string
}

// RoomParts is the number of parts in which RoomUsers has the rooms.
func (e *Engine) RoomParts() int { return len(e.shards) }

// RoomUsers lists, in no order, the rooms of one part, from 0 on, and who is in them, as they are stored: what is being
// stored comes as an event after that, to a Listener that listens for these kinds before AwaitStored.
func (e *Engine) RoomUsers(ctx context.Context, part int) ([]RoomUsers, error) {
	s := e.shards[part]
	answer := make(chan []RoomUsers, 1)
	s.inbox.post(func() {
		all := make([]RoomUsers, 0, len(s.rooms)+len(s.stale))
		for _, rooms := range []map[string]*room{s.rooms, s.stale} {
			for key, r := range rooms {
				in := r.storedUsers()
				if len(in.Users) > 0 || r.committing == 0 && s.rooms[key] == r { // else it may be about to be created
					all = append(all, in)
				}
			}
		}
		answer <- all
	})
	select {
	case all := <-answer:
		return all, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("asking for rooms: %w", ctx.Err())
	}
}

// storedUsers leaves out whose joining is being stored.
func (r *room) storedUsers() RoomUsers {
	in := RoomUsers{Room: r.key, ID: r.id, Users: make([]string, 0, len(r.order))}
	for _, m := range r.order {
		if m.live {
			in.Users = append(in.Users, m.key)
		}
	}
	return in
}
