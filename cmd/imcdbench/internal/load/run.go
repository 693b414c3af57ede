package load

import (
	"sync/atomic"
	"time"
)

// Room is a room of the load: its members are numbered in one piece.
type Room struct {
	Name    string // user part of its URI
	Sender  string // user part of who writes to it, a member that gets nothing
	Base    int    // number of its first member
	Members int    // that get its messages; the sender is none of them
}

// message is one message on its way to the members of a room. The client makes
// it, the sockets of the sink fill it in.
type message struct {
	room  *Room
	since time.Time // when it was sent first

	got   []atomic.Uint32 // by member: the branch that came first; 0: nothing yet
	want  int             // members that answer
	count atomic.Int32    // of these, how many have it
}

// run is what a client sends in one go, and what came of it. The counters are
// added to by the sockets of the sink and read by the client.
type run struct {
	number uint32
	// slots are the messages by number; nil: not sent yet. Written by the
	// client.
	slots []atomic.Pointer[message]
	// full takes the messages that all members have. over is closed when
	// nobody takes them any more.
	full chan full
	over chan struct{}

	last            atomic.Int64 // newest delivery, in ns since start
	start           time.Time
	deliveries      atomic.Int64 // first arrivals
	duplicates      atomic.Int64 // arrivals with another branch than the first
	retransmissions atomic.Int64 // arrivals with the same branch
	silent          atomic.Int64 // first arrivals at silent members, which are no deliveries
	silentAgain     atomic.Int64 // all further ones at these
}

// full says when the last member had a message.
type full struct {
	message uint32
	at      time.Time
}

// note takes an arrival. False: it belongs to no message of this run.
func (r *run) note(a arrival, silent bool, now time.Time) bool {
	if r == nil || a.mark.run != r.number || int(a.mark.message) >= len(r.slots) {
		return false
	}
	m := r.slots[a.mark.message].Load()
	if m == nil {
		return false
	}
	i := int(a.member) - m.room.Base
	if i < 0 || i >= len(m.got) {
		return false
	}
	first := m.got[i].CompareAndSwap(0, a.branch)
	if !first || silent {
		counter := &r.duplicates
		switch {
		case first:
			counter = &r.silent
		case silent:
			counter = &r.silentAgain
		case m.got[i].Load() == a.branch:
			counter = &r.retransmissions
		}
		counter.Add(1)
		return true
	}
	r.deliveries.Add(1)
	r.last.Store(int64(now.Sub(r.start)))
	if int(m.count.Add(1)) == m.want {
		select {
		case r.full <- full{a.mark.message, now}:
		case <-r.over:
		}
	}
	return true
}
