package engine

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
)

// UserRoom is a room of a user, and the place of the user in it (RPC imc.user_rooms).
type UserRoom struct {
	Room string `json:"room"` // SIP URI
	MemberDetail
	Sequence uint64 `json:"sequence"` // number of the room's last message
	Muted    bool   `json:"muted,omitempty"`
}

// UserRooms lists the rooms that a user is in or invited to, by name: ErrBadName.
func (e *Engine) UserRooms(ctx context.Context, user string) ([]UserRoom, error) {
	name, err := ParseName(user, "")
	if err != nil {
		return nil, fmt.Errorf("%w %q: %w", ErrBadName, clip(user), err)
	}
	key, now := name.Key(), time.Now()
	rooms, err := gather(ctx, e, func(s *shard) (found []UserRoom) {
		for _, r := range s.rooms {
			if m := r.get(key); m != nil {
				_, muted := r.rules.muted(m, now)
				found = append(found, UserRoom{Room: r.name.URI(), MemberDetail: r.detail(m, now), Sequence: r.last,
					Muted: muted})
			}
		}
		return found
	})
	slices.SortFunc(rooms, func(a, b UserRoom) int { return strings.Compare(a.Room, b.Room) })
	return rooms, err
}
