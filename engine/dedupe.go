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

// key is the zero key if the request cannot be recognised.
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

// dedupe recognises requests that repeat another one, and gives them its answer.
type dedupe struct {
	reply  func(*request, evapi.Answer) // answers a repetition
	most   int                          // answers that are remembered
	window time.Duration                // for how long

	known map[seenKey]*seenRequest
	order []*seenRequest // oldest first; some are not in known any more
}

// begin reports whether req repeats another request; then it has its answer, or gets it when it is known.
// Otherwise it sets req.seen, for remember; nil if the request cannot be recognised.
func (d *dedupe) begin(req *request, now time.Time) bool {
	key := req.key()
	if key == (seenKey{}) {
		return false
	}
	if old := d.known[key]; old != nil && recognises {
		if old.done {
			d.reply(req, old.answer)
		} else {
			old.waiting = append(old.waiting, req)
		}
		return true
	}
	req.seen = &seenRequest{key: key, at: now}
	return false
}

// remember lets repetitions of n be found. n may be nil.
func (d *dedupe) remember(n *seenRequest, now time.Time) {
	if n == nil {
		return
	}
	d.known[n.key] = n
	d.order = append(d.order, n)
	for len(d.order) > 0 {
		old := d.order[0]
		if len(d.order) <= d.most && now.Sub(old.at) < d.window {
			return
		}
		d.forget(old)
		d.order[0] = nil
		d.order = d.order[1:]
	}
}

func (d *dedupe) forget(n *seenRequest) {
	if d.known[n.key] == n {
		delete(d.known, n.key)
	}
}

// end notes the answer of n, which may be nil, and gives it to repetitions. A request that failed for the
// moment is evaluated again when it is repeated.
func (d *dedupe) end(n *seenRequest, a evapi.Answer) {
	if n == nil {
		return
	}
	d.endUnsure(n, a)
	if a.Code >= 500 || a.RetryAfter > 0 {
		d.forget(n)
	}
}

// endUnsure gives repetitions an answer that may turn out to be wrong: see endLate.
func (d *dedupe) endUnsure(n *seenRequest, a evapi.Answer) {
	if n == nil {
		return
	}
	n.done, n.answer = true, a
	for _, req := range n.waiting {
		d.reply(req, a)
	}
	n.waiting = nil
}

// endLate notes the true answer of a request whose sender could not wait for it.
func (d *dedupe) endLate(n *seenRequest, a evapi.Answer, now time.Time) {
	if n != nil && a.Code < 500 && d.known[n.key] == nil { // answers are not remembered for that long
		n.at = now
		d.remember(n, now)
	}
	d.end(n, a)
}

// seenChange stores the answer together with the changes, for repetitions after a restart.
func (c *call) seenChange() store.Change {
	return store.Change{Op: store.PutSeen, Seen: &store.SeenRow{Key: c.req.seen.key, Shard: store.Hash(c.req.roomKey()),
		Code: c.reply.Code, RC: c.reply.RC, Reason: c.reply.Reason, At: c.req.seen.at}}
}
