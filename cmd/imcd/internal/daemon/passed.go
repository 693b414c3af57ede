package daemon

import (
	"context"
	"encoding/json"
	"maps"
	"slices"
	"time"

	"imcd/cmd/imcd/internal/live"
	"imcd/cmd/imcd/internal/rpc"
	"imcd/engine"
	"imcd/engine/store"
	"imcd/evapi/jsonrpc"
)

// Operators may ask any imcd of a fleet: those that have the rooms answer.

// codeSpare is the error code of a spare's answers.
const codeSpare = -32000

// sayMethod is the only one of all rooms that changes anything.
const sayMethod = "imc.say"

// How long an answer of several imcd may take. An announcement to all rooms takes commits for all of them.
const (
	askTimeout   = 5 * time.Second
	shoutTimeout = 26 * time.Second
)

// errNobody is the answer of an imcd that cannot pass a request on.
var errNobody = &jsonrpc.Error{Code: codeSpare, Message: "no imcd has the rooms now"}

// passedOn lets those imcd answer that have the rooms.
func (d *Daemon) passedOn(all map[string]jsonrpc.Method) map[string]jsonrpc.Method {
	joins := rpc.Joins()
	maps.Copy(joins, live.Joins())
	passed := make(map[string]jsonrpc.Method, len(all))
	for name, method := range all {
		passed[name] = func(ctx context.Context, params json.RawMessage) (any, error) {
			owners, join := d.store.Owners(), joins[name]
			if room, err := engine.ParseName(rpc.RoomOf(name, params), ""); err == nil {
				owners, join = []int64{d.store.Owner(store.Hash(room.Key()))}, nil
			}
			if join == nil || len(owners) == 1 {
				return d.askFirst(ctx, owners, name, params, method)
			}
			ask, limit := d.askAll, askTimeout
			if name == sayMethod {
				ask, limit = d.sayToAll, shoutTimeout // to repeat it would be heard
			}
			ctx, cancel := context.WithTimeout(ctx, limit)
			defer cancel()
			parts, err := ask(ctx, name, params, method)
			if err != nil {
				return nil, err
			}
			return join(params, parts)
		}
	}
	return passed
}

// askFirst lets this imcd answer if it is one of the owners, else the first of them. An imcd that serves answers as
// well if nothing is known of owners.
func (d *Daemon) askFirst(
	ctx context.Context, owners []int64, name string, params json.RawMessage, method jsonrpc.Method,
) (any, error) {
	first := int64(0)
	for i := len(owners) - 1; i >= 0; i-- {
		if owners[i] == d.store.EngineID() && d.serving.Load() {
			return method(ctx, params)
		}
		first = owners[i]
	}
	switch {
	case first == 0 && d.serving.Load():
		return method(ctx, params)
	case first == 0 || first == d.store.EngineID():
		return nil, errNobody
	}
	return d.calls.Ask(ctx, first, name, params)
}

// sayToAll lets each imcd that has rooms do something, once.
func (d *Daemon) sayToAll(
	ctx context.Context, name string, params json.RawMessage, method jsonrpc.Method,
) (results []json.RawMessage, err error) {
	parts, err := d.askOnce(ctx, d.store.Owners(), func(ctx context.Context, owner int64) (p part, err error) {
		if owner == d.store.EngineID() {
			return d.partOf(ctx, method, params)
		}
		p.Result, err = d.calls.Ask(ctx, owner, name, params)
		return p, err
	})
	for _, p := range parts {
		results = append(results, p.Result)
	}
	return results, err
}

// others are the other imcd of the fleet. It implements engine.Others.
type others struct{ d *Daemon }

// Visible implements engine.Others.
func (o others) Visible(ctx context.Context, user string) ([]engine.ShownRoom, error) {
	params, err := json.Marshal([]string{user})
	if err != nil {
		return nil, err
	}
	parts, err := o.d.askAll(ctx, rpc.VisibleMethod, params, rpc.BetweenMethods(o.d.rooms)[rpc.VisibleMethod])
	if err != nil {
		return nil, err
	}
	lists, err := rpc.Parts[[]engine.ShownRoom](parts)
	return slices.Concat(lists...), err
}

// OwnedRooms implements engine.Others.
func (o others) OwnedRooms(ctx context.Context, user string) (sum int, err error) {
	params, err := json.Marshal([]string{user})
	if err != nil {
		return 0, err
	}
	owners := slices.DeleteFunc(o.d.store.Owners(), func(engine int64) bool { return engine == o.d.store.EngineID() })
	if len(owners) == 0 {
		return 0, nil
	}
	parts, err := o.d.askOnce(ctx, owners, func(ctx context.Context, owner int64) (p part, err error) {
		p.Result, err = o.d.calls.Ask(ctx, owner, rpc.OwnedMethod, params)
		return p, err
	})
	for _, p := range parts {
		counts, err := rpc.Parts[int]([]json.RawMessage{p.Result})
		if err != nil {
			return 0, err
		}
		sum += counts[0]
	}
	return sum, err
}

// served lets methods answer only while this imcd has rooms.
func (d *Daemon) served(all map[string]jsonrpc.Method) map[string]jsonrpc.Method {
	guarded := make(map[string]jsonrpc.Method, len(all))
	for name, method := range all {
		guarded[name] = func(ctx context.Context, params json.RawMessage) (any, error) {
			if !d.serving.Load() {
				return nil, &jsonrpc.Error{Code: codeSpare, Message: "another imcd has the rooms, this one is a spare"}
			}
			return method(ctx, params)
		}
	}
	return guarded
}
