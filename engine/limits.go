package engine

import (
	"fmt"
	"time"
)

// questionRate, which is never changed, bounds the commands of one user that read stored messages, as #history does.
var questionRate = Rate{Count: 20, Per: 2 * time.Second}

// limitTexts has the reason phrase and the notice of each limit. Never changed.
var limitTexts = map[string]struct{ reason, notice string }{
	limitSenderMessages: {"Too many messages from you", "too_fast"},
	limitSenderCommands: {"Too many commands from you", "many_commands"},
	limitRoomMessages:   {"Too many messages in this room", "room_too_fast"},
	limitRoomJoins:      {"Too many joins in this room", "room_joins"},
	limitKeys:           {"Too many wrong keys from you", "many_commands"},
	limitQuestions:      {"Too many questions from you", "many_commands"},
}

// limited returns the refusal of a request that exceeds a limit; nil if none. room is the one that the
// request is about, if that exists. Operators have no limits. A user who may not enter a room does not use up
// its limits.
func (e *Engine) limited(req *request, room *room, now time.Time) *refusal {
	if req.order != nil || req.from.IsZero() || req.metered {
		return nil
	}
	if r := e.limitedSender(req, now); r != nil {
		return r
	}
	if room == nil {
		return nil
	}
	m := room.get(req.fromKey())
	inside := m != nil && !m.invited()
	switch {
	case req.refused != nil:
	case req.cmd == nil && inside:
		return e.overRate(limitRoomMessages, &room.said, e.cfg.RateRoomMessages, now)
	case req.cmd != nil && !inside && (req.cmd.is("join") || req.cmd.is("create")):
		return e.overRate(limitRoomJoins, &room.joins, e.cfg.RateRoomJoins, now)
	}
	return nil
}

// limitedSender is limited for the limits of senders only.
func (e *Engine) limitedSender(req *request, now time.Time) *refusal {
	if req.from.IsZero() {
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

// asksTooMuch counts a question of a user and returns the refusal if it is too many. The refusal waits a
// moment, so that a client that asks as fast as it is answered slows down.
func (e *Engine) asksTooMuch(req *request, now time.Time) (r *refusal) {
	if req.from.IsZero() || req.order != nil {
		return nil
	}
	e.senders.with(req.fromKey(), now, func(m *senderMeters) {
		if r = e.overRate(limitQuestions, &m.questions, questionRate, now); r != nil {
			r.late = true
		}
	})
	return r
}

// overRate counts one and returns the refusal if it is too many. Only the first one in a row has a notice:
// notices would add to the load.
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
