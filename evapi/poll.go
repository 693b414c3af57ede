package evapi

import "time"

const (
	// pollMin is the time to the next ping while outcomes are expected: they come with the
	// pong.
	pollMin = time.Millisecond
	// pollMax is the same after a long time without outcomes.
	pollMax = 50 * time.Millisecond
	// pollFor is the time for which outcomes are expected after the last copy: longer than
	// Kamailio waits for a device.
	pollFor = 15 * time.Second
	// pingAfter is the number of bytes that are read until Kamailio is pinged: it bounds the
	// bytes that it sends without a frame from here, to a multiple of this.
	pingAfter = 32 << 10
)

// poll schedules the pings that fetch outcomes. Only the writer uses it.
type poll struct {
	heartbeat time.Duration
	wait      time.Duration
	until     time.Time
}

// next returns the time to the next ping; busy if the last one went with copies or brought
// outcomes.
func (p *poll) next(busy bool, now time.Time) time.Duration {
	switch {
	case busy:
		p.wait, p.until = pollMin, now.Add(pollFor)
	case now.After(p.until):
		return p.heartbeat
	default:
		p.wait = min(2*p.wait, pollMax)
	}
	return min(p.wait, p.heartbeat)
}
