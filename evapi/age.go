package evapi

import (
	"strconv"
	"strings"
	"time"
)

// ageWindow is the time for which the quickest frame counts.
const ageWindow = 30 * time.Second

// ageClock measures how long frames were on their way. Kamailio's clock need not be ours:
// the age of a frame is its delay compared with the quickest one of the last window. Only
// the connection's reader uses it.
type ageClock struct {
	now, before time.Duration // smallest difference in this window and the one before
	since       time.Time     // start of this window; zero: no frame yet
}

// clockStep is the impossible delay of a pong from which a clock must have been set. Below
// that, requests are carried out all the same.
const clockStep = time.Second

// pong takes a pong that came as the answer to a ping, trip after that was written. It cannot
// be older than trip: if it seems to be, one of the clocks has been set, and earlier frames do
// not count any more.
func (c *ageClock) pong(sent string, read time.Time, trip time.Duration) {
	if c.age(sent, read) > trip+clockStep {
		*c = ageClock{}
		c.age(sent, read)
	}
}

// age takes a frame that Kamailio sent at its time sent (seconds.microseconds; empty:
// unknown) and that was read at read.
func (c *ageClock) age(sent string, read time.Time) time.Duration {
	at, ok := parseTime(sent)
	if !ok {
		return 0
	}
	diff := read.Sub(at)
	switch {
	case c.since.IsZero():
		c.now, c.before, c.since = diff, diff, read
	case read.Sub(c.since) > ageWindow:
		c.before, c.now, c.since = c.now, diff, read
	default:
		c.now = min(c.now, diff)
	}
	return diff - min(c.now, c.before)
}

func parseTime(s string) (time.Time, bool) {
	sec, micro, ok := strings.Cut(s, ".")
	if !ok {
		return time.Time{}, false
	}
	secs, err := strconv.ParseInt(sec, 10, 64)
	if err != nil {
		return time.Time{}, false
	}
	micros, err := strconv.ParseUint(micro, 10, 32)
	if err != nil {
		return time.Time{}, false
	}
	return time.Unix(secs, int64(micros)*1000), true
}
