package engine

import (
	"crypto/sha256"
	"strconv"
	"time"

	"imcd/engine/store"
	"imcd/evapi"
)

// seenTotal bounds the answers that all shards together remember.
const seenTotal = 1 << 18

// seenKey is what a request has in common with its repetitions: a client that
// lost the answer sends it again with the same Call-ID and CSeq (RFC 3261
// section 8.1.3.5 aside, that is a new request), as does a Kamailio that hands
// over the same event twice. Another From tag or another body makes another request,
// since there are clients that use a Call-ID for all they send. What has passed rooms is
// known by its path: it may come here from several of them.
type seenKey [16]byte

// seen is a request that was evaluated, or is being evaluated.
type seen struct {
	key     seenKey
	at      time.Time
	done    bool
	answer  evapi.Answer
	waiting []*request // repetitions that came before the answer
}

// key is the zero key if the request cannot be told from others.
func (req *request) key() seenKey {
	if req.callID == "" || req.from.IsZero() || req.msg.Request == nil || req.msg.Request.CSeq() == nil {
		return seenKey{}
	}
	if id := req.marks.path.id; id != "" {
		sum := sha256.Sum256([]byte("path\n" + id + "\n" + req.roomKey()))
		return seenKey(sum[:16])
	}
	raw := req.msg.Request
	tag, _ := raw.From().Params.Get("tag")
	head := make([]byte, 0, 256+len(raw.Body()))
	for _, part := range [...]string{req.fromKey(), req.callID, req.target.Key(), tag, req.contentType} {
		head = append(append(head, part...), '\n')
	}
	head = strconv.AppendUint(head, uint64(raw.CSeq().SeqNo), 10)
	head = append(append(head, '\n'), raw.Body()...)
	sum := sha256.Sum256(head)
	return seenKey(sum[:16])
}

// repeated answers a request that was seen before and reports whether it was. One
// that was not has req.seen, which is the caller's to remember.
func (s *shard) repeated(req *request) bool {
	key := req.key()
	if key == (seenKey{}) {
		return false
	}
	if old := s.seen[key]; old != nil {
		if old.done {
			s.replyAs(req, old.answer, true)
		} else {
			old.waiting = append(old.waiting, req)
		}
		return true
	}
	req.seen = &seen{key: key, at: s.now}
	return false
}

// remember keeps an answer for the configured time, and no more than this
// shard's part of seenTotal.
func (s *shard) remember(n *seen) {
	s.seen[n.key] = n
	s.seenOrder = append(s.seenOrder, n)
	for len(s.seenOrder) > 0 {
		old := s.seenOrder[0]
		if len(s.seenOrder) <= seenTotal/len(s.engine.shards) && s.now.Sub(old.at) < s.engine.cfg.DuplicateWindow {
			return
		}
		if s.seen[old.key] == old {
			delete(s.seen, old.key)
		}
		s.seenOrder[0] = nil
		s.seenOrder = s.seenOrder[1:]
	}
}

// answered notes the answer of a request and gives it to its repetitions. What
// failed for the moment is evaluated again next time.
func (s *shard) answered(n *seen, a evapi.Answer) {
	s.answerRepetitions(n, a)
	if (a.Code >= 500 || a.RetryAfter > 0) && s.seen[n.key] == n {
		delete(s.seen, n.key)
	}
}

// answerRepetitions gives a to those that have come, and to those that come.
func (s *shard) answerRepetitions(n *seen, a evapi.Answer) {
	n.done, n.answer = true, a
	for _, req := range n.waiting {
		s.replyAs(req, a, true)
	}
	n.waiting = nil
}

// resolved notes the true answer of a request whose sender could not wait for it.
func (s *shard) resolved(n *seen, a evapi.Answer) {
	if n == nil {
		return
	}
	if a.Code < 500 && s.seen[n.key] == nil { // that took longer than it is kept
		n.at = s.now
		s.remember(n)
	}
	s.answered(n, a)
}

// seenChange is the answer as it is stored together with what the request
// changed, for repetitions that come after a restart.
func (t *tx) seenChange() store.Change {
	return store.Change{Op: store.PutSeen, Seen: &store.SeenRow{Key: t.req.seen.key, Shard: Hash(t.req.roomKey()),
		Code: t.answer.Code, RC: t.answer.RC, Reason: t.answer.Reason, At: t.req.seen.at}}
}
