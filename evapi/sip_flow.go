package evapi

import (
	"math/bits"
	"slices"
	"time"
)

const (
	// linkBatch is the number of copies that go at a time.
	linkBatch = 32
	// linkWindow is the part of the buffer of Kamailio's socket that unread requests may
	// take, in bytes as Linux counts them. Linux grants 425984 by default, of which it may
	// withhold a quarter: the rest is for calls and registrations, which wait behind these
	// for a few milliseconds. With less, Kamailio's workers go to sleep in between, and to
	// wake them costs as much as a copy does.
	linkWindow = 208 << 10
	// blindWindow is the same while no responses report how much was read: all of them may
	// have to fit, too.
	blindWindow = 128 << 10
	// minDatagram is the part of the buffer that a datagram takes at least.
	minDatagram = 1280
	// markEvery is the distance from one mark to the next while only marks report how much
	// was read: the second half of a window is on its way when the answer for the first half
	// comes, so that distant devices cost no time.
	markEvery = blindWindow / 2
	// maxMarks bounds the unanswered marks.
	maxMarks = 4
	// markAfter is the time without any response until a mark is sent: an OPTIONS that
	// Kamailio answers by itself once it has read everything before it. Devices that answer at
	// once make marks needless.
	markAfter = time.Millisecond
	// minWindow is the window in a small socket, in bytes.
	minWindow = 80 << 10
	// gaugeAgain is when the kernel is asked again if too much is unread.
	gaugeAgain = time.Millisecond
	// markLost is the time after which a mark, and everything before it, counts as lost.
	markLost = 250 * time.Millisecond
)

// socketBytes is the part of a socket's buffer that a datagram of size bytes takes at most:
// it lies in a piece of a power of two.
func socketBytes(size int) uint64 {
	const headers, more = 384, 256
	return max(minDatagram, uint64(1)<<bits.Len(uint(size+headers-1))+more)
}

// sipFlow bounds the part of a link's requests that Kamailio has not read. Each request has
// a place, in the order of sending: the bytes that it and all before it have taken in the
// socket. So a response to one reports on those before it. The link's mutex guards it.
type sipFlow struct {
	sent  uint64    // the last place
	read  uint64    // the last place that was read, or counts as lost
	moved time.Time // when read last changed, or the first unread byte was sent
	marks []mark    // unanswered, oldest first
	size  uint64    // of the socket, as the kernel reports; 0: unknown, and marks are needed

	mustVerify bool   // Kamailio may not know our copies: nothing is sent until a mark is answered
	since      uint64 // the last place when mustVerify was set
	responsive bool   // a response was the last that moved read, and not a mark
}

// mark is an OPTIONS without an answer yet.
type mark struct {
	branch uint64
	place  uint64
	at     time.Time
}

// next returns the place of a request that is sent now and takes so many bytes.
func (f *sipFlow) next(bytes uint64, now time.Time) uint64 {
	if f.sent == f.read {
		f.moved = now
	}
	f.sent += bytes
	return f.sent
}

// ask begins a mark that is sent now, and returns its branch.
func (f *sipFlow) ask(now time.Time) uint64 {
	m := mark{branch: newBranch(), place: f.next(minDatagram, now), at: now}
	f.marks = append(f.marks, m)
	return m.branch
}

// marked is the place of the last mark; without marks, read.
func (f *sipFlow) marked() uint64 {
	if n := len(f.marks); n > 0 {
		return f.marks[n-1].place
	}
	return f.read
}

// behind reports whether a mark is to follow the last requests: the devices are distant, or
// silent, so that no response will report in time that they were read.
func (f *sipFlow) behind() bool {
	return f.size == 0 && !f.responsive && !f.mustVerify && len(f.marks) < maxMarks &&
		f.sent-max(f.marked(), f.read) >= markEvery
}

// answered takes the response to a mark; false if it is none.
func (f *sipFlow) answered(branch uint64, now time.Time) bool {
	i := slices.IndexFunc(f.marks, func(m mark) bool { return m.branch == branch })
	if i < 0 {
		return false
	}
	place := f.marks[i].place
	f.marks = slices.Delete(f.marks, 0, i+1)
	f.reach(place, now)
	f.mustVerify = f.mustVerify && place <= f.since
	f.responsive = false
	return true
}

// reach notes that a request was read.
func (f *sipFlow) reach(place uint64, now time.Time) {
	if place <= f.read {
		return
	}
	f.read, f.moved, f.responsive = place, now, true
}

// level is the kernel's report on a socket, in bytes as it counts them.
type level struct {
	used, size uint64
	drops      uint64 // datagrams that did not fit, since it was opened
}

// gauged takes the level of Kamailio's socket. Everything in it counts, responses of devices
// included, and not only our requests.
func (f *sipFlow) gauged(l level) {
	f.sent = max(f.sent, l.used)
	f.read, f.size = f.sent-l.used, l.size
}

// unsure reports whether so much may be unread, as far as responses report, that a batch would have to wait: the
// kernel is to be asked.
func (f *sipFlow) unsure() bool { return f.sent-f.read > f.limit()-linkBatch*minDatagram }

// verify stops all copies until a mark that is sent from now on is answered.
func (f *sipFlow) verify() {
	if !f.mustVerify {
		f.mustVerify, f.since = true, f.sent
	}
}

// limit is the number of bytes that may be unread.
func (f *sipFlow) limit() uint64 {
	if f.size > 0 {
		return min(linkWindow, max(f.size/2, minWindow))
	}
	if f.responsive {
		return linkWindow
	}
	return blindWindow
}

// left reports whether one more may go with the others of its batch.
func (f *sipFlow) left() bool { return f.sent-f.read < f.limit() }

// full reports whether a batch must wait.
func (f *sipFlow) full() bool { return f.mustVerify || f.unsure() }

// hold is the time that a batch must wait, at most; 0: it may go. If ask, a mark is to be
// sent now.
func (f *sipFlow) hold(now time.Time) (d time.Duration, ask bool) {
	if len(f.marks) > 0 && now.Sub(f.marks[0].at) >= markLost {
		f.forget()
	}
	switch {
	case !f.full():
		return 0, false
	case f.mustVerify && f.marked() <= f.since:
		return 0, true
	case f.size > 0 && !f.mustVerify:
		return gaugeAgain, false
	case len(f.marks) > 0:
		return f.marks[0].at.Add(markLost).Sub(now), false
	}
	d = f.moved.Add(markAfter).Sub(now)
	return max(d, 0), d <= 0
}

// forget counts everything as read.
func (f *sipFlow) forget() {
	*f = sipFlow{sent: f.sent, read: f.sent, marks: f.marks[:0], size: f.size}
}
