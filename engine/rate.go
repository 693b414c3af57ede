package engine

import (
	"errors"
	"fmt"
	"time"
)

// Rate is a limit: so many in so long. All of them may come at once; then one more
// is let through every Per/Count. The zero Rate is no limit.
type Rate struct {
	Count int
	Per   time.Duration
}

// Bounds of a Rate.
const (
	maxRateCount = 1_000_000
	minRatePer   = time.Millisecond
	maxRatePer   = 24 * time.Hour
)

func (r Rate) limits() bool { return r != Rate{} }

func (r Rate) validate() error {
	switch {
	case !r.limits():
		return nil
	case r.Count < 1 || r.Count > maxRateCount:
		return fmt.Errorf("count must be 1 to %d, is %d", maxRateCount, r.Count)
	case r.Per < minRatePer || r.Per > maxRatePer:
		return fmt.Errorf("time must be %v to %v, is %v", minRatePer, maxRatePer, r.Per)
	case r.Per < time.Duration(r.Count):
		return errors.New("is more than can be told apart")
	}
	return nil
}

// meter counts against a Rate. It is a bucket that runs empty by itself, and needs
// no more than the time at which it will be (GCRA): one whose time has passed is as
// good as none, and may be forgotten. The zero meter has counted nothing.
type meter struct {
	empty time.Time // when what was counted has run off
	told  bool      // the last one was refused, and heard why
}

// take counts one more and returns 0; or it counts nothing and returns how long
// to wait, and whether this is the first refusal in a row.
func (m *meter) take(r Rate, now time.Time) (wait time.Duration, first bool) {
	if !r.limits() {
		return 0, false
	}
	from := now
	if m.empty.After(now) {
		from = m.empty
	}
	next := from.Add(r.Per / time.Duration(r.Count))
	if wait = next.Sub(now) - r.Per; wait > 0 {
		first, m.told = !m.told, true
		return wait, first
	}
	m.empty, m.told = next, false
	return 0, false
}

// Limits of Config by their keys, which are also the labels of imc_limited_total.
const (
	limitSenderMessages = "rate_sender_messages"
	limitSenderCommands = "rate_sender_commands"
	limitRoomMessages   = "rate_room_messages"
	limitRoomJoins      = "rate_room_joins"
)

// limitTexts are the reason phrase and the notice of each limit. Never changed.
var limitTexts = map[string]struct{ reason, notice string }{
	limitSenderMessages: {"Too many messages from you", "too_fast"},
	limitSenderCommands: {"Too many commands from you", "many_commands"},
	limitRoomMessages:   {"Too many messages in this room", "room_too_fast"},
	limitRoomJoins:      {"Too many joins in this room", "room_joins"},
}

// limited says which limit of a rate a request exceeds; nil if none. Operators have
// no limits. The limits of a room are not used up by who is not let in anyway.
func (s *shard) limited(req *request) *refusal {
	if req.order != nil || req.from.IsZero() || req.metered {
		return nil
	}
	cfg := &s.engine.cfg
	if r := s.engine.limitedSender(req, s.now); r != nil {
		return r
	}
	room := s.rooms[req.roomKey()]
	if room == nil {
		return nil
	}
	m := room.get(req.fromKey())
	inside := m != nil && !m.invited()
	switch {
	case req.refused != nil:
	case req.cmd == nil && inside:
		return s.engine.overRate(limitRoomMessages, &room.said, cfg.RateRoomMessages, s.now)
	case req.cmd != nil && !inside && (req.cmd.is("join") || req.cmd.is("create")):
		return s.engine.overRate(limitRoomJoins, &room.joins, cfg.RateRoomJoins, s.now)
	}
	return nil
}

// limitedSender is limited for what concerns the sender only.
func (e *Engine) limitedSender(req *request, now time.Time) *refusal {
	if e.senders == nil || req.from.IsZero() {
		return nil
	}
	limit, rate := limitSenderMessages, e.cfg.RateSenderMessages
	if req.word != "" || req.refused != nil {
		limit, rate = limitSenderCommands, e.cfg.RateSenderCommands
	}
	if !rate.limits() {
		return nil
	}
	var r *refusal
	e.senders.with(req.fromKey(), now, func(m *senderMeters) {
		at := &m.messages
		if limit == limitSenderCommands {
			at = &m.commands
		}
		r = e.overRate(limit, at, rate, now)
	})
	return r
}

// overRate counts one and returns why it is too many; nil if it is not. Only the
// first of those that are too many gets a notice: notices would add to the load.
func (e *Engine) overRate(limit string, m *meter, rate Rate, now time.Time) *refusal {
	wait, first := m.take(rate, now)
	if wait <= 0 {
		return nil
	}
	e.metrics.limited.WithLabelValues(limit).Inc()
	text := limitTexts[limit]
	r := &refusal{code: 480, detail: rcLimited, reason: text.reason, after: wait}
	if first {
		seconds := (wait + time.Second - 1) / time.Second
		r.notice, r.vars = text.notice, vars{"n": fmt.Sprint(int64(seconds))}
	}
	return r
}
