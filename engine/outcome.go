package engine

import (
	"time"

	"imcd/evapi"
)

// verdict is what an outcome means for the message. Those that are final come first.
type verdict uint8

const (
	arrived    verdict = iota // the member has it
	known                     // the recipient got it by another way
	refused                   // the phone does not take the content: the message never reaches the member
	unsendable                // imcd or Kamailio cannot make this copy, and never will
	malformed                 // like retry, and refused after malformedTries
	offline                   // no device: the member waits until it registers
	gone                      // the connection of the device is gone: likewise, with tries from time to time
	silent                    // there was no answer
	retry                     // may succeed later
	resend                    // it did not leave imcd, or was lost with the connection: at once
)

// malformedTries is how often a copy is answered 400 until the content counts as refused.
const malformedTries = 3

// final reports whether the message is not sent again.
func (v verdict) final() bool { return v <= unsendable }

// judge classifies a final outcome. A message is given up only if a user agent refuses its content (RFC
// 3261 section 21, RFC 3428). Other responses concern the way, the moment or the user, or are those of a
// routing script: the message is kept.
func judge(r evapi.Result) verdict {
	switch {
	case r.Local && r.Code == 503:
		return resend
	case r.Local && r.Code >= 500:
		return retry
	case r.Local:
		return unsendable
	case r.Code < 300:
		return arrived
	}
	return judgeCode(r.Code)
}

// judgeCode is judge for a SIP status of 300 and above. Codes that it does not name are tried again: 3xx
// (imcd does not follow it), 401 and 407 (Kamailio's own), 403, 405 and 473 (a script's), 486, 600 and
// 603 (the user is busy) and all others.
func judgeCode(code int) verdict {
	switch code {
	case 413, 415, 488, 493, 513, 606:
		return refused
	case 400:
		return malformed
	case 482: // it came by another way (RFC 3261, 8.2.2.2), or the recipient is a room that had it
		return known
	case 404, 410, 480, 604:
		return offline
	case 430, 477, 478: // no flow to the device (RFC 5626); Kamailio's own for a dead connection
		return gone
	case 408, 504:
		return silent
	}
	return retry
}

// resultOK is the class of a copy that has arrived.
const resultOK = "ok"

// outcome names the class of a result for the metrics.
func outcome(r evapi.Result) string {
	switch judge(r) {
	case arrived:
		return resultOK
	case known:
		return "known"
	case offline, gone:
		return "offline"
	case resend:
		return "lost"
	case refused, unsendable:
		return "refused"
	case silent:
		return "timeout"
	}
	return "error"
}

// lastResult is the status of a member's last copy, its time in milliseconds of Unix time, and how long the phone
// takes to answer when nothing else keeps it waiting. 0: none yet.
type lastResult uint64

const (
	lastResultBits = 10 // of the status
	bestAnswerBits = 8  // of the best answer, at the other end
	bestAnswerAt   = 64 - bestAnswerBits
	// bestAnswerUnit is the unit of the best answer, of which 1 is less than one, and 0 not known. It grows by one
	// with each slower answer, so that a phone that has moved away is known as far after some dozens.
	bestAnswerUnit = time.Second / 8000
	// nearTime is how long near phones take, at best. Then pacedBurst allows 20,000 copies a second.
	nearTime = 10 * time.Millisecond
)

// with is l after another outcome.
func (l lastResult) with(code int, at time.Time) lastResult {
	t := uint64(at.UnixMilli()) << (lastResultBits + bestAnswerBits) >> bestAnswerBits
	return l>>bestAnswerAt<<bestAnswerAt | lastResult(t) | lastResult(code)
}

func (l lastResult) code() int { return int(l & (1<<lastResultBits - 1)) }
func (l lastResult) at() time.Time {
	return time.UnixMilli(int64(l << bestAnswerBits >> (bestAnswerBits + lastResultBits)))
}

// answered is l after the phone has answered. After 0 nothing was sent in truth.
func (l lastResult) answered(after time.Duration) lastResult {
	best, now := l>>bestAnswerAt, lastResult(min(1+after/bestAnswerUnit, 1<<bestAnswerBits-1))
	switch {
	case after <= 0:
		return l
	case best == 0 || now < best:
		best = now
	case now > best:
		best++
	}
	return l<<bestAnswerBits>>bestAnswerBits | best<<bestAnswerAt
}

// isNear reports whether the phone is near, as far as its answers tell.
func (l lastResult) isNear() bool {
	best := time.Duration(l>>bestAnswerAt) * bestAnswerUnit
	return best > 0 && best <= nearTime
}

// Why messages are skipped; also the label of the metric.
const (
	lossRefused    = "refused"     // the phone refused the content
	lossUnsendable = "unsendable"  // the copy cannot be made or sent
	lossPoison     = "no answer"   // the phone registers, and never answers this message
	lossOperator   = "by operator" // an operator skipped it
)

// lossReasons lists all of them. Never changed.
var lossReasons = []string{lossRefused, lossUnsendable, lossPoison, lossOperator}
