package engine

import (
	"errors"
	"fmt"
	"time"
)

// Rate is a limit of Count in Per. All may come at once; then one passes every Per/Count. The zero Rate
// is no limit.
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
		return errors.New("is more than can be measured")
	}
	return nil
}

// meter counts against a Rate. It is a bucket that runs empty by itself, and needs only the time at which
// it will be empty (GCRA). After that it may be forgotten. The zero meter has counted nothing.
type meter struct {
	empty   time.Time // when it is empty again
	refused bool      // the last one was refused, with a notice
}

// take counts one more and returns 0; or it counts nothing and returns how long to wait, and whether this
// is the first refusal in a row.
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
		first, m.refused = !m.refused, true
		return wait, first
	}
	m.empty, m.refused = next, false
	return 0, false
}

// bucket is how many of something may be done now.
type bucket struct {
	left float64
	at   time.Time // when left was right
}

// take reports whether one more may be done, of so many a second.
func (b *bucket) take(now time.Time, perSecond float64) bool {
	b.left = min(perSecond, b.left+now.Sub(b.at).Seconds()*perSecond)
	b.at = now
	if b.left < 1 {
		return false
	}
	b.left--
	return true
}

// Limits of Config by their keys, which are also the labels of imc_limited_total.
const (
	limitSenderMessages = "rate_sender_messages"
	limitSenderCommands = "rate_sender_commands"
	limitRoomMessages   = "rate_room_messages"
	limitRoomJoins      = "rate_room_joins"
	// limitQuestions is no key: the limit is questionRate.
	limitQuestions = "questions"
	// limitKeys is no key either: the limit is wrongKeys.
	limitKeys = "wrong_keys"
)
