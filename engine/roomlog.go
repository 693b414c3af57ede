package engine

import (
	"time"

	"imcd/evapi"
)

// entry is one message or notice for all live members of a room.
type entry struct {
	out    *evapi.Outgoing
	via    *evapi.Conn // the Kamailio that it came through; nil for any
	skip   string      // key of its sender, who does not get it back; empty for notices
	sentOn string      // the sender's device, as in store.MessageRow: the others get it
	size   int         // bytes it is charged with
	owed   int         // followers that must still pass it
	seq    uint64      // number of the message; 0 for a notice
	at     time.Time   // when it was accepted

	expires time.Time // when it is not delivered any more; zero: never
	line    bool      // it stands before the next message, and goes with it
}

// roomLog has the entries that followers of a room must still get, numbered without gaps. An
// entry leaves it when the last follower has passed it, or when the log is above its limits.
type roomLog struct {
	entries []entry
	base    uint64 // number of entries[0]
	bytes   int
	gone    uint64 // number of the last message that has left it
}

func (l *roomLog) end() uint64 { return l.base + uint64(len(l.entries)) }

// at returns entry n, which must be in the log. The pointer is valid until the log changes.
func (l *roomLog) at(n uint64) *entry { return &l.entries[n-l.base] }

func (l *roomLog) append(e entry) {
	l.entries = append(l.entries, e)
	l.bytes += e.size
}

// pop removes the oldest entry and returns the bytes it was charged with.
func (l *roomLog) pop() int {
	size := l.entries[0].size
	l.gone = max(l.gone, l.entries[0].seq)
	l.entries[0] = entry{}
	l.entries = l.entries[1:]
	l.base++
	l.bytes -= size
	if len(l.entries) == 0 {
		l.entries = nil // frees the array
	}
	return size
}

// trim removes entries that all followers have passed and returns their bytes.
func (l *roomLog) trim() int {
	freed := 0
	for len(l.entries) > 0 && l.entries[0].owed <= 0 {
		freed += l.pop()
	}
	return freed
}
