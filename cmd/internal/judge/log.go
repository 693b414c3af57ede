package judge

import (
	"fmt"
	"slices"
	"sync"
	"time"
)

// Message is a text that a phone has said in a room, with all its tries.
type Message struct {
	Room   string // SIP URI
	Sender string // user part
	Body   string // no other message has it
	Code   int    // of the last final response; 0: none yet
	Tries  int
	Begun  time.Time // of the first try
	Ended  time.Time // when Code came
}

// accepted reports whether the message was answered 2xx.
func (m *Message) accepted() bool { return m.Code >= 200 && m.Code < 300 }

// Copy is a message that reached a member's phone.
type Copy struct {
	Room   string // SIP URI
	Member string // user part
	Body   string // of the Message
	CallID string
}

// Log is what all phones of a test write down. It is safe for concurrent use.
type Log struct {
	mu       sync.Mutex
	messages []*Message          // in the order of their first tries; by mu
	byBody   map[string]*Message // by mu
	copies   []Copy              // in the order of arrival; by mu
	firsts   map[string]int      // members that have a message, by its body; by mu
	arrived  map[arrival]bool    // by mu
	codes    map[int]int         // how often each final status came; by mu
	accepted int                 // messages answered 2xx; by mu
	strange  int                 // requests that are no copy of a message; by mu
}

type arrival struct{ member, body string }

// NewLog returns an empty Log.
func NewLog() *Log {
	return &Log{byBody: make(map[string]*Message), firsts: make(map[string]int), arrived: make(map[arrival]bool),
		codes: make(map[int]int)}
}

// Begin notes that a message is about to be sent for the first time.
func (l *Log) Begin(room, sender, body string, at time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	m := &Message{Room: room, Sender: sender, Body: body, Begun: at}
	l.messages = append(l.messages, m)
	l.byBody[body] = m
}

// Answered notes the outcome of a try; code 0: no final response came.
func (l *Log) Answered(body string, code int, at time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	m := l.byBody[body]
	m.Tries++
	l.codes[code]++
	if code == 0 {
		return
	}
	m.Code, m.Ended = code, at
	if m.accepted() {
		l.accepted++
	}
}

// Arrived notes a copy. A body that nobody has said is the text of something else, as of a notice:
// it is only counted.
func (l *Log) Arrived(c Copy) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.byBody[c.Body] == nil {
		l.strange++
		return
	}
	l.copies = append(l.copies, c)
	if a := (arrival{c.Member, c.Body}); !l.arrived[a] {
		l.arrived[a] = true
		l.firsts[c.Body]++
	}
}

// Accepted is the number of messages that were answered 2xx.
func (l *Log) Accepted() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.accepted
}

// Codes counts the final responses of all tries; those without one are under 0.
func (l *Log) Codes() map[int]int {
	l.mu.Lock()
	defer l.mu.Unlock()
	codes := make(map[int]int)
	for code, n := range l.codes {
		codes[code] = n
	}
	return codes
}

// Copies is the number of copies so far, and how many of them were the first of their member.
func (l *Log) Copies() (all, firsts int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.copies), len(l.arrived)
}

// Messages returns all messages so far, in the order of their first tries.
func (l *Log) Messages() []Message {
	l.mu.Lock()
	defer l.mu.Unlock()
	list := make([]Message, len(l.messages))
	for i, m := range l.messages {
		list[i] = *m
	}
	return list
}

// Missing counts copies of messages answered 2xx that have not arrived yet, if each room has so many
// members, by its URI. The sender gets none. The text names one of them.
func (l *Log) Missing(members map[string]int) (n int, example string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, m := range l.messages {
		if left := members[m.Room] - 1 - l.firsts[m.Body]; m.accepted() && left > 0 {
			n += left
			example = fmt.Sprintf("%q in %s", m.Body, m.Room)
		}
	}
	return n, example
}

// Evidence is what the phones have written down, in rooms with these members.
func (l *Log) Evidence(members map[string][]string) *Evidence {
	e := &Evidence{Members: members, Messages: l.Messages()}
	l.mu.Lock()
	defer l.mu.Unlock()
	e.Copies = slices.Clone(l.copies)
	return e
}
