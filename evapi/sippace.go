package evapi

import (
	"math/bits"
	"slices"
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
	// markEvery is how much is sent behind a mark until the next one goes, while marks tell
	// what was read: the next half of a window is on its way when the answer for the
	// first one comes, so that distant devices cost no time.
	markEvery = blindWindow / 2
	// maxMarks bounds the marks that are not answered yet.
	maxMarks = 4
	// markAfter is how long nothing need be heard of these until a mark is sent: an
	// OPTIONS that Kamailio answers by itself once it has read what came before.
	// Devices that answer at once make marks needless.
	markAfter = time.Millisecond
	// gaugeFrom is how much may be unread, by what responses tell, until the kernel is asked;
	// it is asked again after gaugeAgain if that is too much.
	gaugeFrom  = 40 << 10
	gaugeAgain = time.Millisecond
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
	marks []mark    // under way, oldest first
	doubt bool      // whether Kamailio knows our copies: a mark is to tell
	since uint64    // of doubt: the last place when it began
	// sighted: a response was the last that moved read; else a mark was, or nothing.
	sighted bool
	size    uint64 // of the socket, as the kernel says; 0: it does not, and marks are needed
}

// mark is an OPTIONS that is not answered yet.
type mark struct {
	branch uint64
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
	m := mark{branch: newBranch(), place: p.next(smallRoom, now), at: now}
	p.marks = append(p.marks, m)
	return m.branch
}

// marked is the place up to which an answer to a mark will tell, or has.
func (p *sipPace) marked() uint64 {
	if n := len(p.marks); n > 0 {
		return p.marks[n-1].place
	}
	return p.read
}

// behind reports whether a mark is to go behind what was just sent: the devices are
// distant, or silent, so that no response will tell in time that it was read.
func (p *sipPace) behind() bool {
	return p.size == 0 && !p.sighted && !p.doubt && len(p.marks) < maxMarks && p.sent-max(p.marked(), p.read) >= markEvery
}

// answered takes the response to a mark; false if that is none.
func (p *sipPace) answered(branch uint64, now time.Time) bool {
	i := slices.IndexFunc(p.marks, func(m mark) bool { return m.branch == branch })
	if i < 0 {
		return false
	}
	place := p.marks[i].place
	p.marks = slices.Delete(p.marks, 0, i+1)
	p.reach(place, now)
	p.doubt = p.doubt && place <= p.since
	p.sighted = false
	return true
}

// reach notes that a request was read.
func (p *sipPace) reach(place uint64, now time.Time) {
	if place <= p.read {
		return
	}
	p.read, p.moved, p.sighted = place, now, true
}

// level is what the kernel says of a socket, in bytes as it counts them.
type level struct {
	used, size uint64
	drops      uint64 // datagrams that did not fit, since it was opened
}

// gauged takes what the kernel says of Kamailio's socket. All that lies in it counts, and not
// only our requests: responses of devices do, too.
func (p *sipPace) gauged(l level) {
	p.sent = max(p.sent, l.used)
	p.read, p.size = p.sent-l.used, l.size
}

// unsure reports whether so much may be unread that the kernel is to be asked.
func (p *sipPace) unsure() bool { return p.sent-p.read > gaugeFrom }

// distrust stops all copies until a mark that is sent from now on is answered.
func (p *sipPace) distrust() {
	if !p.doubt {
		p.doubt, p.since = true, p.sent
	}
}

func (p *sipPace) window() uint64 {
	if p.size > 0 { // never so little that the kernel would not be asked again
		return min(linkWindow, max(p.size/2, 2*gaugeFrom))
	}
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
	if len(p.marks) > 0 && now.Sub(p.marks[0].at) >= markLost {
		p.forget()
	}
	switch {
	case !p.full():
		return 0, false
	case p.doubt && p.marked() <= p.since:
		return 0, true
	case p.size > 0 && !p.doubt:
		return gaugeAgain, false
	case len(p.marks) > 0:
		return p.marks[0].at.Add(markLost).Sub(now), false
	}
	d = p.moved.Add(markAfter).Sub(now)
	return max(d, 0), d <= 0
}

// forget takes all that was sent for read.
func (p *sipPace) forget() {
	*p = sipPace{sent: p.sent, read: p.sent, marks: p.marks[:0], size: p.size}
}
