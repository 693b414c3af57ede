package daemon

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"time"

	"imcd/cmd/imcd/internal/rpc"
	"imcd/evapi/jsonrpc"
)

// An answer about all rooms is made of those of all imcd that have some. While a shard is on its way, none of them has
// it for a moment: so each says for which shards it answers, and the question is asked again until all are there.

// partsPause is the time between two tries; shards take longer than that to load only if the database is slow.
const partsPause = 100 * time.Millisecond

// errMoving is the answer if they do not come in time.
var errMoving = &jsonrpc.Error{Code: codeSpare, Message: "rooms are on their way between two imcd, try again"}

// part is the answer of one imcd.
type part struct {
	Shards []int64         `json:"shards"` // that it had all the time
	Result json.RawMessage `json:"result"`
}

// partMethod answers other imcd with what a method of all says about the rooms here.
func (d *Daemon) partMethod(all map[string]jsonrpc.Method) jsonrpc.Method {
	return func(ctx context.Context, params json.RawMessage) (any, error) {
		var q struct {
			Method string          `json:"method"`
			Params json.RawMessage `json:"params"`
		}
		if err := json.Unmarshal(params, &q); err != nil || all[q.Method] == nil {
			return nil, &jsonrpc.Error{Code: jsonrpc.CodeInvalidParams, Message: "there is no such question to all imcd"}
		}
		return d.partOf(ctx, all[q.Method], q.Params)
	}
}

func (d *Daemon) partOf(ctx context.Context, method jsonrpc.Method, params json.RawMessage) (p part, err error) {
	p.Shards = d.rooms.Loaded()
	result, err := method(ctx, params)
	if err != nil {
		return p, err
	}
	after := d.rooms.Loaded()
	p.Shards = slices.DeleteFunc(p.Shards, func(s int64) bool { return !slices.Contains(after, s) })
	p.Result, err = json.Marshal(result)
	return p, err
}

// askAll asks all imcd that have rooms, this one by method if it has some, until all shards have answered. The first
// error counts.
func (d *Daemon) askAll(
	ctx context.Context, name string, params json.RawMessage, method jsonrpc.Method,
) ([]json.RawMessage, error) {
	question, err := json.Marshal(map[string]any{"method": name, "params": params})
	if err != nil {
		return nil, err
	}
	for {
		parts, err := d.askOnce(ctx, d.store.Owners(), func(ctx context.Context, owner int64) (part, error) {
			if owner == d.store.EngineID() {
				return d.partOf(ctx, method, params)
			}
			raw, err := d.calls.Ask(ctx, owner, rpc.PartMethod, question)
			if err != nil {
				return part{}, err
			}
			answers, err := rpc.Parts[part]([]json.RawMessage{raw})
			if err != nil {
				return part{}, err
			}
			return answers[0], nil
		})
		if err != nil {
			return nil, err
		}
		var results []json.RawMessage
		var shards []int64
		for _, p := range parts {
			results, shards = append(results, p.Result), append(shards, p.Shards...)
		}
		slices.Sort(shards)
		if _, all := d.store.Owned(); len(slices.Compact(shards)) >= all {
			return results, nil
		}
		select {
		case <-ctx.Done():
			return nil, errMoving
		case <-time.After(partsPause):
		}
	}
}

// askOnce asks each of the owners by ask. The first error counts.
func (d *Daemon) askOnce(
	ctx context.Context, owners []int64, ask func(ctx context.Context, owner int64) (part, error),
) ([]part, error) {
	if len(owners) == 0 || slices.Contains(owners, d.store.EngineID()) && !d.serving.Load() {
		return nil, errNobody
	}
	parts, errs := make([]part, len(owners)), make([]error, len(owners))
	var asking sync.WaitGroup
	for i, owner := range owners {
		asking.Go(func() { parts[i], errs[i] = ask(ctx, owner) })
	}
	asking.Wait()
	for i, err := range errs {
		if err != nil {
			return nil, fmt.Errorf("imcd %d: %w", owners[i], err)
		}
	}
	return parts, nil
}
