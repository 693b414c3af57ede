package engine

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
)

// RoomDetail is everything about a room (RPC imc.room_info).
type RoomDetail struct {
	Room      string         `json:"room"` // SIP URI
	Title     string         `json:"title,omitempty"`
	Topic     string         `json:"topic,omitempty"`
	Private   bool           `json:"private"`
	Sequence  uint64         `json:"sequence"`  // number of the last message
	Following int            `json:"following"` // members that keep up
	ReadBy    int            `json:"read_by"`   // members to whom the last message was displayed, as their receipts say
	ReadOf    int            `json:"read_of"`   // members that it went to
	Members   []MemberDetail `json:"members"`   // oldest first
}

// MemberDetail is one member's place in a room.
type MemberDetail struct {
	User       string     `json:"user"`                  // SIP URI
	Role       string     `json:"role"`                  // owner, admin, member or invited
	Lag        uint64     `json:"lag"`                   // messages that have not reached it
	Cursor     uint64     `json:"cursor"`                // number of the last message that it is owed no more
	Delivered  *uint64    `json:"delivered,omitempty"`   // of the last one that its phone took; nil: cursor
	Displayed  uint64     `json:"displayed"`             // of the last one that was displayed, by its receipts; 0: none
	State      string     `json:"state"`                 // in words, with the times of imcd's host
	StateCode  string     `json:"state_code"`            // one of the States
	Since      *time.Time `json:"since,omitempty"`       // when the first copy in a row failed
	Tries      int        `json:"tries,omitempty"`       // copies that have failed in a row
	NextTry    *time.Time `json:"next_try,omitempty"`    // when the next one goes, unless something happens before
	Lost       *LossInfo  `json:"lost,omitempty"`        // messages that it never gets; nil: none since imcd was started
	LastResult int        `json:"last_result,omitempty"` // SIP status code of the last copy
	LastReason string     `json:"last_reason,omitempty"` // what LastResult means, see Reason
	LastAt     *time.Time `json:"last_at,omitempty"`

	// DevicesOwed is how many registered devices are owed what others of the user have got, in whichever room.
	DevicesOwed int `json:"devices_owed,omitempty"`
}

// PendingRoom counts the messages of a room that wait for a user (RPC imc.pending).
type PendingRoom struct {
	Room  string `json:"room"`
	Lag   uint64 `json:"lag"`
	State string `json:"state"` // as in MemberDetail

	StateCode string `json:"state_code"`
}

// RoomState returns everything about one room: ErrBadName, ErrNoRoom.
func (e *Engine) RoomState(ctx context.Context, uri string) (RoomDetail, error) {
	now := time.Now()
	return ask(ctx, e, uri, func(r *room) RoomDetail {
		d := RoomDetail{Room: r.name.URI(), Title: r.title(), Topic: r.settings.topicText(),
			Private: r.private, Sequence: r.last, Following: r.followers,
			Members: []MemberDetail{}}
		if r.last > 0 {
			d.ReadBy, d.ReadOf = len(r.readers(r.last, r.author)), len(r.audience(r.last, r.author))
		}
		for _, m := range r.order {
			of := r.detail(m, now)
			of.DevicesOwed = e.devices.owed(m.key, now)
			d.Members = append(d.Members, of)
		}
		return d
	})
}

func (r *room) detail(m *member, now time.Time) MemberDetail {
	d := MemberDetail{User: m.uri, Role: roleName(m.flag), LastResult: m.last.code(),
		LastReason: Reason(m.last.code())}
	if m.invited() {
		d.Role = "invited"
		d.State, d.StateCode = m.invitation()
		return d
	}
	d.State, d.StateCode = m.state(now), m.stateCode()
	if w := m.wait; w != nil && w.tries > 0 {
		since, due := w.since, w.due
		d.Since, d.Tries = &since, w.tries
		if w.index >= 0 && due.After(now) {
			d.NextTry = &due
		}
	}
	d.Lost = r.losses[m.key].info()
	d.Lag, d.Cursor, d.Displayed = r.lag(m), min(m.cursor, r.last), r.places[m].displayed
	if delivered := min(r.deliveredTo(m), r.last); delivered != d.Cursor {
		d.Delivered = &delivered
	}
	if m.last.code() != 0 {
		at := m.last.at()
		d.LastAt = &at
	}
	return d
}

// Pending lists the rooms that owe something to a user: ErrBadName.
func (e *Engine) Pending(ctx context.Context, user string) ([]PendingRoom, error) {
	name, err := ParseName(user, "")
	if err != nil {
		return nil, fmt.Errorf("%w %q: %w", ErrBadName, clip(user), err)
	}
	key, now := name.Key(), time.Now()
	rooms, err := gather(ctx, e, func(s *shard) []PendingRoom {
		var owed []PendingRoom
		for _, r := range s.rooms {
			if m := r.get(key); m != nil && !m.invited() && r.lag(m) > 0 {
				owed = append(owed, PendingRoom{Room: r.name.URI(), Lag: r.lag(m), State: m.state(now), StateCode: m.stateCode()})
			}
		}
		return owed
	})
	slices.SortFunc(rooms, func(a, b PendingRoom) int { return strings.Compare(a.Room, b.Room) })
	return rooms, err
}
