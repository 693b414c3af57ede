package engine

import "imcd/evapi"

// entry is one thing that goes to all live members of a room.
type entry struct {
	out     *evapi.Outgoing
	via     *evapi.Conn // the Kamailio that it came through; nil for any
	skip    *member     // its sender, who does not get it back; nil for notices
	size    int         // bytes it is charged with
	owed    int         // live members that have not passed it yet
	message bool        // a message of a member, not a notice
}

// roomLog is what a room still owes to members: entries numbered without gaps.
// An entry leaves it when the last member has passed it, or when the log is over
// its limits. Owned by the room's shard.
type roomLog struct {
	entries []entry
	base    uint64 // number of entries[0]
	bytes   int
}

func (l *roomLog) end() uint64 { return l.base + uint64(len(l.entries)) }

// at returns entry n, which must be in the log. The pointer holds until the log
// changes.
func (l *roomLog) at(n uint64) *entry { return &l.entries[n-l.base] }

func (l *roomLog) append(e entry) {
	l.entries = append(l.entries, e)
	l.bytes += e.size
}

// pop removes the oldest entry and returns the bytes it was charged with.
func (l *roomLog) pop() int {
	size := l.entries[0].size
	l.entries[0] = entry{}
	l.entries = l.entries[1:]
	l.base++
	l.bytes -= size
	if len(l.entries) == 0 {
		l.entries = nil // lets the array go
	}
	return size
}

// pass notes that one member is done with entry n and returns the bytes that
// this freed.
func (l *roomLog) pass(n uint64) int {
	if n < l.base {
		return 0
	}
	l.at(n).owed--
	freed := 0
	for len(l.entries) > 0 && l.entries[0].owed <= 0 {
		freed += l.pop()
	}
	return freed
}
