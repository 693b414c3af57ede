package engine

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"imcd/engine/store"
	"imcd/evapi"
)

// What an operator does to rooms runs as the commands do: the same inbox, the
// same functions, the same commit and notices. It is the service that acts, which
// is no member and needs no role.

// ErrNoUser says that a user is not in the room that was named.
var ErrNoUser = errors.New("user is not in the room")

// Refused is why an operator's request was not carried out.
type Refused struct {
	Code   int    // SIP status code that a user would have got
	Reason string // in words
}

// Error implements error.
func (r *Refused) Error() string { return r.Reason }

// newOrder makes a request of an operator about a room: ErrBadName.
func (e *Engine) newOrder(room string) (*request, error) {
	name, err := parseName("room", room)
	if err != nil {
		return nil, err
	}
	return &request{msg: &evapi.Message{Received: time.Now()}, target: name, room: name,
		order: &order{done: make(chan struct{}, 1)}}, nil
}

// command makes req run a command of the table.
func (e *Engine) command(req *request, name string, args ...string) {
	req.cmd, req.word, req.args = e.language.find(name), name, args
}

// submit puts req into its shard's inbox. False: there is no room, or no time.
func (e *Engine) submit(req *request) bool {
	req.size = requestBytes + len(req.body)
	e.opened(req)
	if e.stopping.Load() || !e.shardOf(req.room).inbox.request(req) {
		e.closed(req)
		return false
	}
	return true
}

// outcome waits for the answer to req, until ctx ends at most. The request may still
// be carried out after that.
func (req *request) outcome(ctx context.Context) error {
	select {
	case <-req.order.done:
	case <-ctx.Done():
		return fmt.Errorf("waiting for room %s: %w", req.room.URI(), ctx.Err())
	}
	why := req.order.why
	switch {
	case why == nil:
		return nil
	case why.code == 404 && why.detail == rcNoRoom:
		return fmt.Errorf("%w: %s", ErrNoRoom, req.room.URI())
	case why.code == 404 && why.detail == rcNoUser && why.notice != "no_message":
		return fmt.Errorf("%w: %s", ErrNoUser, strings.Join(req.args[:min(1, len(req.args))], ""))
	}
	reason := why.reason
	if text := why.vars["why"]; why.code == 413 && text != "" {
		reason += ": " + text
	}
	return &Refused{Code: why.code, Reason: reason}
}

// execute carries req out and waits for it.
func (e *Engine) execute(ctx context.Context, req *request) error {
	if !e.submit(req) {
		return &Refused{Code: 503, Reason: "imcd is overloaded or stopping"}
	}
	err := req.outcome(ctx)
	line := e.log.Info().Err(err).Str("action", req.action()).Str("room", req.room.Key())
	if len(req.args) > 0 {
		line = line.Str("args", clip(strings.Join(req.shownArgs(), " ")))
	}
	if !req.from.IsZero() {
		line = line.Str("for", req.from.Key())
	}
	line.Msg("operator") // an audit of roles; never the text of messages
	return err
}

// shownArgs are the arguments without a value that nobody may see.
func (req *request) shownArgs() []string {
	if row := findSetting(req.args[0]); req.cmd != nil && req.cmd.is("set") && row != nil && row.secret {
		return req.args[:1]
	}
	return req.args
}

// CreateRoom makes a room. The owner, a SIP URI, becomes its first member and is
// informed; empty: the room has nobody in it. ErrBadName, *Refused.
func (e *Engine) CreateRoom(ctx context.Context, room string, private bool, owner string) error {
	req, err := e.newOrder(room)
	if err != nil {
		return err
	}
	if owner != "" {
		if req.from, err = ParseName(owner, req.room.Host); err != nil {
			return fmt.Errorf("owner: %w %q: %w", ErrBadName, clip(owner), err)
		}
	}
	e.command(req, "create")
	if private {
		req.args = []string{wordPrivate}
	}
	return e.execute(ctx, req)
}

// DestroyRoom ends a room and informs its members: ErrBadName, ErrNoRoom, *Refused.
func (e *Engine) DestroyRoom(ctx context.Context, room string) error {
	return e.do(ctx, room, "destroy")
}

// RemoveMember puts a user out of a room, or takes an invitation back. An owner is
// not protected: if nobody else owns the room, it goes to the oldest admin or
// member, and the last one's removal ends it. ErrBadName, ErrNoRoom, ErrNoUser,
// *Refused.
func (e *Engine) RemoveMember(ctx context.Context, room, user string) error {
	return e.do(ctx, room, "remove", user)
}

// SetRole makes a member owner, admin or member: ErrBadName, ErrNoRoom, ErrNoUser,
// *Refused.
func (e *Engine) SetRole(ctx context.Context, room, user, role string) error {
	return e.do(ctx, room, "modify", user, role)
}

// AddMember makes a user a member at once, in the given role (empty: member). One
// who is invited enters. ErrBadName, ErrNoRoom, *Refused.
func (e *Engine) AddMember(ctx context.Context, room, user, role string) error {
	req, err := e.newOrder(room)
	if err != nil {
		return err
	}
	e.command(req, "add", user)
	if role != "" {
		flag, ok := roleFlag(role)
		if !ok {
			return &Refused{Code: 400, Reason: "role: '" + clip(role) + "' is no role: owner, admin or member"}
		}
		req.order.role = flag
	}
	return e.execute(ctx, req)
}

func (e *Engine) do(ctx context.Context, room, command string, args ...string) error {
	req, err := e.newOrder(room)
	if err != nil {
		return err
	}
	e.command(req, command, args...)
	return e.execute(ctx, req)
}

// SkipMessage takes the next message that a member has not got out of its way, if its
// phone may crash of it. The member gets a notice, and the next messages. It returns the
// message's number. ErrBadName, ErrNoRoom, ErrNoUser, *Refused: nothing is owed.
func (e *Engine) SkipMessage(ctx context.Context, room, user string) (uint64, error) {
	name, err := parseName("room", room)
	if err != nil {
		return 0, err
	}
	who, err := ParseName(user, name.Host)
	if err != nil {
		return 0, fmt.Errorf("user: %w %q: %w", ErrBadName, clip(user), err)
	}
	return askShard(ctx, e, name, func(s *shard) (uint64, error) { return s.delivery.skip(name, who) })
}

func (d *delivery) skip(name, who store.Name) (uint64, error) {
	r := d.rooms[name.Key()]
	if r == nil {
		return 0, fmt.Errorf("%w: %s", ErrNoRoom, name.URI())
	}
	m := r.get(who.Key())
	if m == nil || m.invited() {
		return 0, fmt.Errorf("%w: %s", ErrNoUser, who.URI())
	}
	if !m.live || r.lag(m) == 0 {
		return 0, &Refused{Code: 409, Reason: "nothing is owed to " + who.URI()}
	}
	seq := m.cursor + 1
	if m.wait != nil {
		seq = max(seq, m.wait.seq) // the ones before it are its own, or were dropped
	}
	d.scatter(r, m)
	if f := m.inFlight; f != nil {
		seq = max(seq, f.seq)
		d.abandon(f)
	}
	d.unfollow(r, m)
	d.gaveUp(r, m, m.cursor, seq)
	d.dropPage(m)
	m.cursor = seq
	d.markDirty(r)
	d.noteLoss(r, m, seq, lossOperator, 0)
	m.deaf = false
	m.oweLossNotice()
	if m.wait != nil && m.wait.index >= 0 {
		d.hasten(m.wait)
	} else {
		d.setReady(r, m)
	}
	return seq, nil
}
