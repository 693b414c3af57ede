package engine

import (
	"context"
	"fmt"

	"imcd/engine/store"
)

// SkipMessage takes the next message that a member has not got out of its way, if its
// phone dies of it maybe. The member is told, and gets what follows. It returns the
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
	type reply struct {
		seq uint64
		err error
	}
	answer := make(chan reply, 1)
	s := e.shardOf(name)
	s.inbox.post(func() {
		seq, err := s.delivery.skip(name, who)
		answer <- reply{seq, err}
	})
	select {
	case a := <-answer:
		return a.seq, a.err
	case <-ctx.Done():
		return 0, fmt.Errorf("waiting for room %s: %w", name.URI(), ctx.Err())
	}
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
		seq = max(seq, m.wait.seq) // what is before it is its own, or was dropped
	}
	d.scatter(r, m)
	if f := m.flight; f != nil {
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
	m.tellLoss()
	if m.wait != nil && m.wait.index >= 0 {
		d.hasten(m.wait)
	} else {
		d.setReady(r, m)
	}
	return seq, nil
}
