package engine

import (
	"context"
	"fmt"

	"imcd/engine/store"
)

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
