package engine

import (
	"time"

	"github.com/rs/zerolog"

	"imcd/evapi"
)

// The log of requests and deliveries, by which a message can be followed: the
// Call-ID of a request is Kamailio's, its room and number lead to its copies, and
// their Call-IDs are Kamailio's again. The text of messages is never in it.

// line begins a line; only if traced.
func (e *Engine) line() *zerolog.Event {
	if e.cfg.LogRequests {
		return e.log.Info()
	}
	return e.log.Debug()
}

// maxLogged bounds a field that a client chose.
const maxLogged = 256

func logged(s string) string { return s[:min(len(s), maxLogged)] }

// logRequest logs an answer. Costs nothing unless traced.
func (e *Engine) logRequest(req *request, a evapi.Answer, repeated bool) {
	if !e.traced {
		return
	}
	l := e.line().Str("call_id", logged(req.callID)).Str("from", req.fromKey()).Str("room", req.roomKey()).
		Str("command", req.action()).Int("code", a.Code).Int("rc", a.RC)
	if req.seq > 0 {
		l = l.Uint64("seq", req.seq)
	}
	if a.Code != 200 && a.Code != 400 { // 400 quotes the sender
		l = l.Str("reason", a.Reason)
	}
	if repeated {
		l = l.Bool("repeated", true)
	}
	if req.msg.Conn != nil {
		l = l.Str("kamailio", req.msg.Conn.Name())
	}
	l.Dur("took", time.Since(req.msg.Received)).Msg("request")
}

// logDelivery logs the outcome of a copy. Costs nothing unless traced.
func (d *delivery) logDelivery(f *sentCopy, r evapi.Result) {
	if !d.engine.traced {
		return
	}
	l := d.engine.line().Str("call_id", f.id)
	if f.stream != nil {
		l = l.Str("to", f.stream.key)
	} else {
		l = l.Str("to", f.member.key).Str("room", f.room.key)
	}
	if f.seq > 0 {
		l = l.Uint64("seq", f.seq)
	}
	if r.Local {
		l = l.Str("reason", r.Reason)
	}
	if f.tries > 0 {
		l = l.Dur("took", d.age(f))
	}
	l.Int("code", r.Code).Str("result", outcome(r)).Msg("delivery")
}
