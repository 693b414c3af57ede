package check

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"imcd/evapi/jsonrpc"
	"imcd/schema"
)

// fleet prints which imcd share the database. It reports whether the imcd that is asked has rooms: a spare
// cannot try the ways of a message.
func (r *run) fleet(ctx context.Context, c *jsonrpc.Client) (serves bool) {
	var f schema.FleetView
	err := call(ctx, c, askWait, "imc.fleet", nil, &f)
	if refused := new(jsonrpc.Error); errors.As(err, &refused) && refused.Code == jsonrpc.CodeMethodNotFound {
		return true // it is older than imcctl
	}
	if err != nil {
		r.say("fleet", Warn, "which imcd share the database is not known: "+err.Error(), "")
		return true
	}
	if f.Engine == 0 {
		return true
	}
	var others, owners []string
	var mine []schema.ShardView
	for _, e := range f.Engines {
		name := fmt.Sprintf("pid %d on host %s", e.PID, e.Host)
		if e.HTTP != "" {
			name += ", http_listen " + e.HTTP
		}
		switch {
		case len(e.Owns) > 0 && e.Engine == f.Engine:
			serves, mine = true, e.Owns
		case len(e.Owns) > 0:
			owners = append(owners, name)
		case e.Engine != f.Engine:
			others = append(others, name)
		}
	}
	switch {
	case f.Unowned > 0:
		r.say("fleet", Fail, fmt.Sprintf("%d of %d parts of the rooms belong to nobody", f.Unowned, f.Shards),
			"An imcd takes them within 2 s. If this stays, the logs of all imcd that share the database have the reason.")
	case !serves:
		r.say("fleet", OK, "this imcd is a spare; the rooms have: "+strings.Join(owners, "; "), "")
		r.say("ways", Warn, "not tried: a spare has no rooms", "Run imcctl check where imcd has the rooms.")
	case len(owners) > 0:
		r.say("fleet", OK, fmt.Sprintf("this imcd has %d of %d parts of the rooms; others have: %s", len(mine), f.Shards,
			strings.Join(owners, "; ")), "")
	case len(others) == 0:
		r.say("fleet", OK, "this imcd has the rooms, and there is no spare", "")
	default:
		r.say("fleet", OK, "this imcd has the rooms; spares: "+strings.Join(others, "; "), "")
	}
	r.settings(f.Engines)
	return serves
}

// settings compares those that imcd which share rooms should have in common.
func (r *run) settings(engines []schema.EngineView) {
	differ := make(map[string]bool)
	for _, e := range engines {
		for _, other := range engines {
			for key, mark := range e.Marks {
				differ[key] = differ[key] || other.Marks[key] != mark
			}
		}
	}
	maps.DeleteFunc(differ, func(_ string, is bool) bool { return !is })
	if len(differ) == 0 {
		return
	}
	r.say("fleet", Warn, "the imcd have different settings: "+strings.Join(slices.Sorted(maps.Keys(differ)), ", "),
		"Each imcd treats the rooms that it has by its own settings: give all of them the same imcd.yaml.")
}
