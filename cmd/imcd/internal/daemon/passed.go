package daemon

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"sync"

	"imcd/cmd/imcd/internal/live"
	"imcd/cmd/imcd/internal/rpc"
	"imcd/engine"
	"imcd/engine/store"
	"imcd/evapi/jsonrpc"
)

// Operators may ask any imcd of a fleet: those that have the rooms answer.

// codeSpare is the error code of a spare's answers.
const codeSpare = -32000

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
			parts, err := d.askAll(ctx, owners, name, params, method)
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

// askAll lets each of the owners answer. The first error counts.
func (d *Daemon) askAll(
	ctx context.Context, owners []int64, name string, params json.RawMessage, method jsonrpc.Method,
) ([]json.RawMessage, error) {
	if len(owners) == 0 {
		return nil, errNobody
	}
	parts, errs := make([]json.RawMessage, len(owners)), make([]error, len(owners))
	var asking sync.WaitGroup
	for i, owner := range owners {
		asking.Go(func() {
			if owner != d.store.EngineID() {
				parts[i], errs[i] = d.calls.Ask(ctx, owner, name, params)
				return
			}
			if !d.serving.Load() {
				errs[i] = errNobody
				return
			}
			result, err := method(ctx, params)
			if err == nil {
				parts[i], err = json.Marshal(result)
			}
			errs[i] = err
		})
	}
	asking.Wait()
	for i, err := range errs {
		if err != nil {
			return nil, fmt.Errorf("imcd %d: %w", owners[i], err)
		}
	}
	return parts, nil
}

// others are the other imcd of the fleet. It implements engine.Others.
type others struct{ d *Daemon }

// Visible implements engine.Others.
func (o others) Visible(ctx context.Context, user string) ([]engine.ShownRoom, error) {
	lists, err := askOthers[[]engine.ShownRoom](ctx, o.d, rpc.VisibleMethod, user)
	return slices.Concat(lists...), err
}

// OwnedRooms implements engine.Others.
func (o others) OwnedRooms(ctx context.Context, user string) (sum int, err error) {
	counts, err := askOthers[int](ctx, o.d, rpc.OwnedMethod, user)
	for _, n := range counts {
		sum += n
	}
	return sum, err
}

// askOthers asks all other imcd that have rooms about a user.
func askOthers[T any](ctx context.Context, d *Daemon, method, user string) ([]T, error) {
	params, err := json.Marshal([]string{user})
	if err != nil {
		return nil, err
	}
	owners := slices.DeleteFunc(d.store.Owners(), func(engine int64) bool { return engine == d.store.EngineID() })
	if len(owners) == 0 {
		return nil, nil
	}
	parts, err := d.askAll(ctx, owners, method, params, nil)
	if err != nil {
		return nil, err
	}
	return rpc.Parts[T](parts)
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
