package engine

import "context"

// RoomSummary is one room in an overview (RPC imc.overview).
type RoomSummary struct {
	Room     string `json:"room"` // SIP URI
	Private  bool   `json:"private"`
	Members  int    `json:"members"` // invited ones left out
	Invited  int    `json:"invited"`
	Owner    string `json:"owner"`    // SIP URI of the oldest owner; empty if none
	Sequence uint64 `json:"sequence"` // number of the last message
	Backlog  uint64 `json:"backlog"`  // messages that have not reached members, each counted once per member
	Away     int    `json:"away"`     // members that are offline or tried again later
}

// Overview sums up every room, in no order.
func (e *Engine) Overview(ctx context.Context) ([]RoomSummary, error) {
	return gather(ctx, e, func(s *shard) []RoomSummary {
		rooms := make([]RoomSummary, 0, len(s.rooms))
		for _, r := range s.rooms {
			rooms = append(rooms, r.summary())
		}
		return rooms
	})
}

func (r *room) summary() RoomSummary {
	sum := RoomSummary{Room: r.name.URI(), Private: r.private, Sequence: r.last}
	for _, m := range r.order {
		if m.invited() {
			sum.Invited++
			continue
		}
		sum.Members++
		sum.Backlog += r.lag(m)
		if m.wait != nil {
			sum.Away++
		}
		if sum.Owner == "" && m.owner() {
			sum.Owner = m.uri
		}
	}
	return sum
}
