package check

import (
	"context"
	"errors"
	"fmt"
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
	var spares, owners []string
	for _, e := range f.Engines {
		name := fmt.Sprintf("pid %d on host %s", e.PID, e.Host)
		if e.HTTP != "" {
			name += ", http_listen " + e.HTTP
		}
		switch {
		case len(e.Owns) > 0 && e.Engine == f.Engine:
			serves = true
		case len(e.Owns) > 0:
			owners = append(owners, name)
		case e.Engine != f.Engine:
			spares = append(spares, name)
		}
	}
	switch {
	case f.Unowned > 0:
		r.say("fleet", Fail, fmt.Sprintf("%d of %d parts of the rooms belong to nobody", f.Unowned, f.Shards),
			"An imcd takes them within 2 s. If this stays, the logs of all imcd that share the database have the reason.")
	case !serves:
		r.say("fleet", OK, "this imcd is a spare; the rooms have: "+strings.Join(owners, "; "), "")
		r.say("ways", Warn, "not tried: a spare has no rooms", "Run imcctl check where imcd has the rooms.")
	case len(spares) == 0:
		r.say("fleet", OK, "this imcd has the rooms, and there is no spare", "")
	default:
		r.say("fleet", OK, "this imcd has the rooms; spares: "+strings.Join(spares, "; "), "")
	}
	return serves
}
