// Package rpc answers operators' questions about rooms and carries out what they
// ask for: the methods, and two of the doors through which they come (imcd's own
// port, and Kamailio's evapi).
package rpc

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"time"

	"imcd/engine"
	"imcd/evapi/jsonrpc"
)

// Error codes of the methods, beside those of JSON-RPC.
const (
	codeRefused     = -32003 // not allowed, or not possible as things are
	codeUnknownRoom = -32004 // a room that does not exist
	codeUnknownUser = -32005 // a user who is not in the room
)

// queryTimeout bounds how long an answer may take: a worker is then busy
// elsewhere, and the caller can ask again.
const queryTimeout = 5 * time.Second

// Rooms are those that the methods read and change; *engine.Engine is one.
type Rooms interface {
	Actions
	Rooms(ctx context.Context) ([]engine.RoomInfo, error)
	Overview(ctx context.Context) ([]engine.RoomSummary, error)
	Members(ctx context.Context, room string) (engine.MemberList, error)
	RoomActive(ctx context.Context, room string) (bool, error)
	RoomMember(ctx context.Context, room, user string) (bool, error)
	Stats(ctx context.Context) (engine.Stats, error)
	RoomState(ctx context.Context, room string) (engine.RoomDetail, error)
	RoomSettings(ctx context.Context, room string) ([]engine.SettingInfo, error)
	Acts(ctx context.Context, room string, n int) ([]engine.ActInfo, error)
	UserActs(ctx context.Context, user string, n int) ([]engine.ActInfo, error)
	Pending(ctx context.Context, user string) ([]engine.PendingRoom, error)
	FindRooms(ctx context.Context, name string) ([]string, error)
	UserRooms(ctx context.Context, user string) ([]engine.UserRoom, error)
	UserDevices(ctx context.Context, user, room string) ([]engine.UserDevice, error)
}

// method is one row of the table: its parameters and its function.
type method struct {
	params  []param
	timeout time.Duration // 0: queryTimeout
	run     func(ctx context.Context, v values) (any, error)
}

// Methods are those of operators.
func Methods(rooms Rooms) map[string]jsonrpc.Method {
	all := queryMethods(rooms)
	maps.Copy(all, actionMethods(rooms))
	table := make(map[string]jsonrpc.Method, len(all))
	for name, m := range all {
		table[name] = m.bounded
	}
	return table
}

func queryMethods(rooms Rooms) map[string]method {
	return map[string]method{
		"imc.list_rooms":     {run: func(ctx context.Context, _ values) (any, error) { return rooms.Rooms(ctx) }},
		"imc.room_summaries": {run: func(ctx context.Context, _ values) (any, error) { return rooms.Overview(ctx) }},
		"imc.list_members": {params: []param{text("room")},
			run: func(ctx context.Context, v values) (any, error) { return rooms.Members(ctx, v.text("room")) }},
		"imc.room_active": {params: []param{text("room")},
			run: func(ctx context.Context, v values) (any, error) { return rooms.RoomActive(ctx, v.text("room")) }},
		"imc.room_member": {params: []param{text("room"), text("user")},
			run: func(ctx context.Context, v values) (any, error) {
				return rooms.RoomMember(ctx, v.text("room"), v.text("user"))
			}},
		"imc.room_info": {params: []param{text("room")},
			run: func(ctx context.Context, v values) (any, error) { return rooms.RoomState(ctx, v.text("room")) }},
		"imc.room_settings": {params: []param{text("room")},
			run: func(ctx context.Context, v values) (any, error) { return rooms.RoomSettings(ctx, v.text("room")) }},
		"imc.acts": {params: []param{text("room"), optional(number("n"))},
			run: func(ctx context.Context, v values) (any, error) {
				return rooms.Acts(ctx, v.text("room"), v.number("n"))
			}},
		"imc.pending": {params: []param{text("user")},
			run: func(ctx context.Context, v values) (any, error) { return rooms.Pending(ctx, v.text("user")) }},
		"imc.user_rooms": {params: []param{text("user")},
			run: func(ctx context.Context, v values) (any, error) { return rooms.UserRooms(ctx, v.text("user")) }},
		"imc.user_acts": {params: []param{text("user"), optional(number("n"))},
			run: func(ctx context.Context, v values) (any, error) {
				return rooms.UserActs(ctx, v.text("user"), v.number("n"))
			}},
		"imc.devices": {params: []param{text("user"), optional(text("room"))},
			run: func(ctx context.Context, v values) (any, error) {
				return rooms.UserDevices(ctx, v.text("user"), v.text("room"))
			}},
		"imc.find_rooms": {params: []param{text("name")},
			run: func(ctx context.Context, v values) (any, error) { return rooms.FindRooms(ctx, v.text("name")) }},
		"imc.stats": {run: func(ctx context.Context, _ values) (any, error) { return rooms.Stats(ctx) }},
	}
}

// bounded reads m's parameters, gives it a deadline and its errors their codes.
func (m method) bounded(ctx context.Context, raw json.RawMessage) (any, error) {
	v, err := read(raw, m.params)
	if err != nil {
		return nil, err
	}
	timeout := m.timeout
	if timeout == 0 {
		timeout = queryTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	result, err := m.run(ctx, v)
	if err != nil {
		return nil, coded(err)
	}
	return result, nil
}

// coded makes an error that the caller gets to see. Other errors
// stay as they are and are shown as an internal error.
func coded(err error) error {
	refused := new(engine.Refused)
	code := 0
	switch {
	case errors.Is(err, engine.ErrNoRoom):
		code = codeUnknownRoom
	case errors.Is(err, engine.ErrNoUser):
		code = codeUnknownUser
	case errors.Is(err, engine.ErrBadName):
		code = jsonrpc.CodeInvalidParams
	case errors.Is(err, engine.ErrElsewhere):
		code = codeBusy
	case errors.As(err, &refused):
		code = refusedCode(refused.Code)
	case errors.Is(err, context.DeadlineExceeded):
		return &jsonrpc.Error{Code: codeBusy, Message: "no answer in time, try again"}
	default:
		return err
	}
	return &jsonrpc.Error{Code: code, Message: err.Error()}
}
