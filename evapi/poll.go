package evapi

import "time"

const (
	// pollMin is the time to the next ping while outcomes are expected: they
	// come with the pong.
	pollMin = 2 * time.Millisecond
	// pollMax is that time when nothing has come for long.
	pollMax = 50 * time.Millisecond
	// pollFor is how long outcomes are expected after the last copy: longer
	// than Kamailio waits for a device.
	pollFor = 15 * time.Second
	// pingAfter is how many bytes are read until Kamailio is pinged, which counts what
	// it has sent since the last frame from here. It is a small part of what that may be.
	pingAfter = 32 << 10
)

// poll says when to ask Kamailio for outcomes. The writer's.
type poll struct {
	heartbeat time.Duration
	wait      time.Duration
	until     time.Time
}

// next returns the time to the next ping, after one that went with copies or
// brought outcomes, or not.
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
