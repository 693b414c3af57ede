package engine

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"imcd/evapi"
)

// The reference of the delivery model: what has been accepted, and how far each
// member has come, written down plainly from what its phone was sent and answered.
// It knows no logs, pages or flights.

// refMessage is an accepted message.
type refMessage struct {
	text   string
	sender string
	size   int
	at     time.Time
	pruned bool
}

// refRoom is one incarnation of a room.
type refRoom struct {
	name    string
	said    []refMessage // number n is said[n-1]
	members map[string]*refMember
	front   uint64 // the last number that any of them has got
}

// mayRefuse tells whether messages may be refused because those before come late:
// nobody has what was said last, and it is some time ago that a message was said
// which is still owed.
func (r *refRoom) mayRefuse(w *world) bool {
	return w.cfg.MaxDelay > 0 && r.front < r.last() && slices.ContainsFunc(slices.Collect(maps.Values(r.members)), func(m *refMember) bool {
		return m.at < r.last() && time.Since(r.said[m.at].at) > w.cfg.MaxDelay/2
	})
}

// Why a member is not sent anything for now.
const (
	refOnline  = ""
	refOffline = "offline"
	refFailed  = "retrying"
	refReads   = "unknown" // one of the two, or about to be tried
)

// refMember is how far a member has come.
type refMember struct {
	room  *refRoom
	user  string
	at    uint64            // the last number that is surely done with: arrived, refused, told as missed
	extra uint64            // how many more may be: of what is dropped, its own may have been passed before
	ids   map[string]string // Call-IDs by what was sent
	wait  string
	until time.Time // before which it is not to be tried again, unless something happens
	due   time.Time // by which it must have been tried again

	open   time.Time // when a message was sent that has no outcome; zero: none
	flying place     // where that leads
	notice time.Time // when a notice was sent that has none; zero: none
}

func (r *refRoom) last() uint64 { return uint64(len(r.said)) }

// dropped tells a message that need not be delivered any more.
func (r *refRoom) dropped(n uint64, backlog int) bool {
	return r.said[n-1].pruned || backlog > 0 && n+uint64(backlog) <= r.last()
}

// prune is what Limits say, at a given moment.
func (r *refRoom) prune(c *Config, now time.Time) {
	count, bytes := 0, 0
	for i := len(r.said) - 1; i >= 0; i-- {
		m := &r.said[i]
		if m.pruned {
			return
		}
		count++
		bytes += m.size
		if c.RoomMessages > 0 && count > c.RoomMessages || c.RoomBytes > 0 && bytes > c.RoomBytes ||
			c.MessageAge > 0 && m.at.Before(now.Add(-c.MessageAge)) {
			for j := range i + 1 {
				r.said[j].pruned = true
			}
			return
		}
	}
}

// own is how far m may be, with what it said itself.
func (m *refMember) own() uint64 { return m.over(m.at + m.extra) }

// over is number n, moved on over what m said itself.
func (m *refMember) over(n uint64) uint64 {
	for n < m.room.last() && m.room.said[n].sender == m.user {
		n++
	}
	return n
}

// refClass is what a result means, from the list of outcomes.
func refClass(r evapi.Result) string {
	offline, refused := []int{404, 410, 480}, []int{403, 405, 413, 415, 488, 606}
	switch {
	case r.Code == 0:
		return "none"
	case r.Local && r.Code == 503:
		return "lost"
	case r.Code < 300:
		return "ok"
	case !r.Local && slices.Contains(offline, r.Code):
		return "offline"
	case slices.Contains(refused, r.Code) || r.Local && r.Code == 400:
		return "refused"
	}
	return "retry"
}

// take notes one copy that m was sent, and what came of it.
func (m *refMember) take(w *world, text string, c got, s sent) error {
	if m.wait != refOnline && s.at.Before(m.until) && (!strings.HasPrefix(text, "***") || strings.Contains(text, "dropped")) {
		return fmt.Errorf("tried %v too early", m.until.Sub(s.at))
	}
	if !m.open.IsZero() && !strings.HasPrefix(text, "*** ") {
		return fmt.Errorf("got %q while %s has no outcome", text, m.flying.callID)
	}
	extra := uint64(0)
	var upto uint64
	var missed int
	if _, err := fmt.Sscanf(text, "*** %d messages of this room were dropped", &missed); err == nil {
		upto, extra, err = m.gap(w, missed)
		if err != nil {
			return err
		}
		text += c.callID // another number is another copy
	} else if strings.HasPrefix(text, "***") {
		if s.result.Code == 0 {
			m.notice = s.at // may be one to the room, for which what follows waits
		}
		return nil
	} else if upto, err = m.message(w, text); err != nil {
		return err
	}
	if old, again := m.ids[text]; again && old != c.callID {
		return fmt.Errorf("%q came with Call-ID %s before and now with %s", text, old, c.callID)
	}
	m.ids[text] = c.callID
	if other := w.ids[c.callID]; other != "" && other != m.user+m.room.name+text {
		return fmt.Errorf("Call-ID %s is that of %s", c.callID, other)
	}
	w.ids[c.callID] = m.user + m.room.name + text
	if missed == 0 {
		m.at, m.extra = upto-1, 0
	}
	m.outcome(w, place{upto, extra, uint64(missed), c.callID}, s)
	return nil
}

// message finds the number of a message that m is sent: the first that it has not
// got yet and has not said itself.
func (m *refMember) message(w *world, text string) (uint64, error) {
	_, text, _ = strings.Cut(text, "]: ")
	i := slices.IndexFunc(m.room.said, func(r refMessage) bool { return r.text == text })
	n := uint64(i + 1)
	switch lowest, highest := m.over(m.at)+1, m.own()+1; {
	case i < 0:
		return 0, fmt.Errorf("%q was never said here", text)
	case m.room.said[i].sender == m.user:
		return 0, fmt.Errorf("got its own message %d", n)
	case n < lowest:
		return 0, fmt.Errorf("got message %d again, having all up to %d", n, lowest-1)
	case n > highest:
		return 0, fmt.Errorf("got message %d, having all up to %d", n, highest-1)
	}
	return n, m.mayMiss(w, n-1)
}

// mayMiss looks whether all that m has not got up to a number may be dropped.
func (m *refMember) mayMiss(w *world, upto uint64) error {
	for n := m.at + 1; n <= upto; n++ {
		if m.room.said[n-1].sender != m.user && !m.room.dropped(n, w.cfg.MemberBacklog) {
			return fmt.Errorf("is to have missed %d to %d, but message %d is there", m.at+1, upto, n)
		}
	}
	return nil
}

// gap finds the last of n messages that m is told to have missed, and how many
// more there may be.
func (m *refMember) gap(w *world, n int) (upto, extra uint64, err error) {
	upto = m.at + uint64(n)
	if n < 1 || upto > m.room.last() {
		return 0, 0, fmt.Errorf("missed %d after %d of %d", n, m.at, m.room.last())
	}
	return upto, min(m.own()-m.at, m.room.last()-upto), m.mayMiss(w, upto)
}

// place is where a copy leads to when it is done with.
type place struct {
	upto, extra, missed uint64
	callID              string
}

func (m *refMember) reach(w *world, p place) {
	m.at, m.extra, m.wait = p.upto, p.extra, refOnline
	if p.missed == 0 {
		m.room.front = max(m.room.front, p.upto)
	}
	w.missed += p.missed
}

// outcome is what the answer of the phone means for m.
func (m *refMember) outcome(w *world, p place, s sent) {
	switch refClass(s.result) {
	case "none":
		m.open, m.flying = s.at, p
	case "ok", "refused":
		m.reach(w, p)
	case "offline":
		until := s.at.Add(w.cfg.OfflineRetry)
		if !s.at.After(w.woke) {
			until = time.Time{} // its shard may have heard of that after this
		}
		m.putOff(refOffline, until, s.at.Add(w.cfg.OfflineRetry+time.Second))
	case "retry":
		m.putOff(refFailed, s.at.Add(max(retryMin/2, min(s.result.RetryAfter, w.cfg.RetryMax))), s.at.Add(w.cfg.RetryMax+time.Second))
	}
	if w.away && m.wait != refOnline {
		m.wait, m.until = refReads, time.Time{}
	}
}

func (m *refMember) putOff(why string, until, due time.Time) {
	m.wait, m.until, m.due = why, until, due
}

// tick lets what has no outcome time out.
func (m *refMember) tick(w *world, now time.Time) {
	if !m.notice.IsZero() && now.Sub(m.notice) >= w.cfg.ResultTimeout+2*tick {
		m.notice = time.Time{}
	}
	if !m.open.IsZero() && now.Sub(m.open) >= w.cfg.ResultTimeout {
		m.open = time.Time{}
		m.putOff(refReads, time.Time{}, now.Add(w.cfg.RetryMax+time.Second))
	}
}
