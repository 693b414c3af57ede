package rpc

import (
	"context"
	"encoding/json"
	"errors"

	"imcd/engine/store"
	"imcd/evapi/jsonrpc"
	"imcd/schema"
)

// Fleet knows the imcd that share a database; *schema.Store is one.
type Fleet interface {
	Fleet(ctx context.Context) (schema.FleetView, error)
}

// FleetMethod is imc.fleet, which has no parameters.
func FleetMethod(f Fleet) jsonrpc.Method {
	m := method{run: func(ctx context.Context, _ values) (any, error) {
		view, err := f.Fleet(ctx)
		if errors.Is(err, store.ErrUnavailable) {
			return nil, &jsonrpc.Error{Code: codeBusy, Message: "the database is away"}
		}
		return view, err
	}}
	return func(ctx context.Context, raw json.RawMessage) (any, error) { return m.bounded(ctx, raw) }
}

// MoveMethod is imc.move, with a shard and the engine to which move gives it.
func MoveMethod(move func(ctx context.Context, shard, to int64) error) jsonrpc.Method {
	m := method{params: []param{number("shard"), number("engine")}, run: func(ctx context.Context, v values) (any, error) {
		err := move(ctx, int64(v.number("shard")), int64(v.number("engine")))
		switch {
		case errors.Is(err, schema.ErrNoMove):
			return nil, &jsonrpc.Error{Code: codeRefused, Message: err.Error()}
		case errors.Is(err, store.ErrUnavailable):
			return nil, &jsonrpc.Error{Code: codeBusy, Message: err.Error()}
		}
		return struct{}{}, err
	}}
	return func(ctx context.Context, raw json.RawMessage) (any, error) { return m.bounded(ctx, raw) }
}

// DrainMethod is imc.drain, which has no parameters: drain begins to give the rooms away. So is imc.undrain.
func DrainMethod(drain func(ctx context.Context) error) jsonrpc.Method {
	m := method{run: func(ctx context.Context, _ values) (any, error) { return struct{}{}, drain(ctx) }}
	return func(ctx context.Context, raw json.RawMessage) (any, error) { return m.bounded(ctx, raw) }
}
