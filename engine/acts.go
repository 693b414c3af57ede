package engine

import (
	"context"
	"errors"
	"fmt"
	"time"

	"imcd/engine/store"
)

// What owners, admins and operators do in rooms is kept for a while, for those who ask later.

const (
	actAge     = 90 * 24 * time.Hour
	actsAsked  = 50   // without a number
	actsAtMost = 1000 // of one question
)

// Acts that are no command, or are kept under another name than that of the command.
const (
	actRole    = "role"
	actSet     = "set"
	actRemove  = "remove"
	actDestroy = "destroy"
)

// acted keeps what the sender has done. who is a URI or a pattern, and may be empty.
func (c *call) acted(act, who string, until time.Time, why string) {
	by := ""
	if !c.service() && !c.req.from.IsZero() {
		by = c.req.from.URI()
	}
	c.changes = append(c.changes, store.Change{Op: store.PutAct, Act: &store.ActRow{ID: newRoomID(), Room: c.room.name,
		At: c.shard.now, By: by, Act: act, Who: who, Until: until, Why: why}})
	if c.shard.engine.webhook.wants(EventAct) {
		c.raise(&Event{Kind: EventAct, Time: c.shard.now, Room: c.room.name, By: c.req.from, Act: act, Whom: who,
			Until: until, Why: why})
	}
}

// ActInfo is something that was done in a room (RPC imc.acts, imc.user_acts).
type ActInfo struct {
	Room  string     `json:"room,omitempty"` // SIP URI, in lower case; empty: the one that was asked for
	Time  time.Time  `json:"time"`
	By    string     `json:"by,omitempty"`    // SIP URI; empty: an operator
	Act   string     `json:"act"`             // ban, unban, mute, unmute, voice, unvoice, warn, remove, role, set, destroy
	User  string     `json:"user,omitempty"`  // SIP URI or *@domain; empty: the room
	Until *time.Time `json:"until,omitempty"` // nil: it has no end
	Why   string     `json:"why,omitempty"`   // reason, role, or the setting and its value
}

// Acts returns the last n acts in a room, which need not exist any more, oldest first; n 0 means 50.
// ErrBadName, *Refused.
func (e *Engine) Acts(ctx context.Context, uri string, n int) ([]ActInfo, error) {
	room, err := parseName("room", uri)
	if err != nil {
		return nil, err
	}
	list, err := actsOf(ctx, e.store.Acts, room, n)
	for i := range list {
		list[i].Room = ""
	}
	return list, err
}

// UserActs returns the last n acts on a user, or on all users of its domain, in all rooms, oldest first; n 0 means 50.
// The rooms need not exist any more. ErrBadName, *Refused.
func (e *Engine) UserActs(ctx context.Context, uri string, n int) ([]ActInfo, error) {
	user, err := parseName("user", uri)
	if err != nil {
		return nil, err
	}
	return actsOf(ctx, e.store.ActsOn, user, n)
}

// actsOf lets one of the Store's questions be answered.
func actsOf(
	ctx context.Context, ask func(context.Context, store.Name, int) ([]store.ActRow, error), about store.Name, n int,
) ([]ActInfo, error) {
	if n == 0 {
		n = actsAsked
	}
	if n < 1 || n > actsAtMost {
		return nil, &Refused{Code: 400, Reason: fmt.Sprintf("n: must be 1 to %d, is %d", actsAtMost, n)}
	}
	rows, err := ask(ctx, about, n)
	switch {
	case errors.Is(err, store.ErrUnavailable):
		return nil, &Refused{Code: 503, Reason: "the database does not answer, try again"}
	case err != nil:
		return nil, fmt.Errorf("reading what was done in rooms: %w", err)
	}
	list := make([]ActInfo, len(rows))
	for i, row := range rows {
		list[i] = ActInfo{Room: row.Room.URI(), Time: row.At.UTC(), By: row.By, Act: row.Act, User: row.Who, Why: row.Why}
		if !row.Until.IsZero() {
			until := row.Until.UTC()
			list[i].Until = &until
		}
	}
	return list, nil
}
