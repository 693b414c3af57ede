package evapi

import (
	"math/bits"
	"time"
)

const (
	// linkBatch is how many copies go at a time.
	linkBatch = 32
	// linkWindow is how much of the buffer of Kamailio's socket may be taken by
	// requests that it is not known to have read, in bytes as Linux counts them. It
	// grants 425984 unless told otherwise, of which it may withhold a quarter: the rest
	// is for calls and registrations, which wait behind these for a few milliseconds.
	// With less Kamailio's workers go to sleep in between, and to wake them costs as
	// much as a copy does.
	linkWindow = 208 << 10
	// blindWindow is the same while it is not by responses that we know what was read:
	// there may be room to leave for all of these.
	blindWindow = 128 << 10
	// smallRoom is what a datagram takes of that at least.
	smallRoom = 1280
	// markAfter is how long nothing need be heard of these until a mark is sent: an
	// OPTIONS that Kamailio answers by itself once it has read what came before.
	// Devices that answer at once make marks needless.
	markAfter = time.Millisecond
	// markLost is when a mark, and what was sent before it, is taken for lost.
	markLost = 250 * time.Millisecond
)

// roomFor is what a datagram of size bytes takes of a socket's buffer, at most: it lies
// in a piece of a power of two.
func roomFor(size int) uint64 {
	const headers, more = 384, 256
	return max(smallRoom, uint64(1)<<bits.Len(uint(size+headers-1))+more)
}

// sipPace bounds what Kamailio has not read of what a link sends. Each request has a
// place, in the order of their sending: the room that it and all before it have taken,
// so that a response to one tells of those before it. Guarded by the link's mutex.
type sipPace struct {
	sent  uint64    // the last place
	read  uint64    // up to which they are read, or taken for lost
	moved time.Time // when read last changed, or there began to be something unread
	mark  mark      // under way
	doubt bool      // whether Kamailio knows our copies: a mark is to tell
	// sighted: a response was the last that moved read; else a mark was, or nothing.
	sighted bool
}

// mark is an OPTIONS that is not answered yet.
type mark struct {
	branch uint64 // 0: none
	place  uint64
	at     time.Time
}

// next returns the place of a request that is sent now and takes so much room.
func (p *sipPace) next(room uint64, now time.Time) uint64 {
	if p.sent == p.read {
		p.moved = now
	}
	p.sent += room
	return p.sent
}

// ask begins a mark that is sent now, and returns its branch.
func (p *sipPace) ask(now time.Time) uint64 {
	p.mark = mark{branch: newBranch(), place: p.next(smallRoom, now), at: now}
	return p.mark.branch
}

// answered takes the response to a mark; false if that is none.
func (p *sipPace) answered(branch uint64, now time.Time) bool {
	if branch == 0 || branch != p.mark.branch {
		return false
	}
	p.reach(p.mark.place, now)
	p.mark, p.doubt, p.sighted = mark{}, false, false
	return true
}

// reach notes that a request was read.
func (p *sipPace) reach(place uint64, now time.Time) {
	if place <= p.read {
		return
	}
	p.read, p.moved, p.sighted = place, now, true
}

func (p *sipPace) window() uint64 {
	if p.sighted {
		return linkWindow
	}
	return blindWindow
}

// left tells whether one more may go with those of its batch.
func (p *sipPace) left() bool { return p.sent-p.read < p.window() }

// full reports whether a batch must wait.
func (p *sipPace) full() bool { return p.doubt || p.sent-p.read > p.window()-linkBatch*smallRoom }

// hold is how long a batch must wait, at most; 0: not at all. If ask, a mark is to be
// sent now.
func (p *sipPace) hold(now time.Time) (d time.Duration, ask bool) {
	if p.mark.branch != 0 && now.Sub(p.mark.at) >= markLost {
		p.forget()
	}
	switch {
	case !p.full():
		return 0, false
	case p.mark.branch != 0:
		return p.mark.at.Add(markLost).Sub(now), false
	case p.doubt:
		return 0, true
	}
	d = p.moved.Add(markAfter).Sub(now)
	return max(d, 0), d <= 0
}

// forget takes all that was sent for read.
func (p *sipPace) forget() { *p = sipPace{sent: p.sent, read: p.sent} }
