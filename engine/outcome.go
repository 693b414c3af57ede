package engine

import (
	"math/rand/v2"
	"time"

	"imcd/evapi"
)

// verdict is what an outcome means for the copy's message.
type verdict uint8

const (
	arrived verdict = iota // the member has it
	skipped                // refused for good: this message never reaches the member
	offline                // the member has no device now: keep it until it registers
	retry                  // may succeed later
	resend                 // did not leave imcd, or was lost with the connection: at once
)

// judge classifies a final outcome. What a user agent refuses because of the
// message is not tried again; what says something of the path or the moment is
// (RFC 3261 section 21).
func judge(r evapi.Result) verdict {
	switch {
	case r.Local && r.Code == 503:
		return resend
	case r.Local && r.Code >= 500:
		return retry
	case r.Local:
		return skipped
	case r.Code < 300:
		return arrived
	}
	switch r.Code {
	case 404, 410, 480, 604:
		return offline
	case 401, 407, 408, 423, 429, 430, 478, 486, 487, 491, 600:
		return retry
	}
	if r.Code >= 500 && r.Code < 600 && r.Code != 501 && r.Code != 505 && r.Code != 513 {
		return retry
	}
	return skipped
}

// resultOK is the class of a copy that has arrived.
const resultOK = "ok"

// outcome names the class of a result for the metrics.
func outcome(r evapi.Result) string {
	switch judge(r) {
	case arrived:
		return resultOK
	case offline:
		return "offline"
	case resend:
		return "lost"
	case skipped:
		return "refused"
	}
	if r.Code == 408 {
		return "timeout"
	}
	return "error"
}

// retryMin is the wait before the first repetition.
const retryMin = time.Second

// backoff is how long to wait before a copy is sent again: doubling with each
// try, half of it by chance, never less than a Retry-After.
func (c *Config) backoff(tries int, after time.Duration) time.Duration {
	d := c.RetryMax
	if tries < 20 {
		d = min(retryMin<<tries, c.RetryMax)
	}
	d = d/2 + rand.N(d/2+1)
	return max(d, min(after, c.RetryMax))
}

// lastResult is what is shown of a member's last copy: its status and when that
// came, in milliseconds of Unix time. 0: none yet.
type lastResult uint64

const lastResultBits = 10 // of the status

func newLastResult(code int, at time.Time) lastResult {
	return lastResult(at.UnixMilli())<<lastResultBits | lastResult(code)
}

func (l lastResult) code() int     { return int(l & (1<<lastResultBits - 1)) }
func (l lastResult) at() time.Time { return time.UnixMilli(int64(l >> lastResultBits)) }
