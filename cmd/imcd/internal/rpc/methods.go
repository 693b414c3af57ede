// Package rpc answers operators' questions about rooms: the methods, and two of
// the doors through which they come (imcd's own port, and Kamailio's evapi).
package rpc

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"imcd/engine"
	"imcd/evapi"
)

// codeUnknownRoom is the error code for a room that does not exist.
const codeUnknownRoom = -32004

// queryTimeout bounds how long an answer may take: a worker is then busy
// elsewhere, and the caller can ask again.
const queryTimeout = 5 * time.Second

// Rooms is what the methods ask; *engine.Engine is one.
type Rooms interface {
	Rooms(ctx context.Context) ([]engine.RoomInfo, error)
	Members(ctx context.Context, room string) (engine.MemberList, error)
	RoomActive(ctx context.Context, room string) (bool, error)
	RoomMember(ctx context.Context, room, user string) (bool, error)
	Stats(ctx context.Context) (engine.Stats, error)
	RoomState(ctx context.Context, room string) (engine.RoomDetail, error)
	Pending(ctx context.Context, user string) ([]engine.PendingRoom, error)
}

// Methods is the table of what operators can ask.
func Methods(rooms Rooms) map[string]evapi.Method {
	table := map[string]evapi.Method{
		"imc.list_rooms": func(ctx context.Context, p json.RawMessage) (any, error) {
			if _, err := texts(p); err != nil {
				return nil, err
			}
			return rooms.Rooms(ctx)
		},
		"imc.list_members": func(ctx context.Context, p json.RawMessage) (any, error) {
			args, err := texts(p, "room")
			if err != nil {
				return nil, err
			}
			return rooms.Members(ctx, args[0])
		},
		"imc.room_active": func(ctx context.Context, p json.RawMessage) (any, error) {
			args, err := texts(p, "room")
			if err != nil {
				return nil, err
			}
			return rooms.RoomActive(ctx, args[0])
		},
		"imc.room_member": func(ctx context.Context, p json.RawMessage) (any, error) {
			args, err := texts(p, "room", "user")
			if err != nil {
				return nil, err
			}
			return rooms.RoomMember(ctx, args[0], args[1])
		},
		"imc.room_info": func(ctx context.Context, p json.RawMessage) (any, error) {
			args, err := texts(p, "room")
			if err != nil {
				return nil, err
			}
			return rooms.RoomState(ctx, args[0])
		},
		"imc.pending": func(ctx context.Context, p json.RawMessage) (any, error) {
			args, err := texts(p, "user")
			if err != nil {
				return nil, err
			}
			return rooms.Pending(ctx, args[0])
		},
		"imc.stats": func(ctx context.Context, p json.RawMessage) (any, error) {
			if _, err := texts(p); err != nil {
				return nil, err
			}
			return rooms.Stats(ctx)
		},
	}
	for name, m := range table {
		table[name] = bounded(m)
	}
	return table
}

// bounded gives m a deadline and its errors their codes.
func bounded(m evapi.Method) evapi.Method {
	return func(ctx context.Context, p json.RawMessage) (any, error) {
		ctx, cancel := context.WithTimeout(ctx, queryTimeout)
		defer cancel()
		v, err := m(ctx, p)
		if err != nil {
			return nil, coded(err)
		}
		return v, nil
	}
}

// coded makes an error that the caller gets to see. What is not known to be
// meant for them stays as it is and is told as an internal error.
func coded(err error) error {
	switch {
	case errors.Is(err, engine.ErrNoRoom):
		return &evapi.RPCError{Code: codeUnknownRoom, Message: err.Error()}
	case errors.Is(err, engine.ErrBadName):
		return &evapi.RPCError{Code: evapi.CodeInvalidParams, Message: err.Error()}
	case errors.Is(err, context.DeadlineExceeded):
		return &evapi.RPCError{Code: codeBusy, Message: "no answer in time, try again"}
	}
	return err
}
