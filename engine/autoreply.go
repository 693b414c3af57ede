package engine

import (
	"bytes"
	"hash/maphash"
	"time"
)

// Two members whose clients answer every message by themselves ("I am away") would answer each other for
// ever. Such a text does not say that a program wrote it; but it is the same each time, or contains the
// text that it answers, and it follows a message of another member. A person who does that more than
// auto_replies times within autoReplyTime of each other counts as a program, too.

const (
	// autoReplyTime is how soon a message must follow the sender's last one to count. A refused sender must
	// be silent for so long.
	autoReplyTime = 10 * time.Second
	// autoRepliers is how many senders of a room are remembered: the last ones.
	autoRepliers = 8
	// minEcho is the shortest text that counts as repeated when a message holds it.
	minEcho = 4
	// maxEcho is the longest text that is kept to be compared.
	maxEcho = 512
)

// autoReplies finds members that answer by themselves.
type autoReplies struct {
	seed    maphash.Seed
	senders [autoRepliers]autoReplier
	last    []byte // the last text; empty if that is longer than maxEcho
	sender  string // key of who said it
}

// autoReplier remembers one sender. The zero value is free.
type autoReplier struct {
	key  string // of the user
	text uint64 // hash of its last message
	at   time.Time
	seq  uint64 // the number of the room's next message at that time
	same int    // answers in a row that look automatic
}

// take notes a message of a sender and reports whether it is one automatic answer more than most. next
// is the number that the message would get.
func (a *autoReplies) take(sender string, body []byte, next uint64, most int, now time.Time) bool {
	s := a.find(sender)
	text := maphash.Bytes(a.seed, body)
	echo := a.sender != sender && len(a.last) >= minEcho && bytes.Contains(body, a.last)
	switch {
	case s.key != sender || now.Sub(s.at) > autoReplyTime:
		*s = autoReplier{key: sender}
	case s.text != text && !echo:
		s.same = 0
	case next > s.seq+1 || s.same > most: // somebody else has written, or it is being refused
		s.same++
	}
	s.text, s.at = text, now
	if s.same > most {
		return true
	}
	s.seq = next
	a.last, a.sender = a.last[:0], sender
	if len(body) <= maxEcho {
		a.last = append(a.last, body...)
	}
	return false
}

// find returns the entry of a sender, or else the one that has been silent longest.
func (a *autoReplies) find(sender string) *autoReplier {
	oldest := &a.senders[0]
	for i := range a.senders {
		s := &a.senders[i]
		if s.key == sender {
			return s
		}
		if s.at.Before(oldest.at) {
			oldest = s
		}
	}
	return oldest
}
