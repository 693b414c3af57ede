package rpc

import (
	"context"
	"time"

	"imcd/engine"
	"imcd/evapi/jsonrpc"
)

// allTimeout bounds an announcement to all rooms, which takes a commit for every
// few dozen of them. HTTP answers are cut off at 30 s.
const allTimeout = 25 * time.Second

// Actions are those of operators; *engine.Engine has them.
type Actions interface {
	CreateRoom(ctx context.Context, room string, private bool, owner string) error
	DestroyRoom(ctx context.Context, room string) error
	AddMember(ctx context.Context, room, user, role string) error
	RemoveMember(ctx context.Context, room, user string) error
	SetRole(ctx context.Context, room, user, role string) error
	Moderate(ctx context.Context, room, act, user, term, why string) error
	SetRoom(ctx context.Context, room, name, value string) error
	Say(ctx context.Context, room, text, from string) error
	SayAll(ctx context.Context, text string) (int, error)
	SkipMessage(ctx context.Context, room, user string) (uint64, error)
	DeleteMessage(ctx context.Context, room string, seq int) error
	History(ctx context.Context, room string, n int) ([]engine.HistoryItem, error)
}

// acted is the result of an action: the room that it was about.
type acted struct {
	Room string `json:"room"` // SIP URI
}

// skipped is the result of imc.skip.
type skipped struct {
	acted
	Seq uint64 `json:"seq"` // number of the message
}

// actionMethods are the methods that change rooms or read their messages.
func actionMethods(a Actions) map[string]method {
	return map[string]method{
		"imc.create_room": one([]param{text("room"), optional(flag("private")), optional(text("owner"))},
			func(ctx context.Context, v values) error {
				return a.CreateRoom(ctx, v.text("room"), v.flag("private"), v.text("owner"))
			}),
		"imc.destroy_room": one([]param{text("room")},
			func(ctx context.Context, v values) error { return a.DestroyRoom(ctx, v.text("room")) }),
		"imc.add_member": one([]param{text("room"), text("user"), optional(text("role"))},
			func(ctx context.Context, v values) error {
				return a.AddMember(ctx, v.text("room"), v.text("user"), v.text("role"))
			}),
		"imc.remove_member": one([]param{text("room"), text("user")},
			func(ctx context.Context, v values) error { return a.RemoveMember(ctx, v.text("room"), v.text("user")) }),
		"imc.set_role": one([]param{text("room"), text("user"), text("role")},
			func(ctx context.Context, v values) error {
				return a.SetRole(ctx, v.text("room"), v.text("user"), v.text("role"))
			}),
		"imc.room_set": one([]param{text("room"), text("name"), text("value")},
			func(ctx context.Context, v values) error {
				return a.SetRoom(ctx, v.text("room"), v.text("name"), v.text("value"))
			}),
		"imc.moderate": one([]param{text("room"), text("act"), text("user"), optional(text("for")), optional(text("why"))},
			func(ctx context.Context, v values) error {
				return a.Moderate(ctx, v.text("room"), v.text("act"), v.text("user"), v.text("for"), v.text("why"))
			}),
		"imc.delete_message": one([]param{text("room"), number("seq")},
			func(ctx context.Context, v values) error {
				return a.DeleteMessage(ctx, v.text("room"), v.number("seq"))
			}),
		"imc.skip": {params: []param{text("room"), text("user")},
			run: func(ctx context.Context, v values) (any, error) {
				seq, err := a.SkipMessage(ctx, v.text("room"), v.text("user"))
				return skipped{acted{Room: fullName(v.text("room"))}, seq}, err
			}},
		"imc.say": {params: []param{optional(text("room")), text("text"), optional(text("from")), optional(flag("all"))},
			timeout: allTimeout, run: func(ctx context.Context, v values) (any, error) { return say(ctx, a, v) }},
		"imc.history": {params: []param{text("room"), optional(number("n"))},
			run: func(ctx context.Context, v values) (any, error) {
				return a.History(ctx, v.text("room"), v.number("n"))
			}},
	}
}

// one makes the method of an action on one room.
func one(params []param, do func(ctx context.Context, v values) error) method {
	return method{params: params, run: func(ctx context.Context, v values) (any, error) {
		if err := do(ctx, v); err != nil {
			return nil, err
		}
		return acted{Room: fullName(v.text("room"))}, nil
	}}
}

// fullName is how a room's name is shown.
func fullName(room string) string {
	if n, err := engine.ParseName(room, ""); err == nil {
		return n.URI()
	}
	return room
}

func say(ctx context.Context, a Actions, v values) (any, error) {
	room, from := v.text("room"), v.text("from")
	switch {
	case v.flag("all") && (room != "" || from != ""):
		return nil, invalid("all excludes room and from")
	case v.flag("all"):
		n, err := a.SayAll(ctx, v.text("text"))
		if err != nil {
			return nil, err
		}
		return said{n}, nil
	case room == "":
		return nil, invalid("no room given; either room or all must be")
	}
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	if err := a.Say(ctx, room, v.text("text"), from); err != nil {
		return nil, err
	}
	return acted{Room: fullName(room)}, nil
}

// refusedCode is the error code of a refusal, by SIP status.
func refusedCode(sip int) int {
	switch sip {
	case 400, 413:
		return jsonrpc.CodeInvalidParams
	case 503:
		return codeBusy
	}
	return codeRefused
}
