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
// It knows no logs, pages or copies under way.

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
	shown   map[string]uint64 // what those who left may have displayed: a crash may bring that back with them
	talked  time.Time         // when something was said last
	front   uint64            // the last number that any of them has got
}

// mayRefuse tells whether messages may be refused because those before come late:
// nobody has what was said last, and it is some time ago that a message was said
// which is still owed.
func (r *refRoom) mayRefuse(w *world) bool {
	return w.cfg.MaxDelay > 0 && r.front < r.last() &&
		slices.ContainsFunc(slices.Collect(maps.Values(r.members)), func(m *refMember) bool {
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
	at    uint64            // the last number that is surely done with: arrived, refused, counted as missed
	extra uint64            // how many more may be: of what is dropped, its own may have been passed before
	ids   map[string]string // Call-IDs by what was sent
	wait  string
	gone  bool      // its connection is, which is another wait for a registration
	until time.Time // before which it is not to be tried again, unless something happens
	due   time.Time // by which it must have been tried again

	tried     time.Time // when it was tried last and failed
	notBefore time.Time // what it was asked to wait for then

	open   time.Time    // when a message was sent last that has no outcome; zero: none
	first  time.Time    // when it was sent first
	flying place        // where that leads
	conn   *evapi.Conn  // that took it last
	failed evapi.Result // the outcome of it that counts, if not all have none
	tries  int          // of it that have no outcome
	back   bool         // the user has registered since it was sent first
	there  bool         // or has sent something, too late to be on its way to an answer

	notice   time.Time // when a notice was sent that has none; zero: none
	noticeID string    // its Call-ID
	word     bool      // it tells of what was skipped

	shown, mayHaveShown uint64 // what it has displayed: surely, and perhaps

	silent  int // times that message number at+1 was sent and not answered
	said400 int // times that what leads to of400 was answered 400
	of400   uint64
	unshown int  // messages that were skipped, of which it is to hear
	deaf    bool // it does not take that
}

func (r *refRoom) drop(user string) {
	if m := r.members[user]; m != nil {
		r.shown[user] = m.mayHaveShown
	}
	delete(r.members, user)
}

func (r *refRoom) last() uint64 { return uint64(len(r.said)) }

// dropped tells a message that need not be delivered any more.
func (r *refRoom) dropped(n uint64, backlog int) bool {
	return r.said[n-1].pruned || backlog > 0 && n+uint64(backlog) <= r.last()
}

// probe: a message is a reason to try those who have not been tried for a while.
func (r *refRoom) probe(w *world) {
	r.talked = time.Now()
	for _, m := range r.members {
		m.mayProbe(w)
	}
}

func (m *refMember) mayProbe(w *world) {
	if at := maxTime(m.tried.Add(w.cfg.SignEvery), m.notBefore); m.wait != refOnline && at.Before(m.until) {
		m.until = at
	}
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
	offline, refused := []int{404, 410, 480}, []int{413, 415, 488, 606}
	switch {
	case r.Code == 0:
		return "none"
	case r.Local && r.Code == 503:
		return "lost"
	case r.Code < 300 || r.Code == 482:
		return "ok"
	case !r.Local && slices.Contains(offline, r.Code):
		return "offline"
	case slices.Contains(refused, r.Code) || r.Local && r.Code == 400:
		return "refused"
	}
	return "retry"
}

// refState is a state as the reference knows it.
func refState(s string) string {
	switch s {
	case refOffline, refOnline, refReads:
		return s
	case "online":
		return s
	}
	return refFailed
}

// strength orders outcomes: that of a device is believed rather than silence.
func strength(r evapi.Result) int {
	class := refClass(r)
	if special, ok := map[int]string{400: "malformed", 408: "none", 477: "gone"}[r.Code]; ok && !r.Local {
		class = special
	}
	return slices.Index([]string{"refused", "malformed", "retry", "none", "gone", "offline", "lost"}, class)
}

// skips is take for what tells of messages that were skipped, or is sent in the place of
// one.
func (m *refMember) skips(w *world, n int, c got, s sent) error {
	switch {
	case m.unshown == n:
	case m.unshown == 0 && n == 1 && w.cfg.PoisonTries > 0 && m.silent >= w.cfg.PoisonTries:
		n = 0
	default:
		return fmt.Errorf("hears of %d that were skipped, and there were %d, and %d that it did not answer",
			n, m.unshown, m.silent)
	}
	if m.noticeID == c.callID && !m.notice.IsZero() && refClass(s.result) != "ok" {
		m.notice = s.at
		return nil
	}
	m.noticeID, m.word, m.notice = c.callID, true, time.Time{}
	switch class := refClass(s.result); class {
	case "none":
		m.notice, m.back = s.at, false
	case "ok", "refused":
		m.deaf, m.unshown, m.wait = class == "refused", m.unshown-n, refOnline
		if m.deaf {
			m.unshown = 0
		}
		if n == 0 {
			m.at, m.extra, m.silent = m.over(m.at)+1, 0, 0
		}
	default:
		if s.result.Code == 400 {
			m.deaf, m.unshown, m.wait = true, 0, refOnline
			if n == 0 {
				m.at, m.extra = m.over(m.at)+1, 0
			}
		} else {
			m.outcome(w, place{}, s)
		}
		if class != "lost" { // that one is sent again
			m.silent = 0
		}
	}
	return nil
}

// take notes one copy that m was sent, and what came of it.
func (m *refMember) take(w *world, text string, c got, s sent) error {
	if m.wait != refOnline && s.at.Before(m.until) &&
		(!strings.HasPrefix(text, "***") || strings.Contains(text, "dropped")) {
		return fmt.Errorf("tried %v too early", m.until.Sub(s.at))
	}
	if !m.open.IsZero() && c.callID == m.flying.callID {
		return m.repeated(w, s)
	}
	if !m.open.IsZero() && !strings.HasPrefix(text, "*** ") {
		return fmt.Errorf("got %q while %s has no outcome", text, m.flying.callID)
	}
	extra := uint64(0)
	var upto uint64
	var missed int
	if _, err := fmt.Sscanf(plural(text), "*** %d messages of this room were dropped", &missed); err == nil {
		upto, extra, err = m.gap(w, missed)
		if err != nil {
			return err
		}
		text += c.callID // another number is another copy
	} else if _, err := fmt.Sscanf(plural(text), "*** %d messages could not be shown", &missed); err == nil {
		return m.skips(w, missed, c, s)
	} else if strings.HasPrefix(text, "***") {
		switch again := c.callID == m.noticeID; {
		case s.result.Code == 0 || again && !m.notice.IsZero() && refClass(s.result) != "ok":
			if !m.word || m.notice.IsZero() { // else that one goes on to be under way
				m.noticeID, m.word = c.callID, false
			}
			m.notice = s.at // may be one to the room, for which what follows waits
		case again:
			m.notice = time.Time{}
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
	if m.word {
		m.notice = time.Time{} // it has ended, though tick has not come to that
	}
	m.outcome(w, place{upto, extra, uint64(missed), c.callID}, s)
	return nil
}

// plural is a notice of one message as it were of several.
func plural(text string) string {
	return strings.NewReplacer("*** 1 message ", "*** 1 messages ", " was dropped", " were dropped").Replace(text)
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

// gap finds the last of n messages that m, as a notice says, has missed, and how many
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

// repeated notes that a copy was sent again while it was under way.
func (m *refMember) repeated(w *world, s sent) error {
	if !m.back {
		return fmt.Errorf("%s was sent again, and nobody has registered", m.flying.callID)
	}
	if s.at.Sub(m.open) >= answerTime { // else it may have been about to answer
		m.silent++
	}
	m.open, m.conn = s.at, s.conn
	if m.tries++; refClass(s.result) != "none" {
		m.answered(w, s)
	}
	return nil
}

// answered notes the outcome of one of the tries under way: the copy has arrived if one of
// them has, and has failed once all have.
func (m *refMember) answered(w *world, s sent) {
	if m.tries--; refClass(s.result) == "ok" {
		m.open = time.Time{}
		m.isThere(w, s.at)
		m.reach(w, m.flying)
		return
	}
	if m.failed.Code == 0 || strength(s.result) < strength(m.failed) {
		m.failed = s.result
	}
	if m.tries > 0 {
		return
	}
	registered, there := w.registered[m.user].After(m.first), m.back || m.there
	s.result, m.open = m.failed, time.Time{}
	m.outcome(w, m.flying, s)
	if there && m.wait != refOnline {
		m.until = time.Time{}
	}
	if registered && m.wait != refOnline {
		m.due = s.at.Add(time.Second)
	}
}

// isThere: whoever could not be reached and takes something is tried in its other rooms.
func (m *refMember) isThere(w *world, at time.Time) {
	if m.wait != refOnline {
		w.heardOf(m.user, at)
	}
}

func (m *refMember) reach(w *world, p place) {
	m.silent, m.said400, m.deaf = 0, 0, false
	m.at, m.extra, m.wait = p.upto, p.extra, refOnline
	if p.missed == 0 {
		m.room.front = max(m.room.front, p.upto)
	}
	w.missed += p.missed
}

// outcome is what the answer of the phone means for m.
func (m *refMember) outcome(w *world, p place, s sent) {
	class := refClass(s.result)
	if s.result.Code == 400 && !s.result.Local && p.callID != "" {
		if p.upto != m.of400 {
			m.of400, m.said400 = p.upto, 0
		}
		if m.said400++; m.said400 >= malformedTries {
			class = "refused"
		}
	}
	switch class {
	case "none":
		m.open, m.first, m.flying, m.conn = s.at, s.at, p, s.conn
		m.tries, m.failed, m.back, m.there = 1, evapi.Result{}, !s.at.After(w.registered[m.user]), false
	case "ok":
		m.isThere(w, s.at)
		m.reach(w, p)
	case "refused":
		deaf := m.deaf
		m.reach(w, p)
		if m.deaf = deaf; !deaf && p.missed == 0 {
			m.unshown++
		}
	case "offline":
		until, due := s.at.Add(w.cfg.OfflineRetry), s.at.Add(w.cfg.OfflineRetry+time.Second)
		if s.at.Sub(w.settles[m.user]) < settleFor {
			until, due = s.at.Add(settleRetry), s.at.Add(settleRetry+time.Second)
		}
		if !s.at.After(w.woke) {
			until = time.Time{} // its shard may have heard of that after this
		}
		m.tried, m.notBefore = s.at, time.Time{}
		m.putOff(refOffline, until, due)
	case "retry":
		if s.result.Code == 408 {
			m.silent++
		}
		m.tried, m.notBefore = s.at, s.at.Add(min(s.result.RetryAfter, w.cfg.RetryMax))
		pause := max(w.cfg.RetryMin/2, min(s.result.RetryAfter, w.cfg.RetryMax))
		m.putOff(refFailed, s.at.Add(pause), s.at.Add(w.cfg.RetryMax+time.Second))
		if m.gone = s.result.Code == 477; m.gone && !s.at.After(w.woke) {
			m.until = time.Time{}
		}
	}
	if !s.at.After(m.room.talked) {
		m.mayProbe(w)
	}
	if !s.at.After(maxTime(w.heardAt[m.user], w.registered[m.user])) {
		m.until = time.Time{} // its shard may have heard of that after this
	}
	if w.away && m.wait != refOnline {
		m.wait, m.until = refReads, time.Time{}
	}
}

func (m *refMember) putOff(why string, until, due time.Time) {
	m.gone = false
	m.wait, m.until, m.due = why, until, due
}

// tick lets what has no outcome time out.
func (m *refMember) tick(w *world, now time.Time) {
	if !m.notice.IsZero() && now.Sub(m.notice) >= w.cfg.ResultTimeout+2*tick {
		if m.notice = (time.Time{}); m.word {
			m.putOff(refFailed, time.Time{}, now.Add(w.cfg.RetryMax+time.Second))
		}
	}
	if m.open.IsZero() || now.Sub(m.open) < w.cfg.ResultTimeout {
		return
	}
	m.silent++
	m.open = time.Time{}
	if refClass(m.failed) == "refused" {
		m.outcome(w, m.flying, sent{at: now, result: m.failed})
		return
	}
	m.putOff(refReads, time.Time{}, now.Add(w.cfg.RetryMax+time.Second))
}
