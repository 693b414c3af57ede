package engine

import (
	"fmt"
	"time"
)

// States of a member (MemberDetail.StateCode).
const (
	StateOnline  = "online"  // its phone took the last copy
	StateOffline = "offline" // no device is registered
	StateLost    = "lost"    // the connection of its device is gone while the registration lasts
	StateSilent  = "silent"  // its phone does not answer
	StateFailing = "failing" // its phone answers, and does not take the message now
	StateWaiting = "waiting" // it had missed something when imcd was started, and is about to be tried
	StateUnknown = "unknown" // nothing was sent to it yet
	StateInvited = "invited" // it has the invitation
	StateUntold  = "untold"  // the invitation waits
)

func (m *member) stateCode() string {
	if m.wait == nil {
		if c := m.last.code(); c >= 200 && c < 300 {
			return StateOnline
		}
		return StateUnknown
	}
	switch m.wait.why {
	case arrived:
		return StateWaiting
	case offline:
		return StateOffline
	case gone:
		return StateLost
	case silent:
		return StateSilent
	}
	return StateFailing
}

// state is the same in words.
func (m *member) state(now time.Time) string {
	w := m.wait
	switch code := m.stateCode(); code {
	case StateOffline:
		return "offline since " + localTime(w.since, now) + ": no device registered"
	case StateLost:
		return "connection lost at " + localTime(w.since, now) + ", waits for its registration"
	case StateSilent:
		return fmt.Sprintf("phone does not answer since %s, %s", localTime(w.since, now), triesInWords(w.tries))
	case StateFailing:
		code := m.last.code()
		return fmt.Sprintf("not taken since %s, %s: %d %s", localTime(w.since, now), triesInWords(w.tries), code,
			Reason(code))
	case StateWaiting:
		return "has missed messages, is about to be tried"
	case StateUnknown:
		return "unknown: nothing was sent yet"
	default:
		return code
	}
}

// invitation is the state of somebody who is invited, in words and as a code.
func (m *member) invitation() (words, code string) {
	if m.invitationArrived {
		return "has the invitation", StateInvited
	}
	return "gets the invitation once a device is registered", StateUntold
}

func triesInWords(n int) string {
	if n == 1 {
		return "1 try"
	}
	return fmt.Sprint(n, " tries")
}

// localTime is a time for somebody who reads it now.
func localTime(at, now time.Time) string {
	at, now = at.Local(), now.Local()
	if at.Format(time.DateOnly) == now.Format(time.DateOnly) {
		return at.Format("15:04")
	}
	return at.Format("2006-01-02 15:04")
}

// LossInfo counts the messages that a member has lost since imcd was started.
type LossInfo struct {
	Count  uint64    `json:"count"`
	Seq    uint64    `json:"seq"`            // number of the last of these messages
	Reason string    `json:"reason"`         // refused, unsendable, no answer or by operator
	Code   int       `json:"code,omitempty"` // SIP status that it was answered
	At     time.Time `json:"at"`
}

// info is nil if nothing is lost.
func (l losses) info() *LossInfo {
	if l.n == 0 {
		return nil
	}
	return &LossInfo{Count: l.n, Seq: l.seq, Reason: l.why, Code: l.code, At: l.at}
}
