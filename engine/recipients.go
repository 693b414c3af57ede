package engine

import (
	"hash/maphash"
	"time"
)

// A copy that waits for its recipient's answer may hold up that recipient only.

const (
	// userCopies bounds the copies under way to one user in a shard: who is silent in a
	// thousand rooms gets no thousand copies at a time.
	userCopies = 8
	// recipientSlots is how many numbers users have, in recipients.
	recipientSlots = 1 << 13
	// slotCopies is from how many copies to users with the same number on these are counted
	// by name, too.
	slotCopies = userCopies / 2
	// nearTime is within what time a phone answers that is near: it takes longer to get
	// through a busy Kamailio, but not often.
	nearTime = 10 * time.Millisecond
	// nearTries is how many answers in a row take longer until it counts as far.
	nearTries = 4
)

// recipients counts the copies under way by recipient. Owned by its shard.
type recipients struct {
	seed  maphash.Seed
	under []uint16           // copies under way by the hash of the user's key, which several may have
	near  []uint8            // the same for how many answers may take longer until the user counts as far; 0: it does
	named map[string]uint16  // by user key, of those that were sent while there were slotCopies of the same hash
	wait  map[string][]aside // members that wait until fewer are under way to their user, by key
}

// aside is a member that waits outside of its room's turns, with member.queued set.
type aside struct {
	room   *room
	member *member
}

func newRecipients(seed maphash.Seed) recipients {
	return recipients{seed: seed, under: make([]uint16, recipientSlots), near: make([]uint8, recipientSlots),
		named: make(map[string]uint16),
		wait:  make(map[string][]aside)}
}

func (c *recipients) slot(user string) uint16 {
	return uint16(maphash.String(c.seed, user) % recipientSlots)
}

// add counts one more.
func (c *recipients) add(f *flight) {
	f.slot = c.slot(f.to())
	if f.named = c.under[f.slot] >= slotCopies; f.named {
		c.named[f.to()]++
	}
	c.under[f.slot]++
}

// most reports whether so many copies are under way to a user. For a user whose number
// others have, these may be slotCopies fewer.
func (c *recipients) most(user string, n int) bool {
	return int(c.under[c.slot(user)]) >= n && int(c.named[user]) >= n-slotCopies
}

// answered notes how long the answer to f took.
func (c *recipients) answered(f *flight, took time.Duration) {
	if took <= nearTime {
		c.near[f.slot] = nearTries
	} else if c.near[f.slot] > 0 {
		c.near[f.slot]--
	}
}

// isNear tells whether the answer to f will come soon, unless something on its way is stuck.
func (c *recipients) isNear(f *flight) bool { return c.near[f.slot] > 0 }

// leftRecipient counts f off, and lets the next copy to its recipient go.
func (s *shard) leftRecipient(f *flight) {
	c, user := &s.recipients, f.to()
	c.under[f.slot]--
	if f.named {
		if c.named[user]--; c.named[user] == 0 {
			delete(c.named, user)
		}
	}
	s.letNext(user)
}

// letNext lets the next member have its turn that waits for fewer copies to its user. Each
// that had its turn without being sent anything calls it: another one may go instead.
func (s *shard) letNext(user string) {
	wait := s.recipients.wait
	if len(wait) == 0 || len(wait[user]) == 0 {
		return
	}
	next := wait[user][0]
	if wait[user] = wait[user][1:]; len(wait[user]) == 0 {
		delete(wait, user)
	}
	s.back(next)
}

// anyTo reports whether copies are under way to one of these users, or may be.
func (s *shard) anyTo(users map[string]bool) bool {
	for user := range users {
		if s.recipients.under[s.recipients.slot(user)] > 0 {
			return true
		}
	}
	return false
}

// waitsAside lets m, whose turn it is, wait elsewhere if so many copies are under way to
// its user, or to suspects. Nobody waits for it then.
func (s *shard) waitsAside(r *room, m *member) bool {
	switch {
	case s.recipients.most(m.key, max(userCopies, 2*s.engine.cfg.MemberWindow)):
		s.recipients.wait[m.key] = append(s.recipients.wait[m.key], aside{r, m})
	case m.suspect() && s.engine.credits.suspectsLeft() <= 0:
		s.aside = append(s.aside, aside{r, m})
	default:
		return false
	}
	m.queued = beside
	return true
}

// back lets a member that waited have its turn.
func (s *shard) back(a aside) {
	a.member.queued = ready
	a.member.excuse = a.room.last // what it gets late it gets late because of itself
	a.room.ready = append(a.room.ready, a.member)
	if !a.room.turn {
		a.room.turn = true
		s.turns = append(s.turns, a.room)
	}
}

// trySuspects lets suspects have their turns again that wait for there being fewer.
func (s *shard) trySuspects() {
	if len(s.aside) == 0 {
		return
	}
	n := max(0, min(len(s.aside), s.engine.credits.suspectsLeft()))
	for i := range n {
		s.back(s.aside[i])
		s.aside[i] = aside{}
	}
	s.aside = s.aside[n:]
}

// suspect reports whether m may not answer: it did not the last time, or was sent nothing
// yet.
func (m *member) suspect() bool {
	code := m.last.code()
	return code == 0 || judgeCode(code) == silent
}

// fitCredits makes the credits fit what the connections say.
func (e *Engine) fitCredits() { e.credits.fit(e.relay.Bounds()) }
