package rpc

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"imcd/engine"
	"imcd/evapi/jsonrpc"
)

// Several imcd of a fleet have rooms. What is about one room, the one that has it answers; what is about all, each
// answers for its own, and one joins the answers.

// RoomOf returns the room that a call of one of Methods is about; empty: it is about all of them, or none, or what it
// says cannot be read.
func RoomOf(name string, raw json.RawMessage) (room string) {
	for _, all := range []map[string]method{queryMethods(nil), actionMethods(nil)} {
		m, ok := all[name]
		if !ok || !slices.ContainsFunc(m.params, func(p param) bool { return p.name == "room" }) {
			continue
		}
		if v, err := read(raw, m.params); err == nil {
			room = v.text("room")
		}
	}
	return room
}

// What other imcd of a fleet ask.
const (
	VisibleMethod = "imc.visible_rooms" // to answer #rooms: which rooms here a user may know
	OwnedMethod   = "imc.owned_rooms"   // for max_rooms_per_user: how many rooms here a user owns
	PartMethod    = "imc.part"          // what another method answers, and for which shards
)

// BetweenMethods are for other imcd of a fleet only.
func BetweenMethods(rooms interface {
	Visible(ctx context.Context, user string) ([]engine.ShownRoom, error)
	OwnedRooms(user string) (int, error)
}) map[string]jsonrpc.Method {
	m := method{params: []param{text("user")}, run: func(ctx context.Context, v values) (any, error) {
		return rooms.Visible(ctx, v.text("user"))
	}}
	owned := method{params: []param{text("user")}, run: func(_ context.Context, v values) (any, error) {
		return rooms.OwnedRooms(v.text("user"))
	}}
	return map[string]jsonrpc.Method{VisibleMethod: m.bounded, OwnedMethod: owned.bounded}
}

// Join makes one answer of those of several imcd to the same call. At least one is given.
type Join func(params json.RawMessage, parts []json.RawMessage) (any, error)

// Joins are those of Methods that are about all rooms.
func Joins() map[string]Join {
	return map[string]Join{
		"imc.list_rooms":     listed(func(r engine.RoomInfo) string { return r.Room }),
		"imc.room_summaries": listed(func(r engine.RoomSummary) string { return r.Room }),
		"imc.pending":        listed(func(r engine.PendingRoom) string { return r.Room }),
		"imc.user_rooms":     listed(func(r engine.UserRoom) string { return r.Room }),
		"imc.devices":        joinDevices,
		"imc.find_rooms":     joinFound,
		"imc.stats":          joinStats,
		"imc.say":            joinSaid,
	}
}

// Parts reads the answers of several imcd.
func Parts[T any](parts []json.RawMessage) ([]T, error) {
	all := make([]T, len(parts))
	for i, raw := range parts {
		if err := json.Unmarshal(raw, &all[i]); err != nil {
			return nil, fmt.Errorf("the answer of another imcd: %w", err)
		}
	}
	return all, nil
}

// listed joins lists, ordered by room. A room that moves at this moment may be in two of them.
func listed[T any](room func(T) string) Join {
	return func(_ json.RawMessage, parts []json.RawMessage) (any, error) {
		lists, err := Parts[[]T](parts)
		if err != nil {
			return nil, err
		}
		all := slices.Concat(lists...)
		if all == nil {
			all = []T{}
		}
		slices.SortStableFunc(all, func(a, b T) int { return strings.Compare(room(a), room(b)) })
		return slices.CompactFunc(all, func(a, b T) bool { return room(a) == room(b) }), nil
	}
}

func joinFound(params json.RawMessage, parts []json.RawMessage) (any, error) {
	lists, err := Parts[[]string](parts)
	if err != nil {
		return nil, err
	}
	v, err := read(params, []param{text("name")})
	if err != nil {
		return nil, err
	}
	return engine.BestFound(v.text("name"), slices.Concat(lists...)), nil
}

func joinDevices(_ json.RawMessage, parts []json.RawMessage) (any, error) {
	lists, err := Parts[[]engine.UserDevice](parts)
	if err != nil {
		return nil, err
	}
	return engine.JoinDevices(lists...), nil
}

func joinStats(_ json.RawMessage, parts []json.RawMessage) (any, error) {
	all, err := Parts[engine.Stats](parts)
	if err != nil {
		return nil, err
	}
	return engine.SumStats(all), nil
}

// said is the result of an announcement to all rooms.
type said struct {
	Rooms int `json:"rooms"`
}

func joinSaid(_ json.RawMessage, parts []json.RawMessage) (any, error) {
	all, err := Parts[said](parts)
	if err != nil {
		return nil, err
	}
	var sum said
	for _, s := range all {
		sum.Rooms += s.Rooms
	}
	return sum, nil
}
