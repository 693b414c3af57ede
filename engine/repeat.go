package engine

import (
	"time"

	"imcd/evapi"
)

// A copy that is under way when its user registers may be on its way to a device that
// is not there any more, and its outcome may take long, or never come. So it is sent
// again, to where the user is now, with the same Call-ID. Each time is a try; the copy
// has arrived when one of them has, and has failed when all have.

const (
	// maxRepeats bounds the tries of one copy that have no outcome. When so many are
	// under way, a further registration makes the copy go again once they have failed.
	maxRepeats = 4
	// answerTime is how long a device may take to answer a copy: who registers after
	// it has not got it, or does not answer.
	answerTime = time.Second
)

// heard makes all waiting copies for these users, by key, the next to be sent: they have
// registered (true), or have sent something. After a registration copies under way go out
// again as well. Who has only sent something may have them, and be slow: they go again
// once they have failed.
func (s *shard) heard(users map[string]bool) {
	for user := range users {
		for w := range s.away[user] {
			s.hasten(w)
		}
		if st := s.streams[user]; st != nil {
			s.release(st)
		}
	}
	if !s.anyTo(users) {
		return
	}
	for _, f := range s.flights {
		switch registered, yes := users[f.to()]; {
		case yes && registered:
			s.again(f)
		case yes && s.unanswered(f):
			f.back = true
		}
	}
}

// to is the key of the user whom f is for.
func (f *flight) to() string {
	if f.stream != nil {
		return f.stream.key
	}
	return f.member.key
}

// again lets a copy under way go out once more, as its user has registered.
func (s *shard) again(f *flight) {
	f.back = true
	switch {
	case f.tries >= maxRepeats || f.repeats:
		// When these have failed it is tried again at once.
	case s.age(f) < burstTime:
		f.early = true // see ripen: who registers and asks something at once need not get two answers
	case s.kills(f):
		f.silent++
		s.land(f, evapi.Result{CallID: f.id, Code: 408, Reason: "registered again without an answer"})
	default:
		f.repeats = true
		s.repeats = append(s.repeats, f)
	}
}

// unanswered reports whether a device that is there would have answered f by now.
func (s *shard) unanswered(f *flight) bool { return s.age(f) >= answerTime }

// kills reports whether f is a message that may be what its recipient dies of, now that
// it has come back once more.
func (s *shard) kills(f *flight) bool {
	return f.stream == nil && f.word == noWord && f.missed == 0 && s.unanswered(f) &&
		s.isPoison(f.member.wait, f.seq, int(f.silent)+1)
}

// repeat sends f again, unless its member has left. False: not now.
func (s *shard) repeat(f *flight) bool {
	if f.stream == nil && (!f.member.live || f.member.flight != f && !f.ahead) {
		f.repeats = false
		return true
	}
	c := weigh(f.out.BodyLen())
	if !s.engine.credits.take(s.inbox, c) {
		return false
	}
	cp := evapi.Copy{Out: f.out, CallID: f.id, First: f.stream != nil}
	if cp.First {
		cp.To = f.stream.user.URI()
	} else {
		cp.To = f.member.uri
	}
	seen := s.engine.credits.drained.Load()
	conn, err := s.engine.relay.Send(f.conn, cp)
	if err != nil {
		s.notSent(c, seen, err)
		f.repeats = later(err)
		return !f.repeats
	}
	f.repeats = false
	s.engine.credits.give(f.credit)
	f.credit, f.conn = c, conn
	if s.unanswered(f) {
		f.silent++
	}
	s.engine.metrics.repeated.Inc()
	s.sent(f)
	return true
}

// worse is the outcome that counts of two, of which a may be nil: that of a device counts
// more than silence, and silence more than that there is no device.
func worse(a *evapi.Result, b evapi.Result) evapi.Result {
	if a == nil || weight(judge(b)) < weight(judge(*a)) {
		return b
	}
	return *a
}

func weight(v verdict) int {
	switch v {
	case offline:
		return int(resend) - 1
	case gone:
		return int(resend) - 2
	case silent:
		return int(resend) - 3
	case retry:
		return int(resend) - 4
	case resend:
		return int(resend)
	}
	return int(v)
}
