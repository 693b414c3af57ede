package engine

import (
	"time"

	"imcd/evapi"
)

const (
	// lateTime is how long at least a refusal of a user waits who asks too fast: most clients send the next
	// request when they have the answer. With up to one tick more it is about T1 (RFC 3261), after which a
	// client would repeat its request.
	lateTime = 250 * time.Millisecond
	// maxLate bounds the refusals that wait in a shard. Further ones are sent at once.
	maxLate = 64
)

// lateReply is a refusal that waits.
type lateReply struct {
	req    *request
	answer evapi.Answer
	due    time.Time
}

// replyLater answers req a moment later.
func (s *shard) replyLater(req *request, a evapi.Answer) {
	if len(s.late) >= maxLate || s.engine.stopping.Load() {
		s.reply(req, a)
		return
	}
	s.late = append(s.late, lateReply{req, a, s.now.Add(lateTime)})
}

// replyLate sends the refusals that have waited long enough; all if the engine stops.
func (s *shard) replyLate() {
	for len(s.late) > 0 && (!s.late[0].due.After(s.now) || s.engine.stopping.Load()) {
		s.reply(s.late[0].req, s.late[0].answer)
		s.late = s.late[1:]
	}
	if len(s.late) == 0 {
		s.late = nil
	}
}
