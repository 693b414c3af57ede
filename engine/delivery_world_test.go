package engine

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"imcd/evapi"
)

// world is an engine on a store and a relay that can be made to fail, and the
// reference beside it. It lives in a bubble of testing/synctest: its clock moves
// only when everything has come to rest.
type world struct {
	*house
	rt    *rapid.T
	cfg   Config
	rooms map[string]*refRoom
	ids   map[string]string // what each Call-ID was used for
	texts int               // that were ever said
	conns []*evapi.Conn     // to two Kamailios

	away, down      bool
	pruned          int                  // of store.prunes that the reference knows
	missed, refused uint64               // since the engine was started
	mute            time.Time            // when a copy was last sent that got no outcome
	woke            time.Time            // when Engine.Wake was last called
	sentIDs         map[string]bool      // Call-IDs of all copies
	heardAt         map[string]time.Time // when a user has sent something last
	registered      map[string]time.Time // when it has registered last
	settles         map[string]time.Time // likewise, since the engine was started
	trace           []string
}

// failf ends the check and shows how it came to this.
func (w *world) failf(format string, args ...any) {
	w.rt.Helper()
	w.rt.Fatalf("%s\nafter\n  %s", fmt.Sprintf(format, args...), strings.Join(w.trace, "\n  "))
}

func (w *world) note(format string, args ...any) {
	w.trace = append(w.trace, fmt.Sprintf(format, args...))
}

// open starts an engine on a store.
func (w *world) open(store *memStore) {
	phones := store.codes
	if w.house != nil {
		phones = w.relay.codes
	}
	store.codes = phones
	w.house = startHouse(w.rt, store, func(c *Config) { *c = w.cfg })
	w.conns = []*evapi.Conn{{}, {}}
	w.relay.set(func() { w.relay.conns = slices.Clone(w.conns) })
	w.missed, w.refused = 0, 0
	w.settles = map[string]time.Time{}
}

// pass lets time go by.
func (w *world) pass(d time.Duration) {
	<-time.After(d)
	w.settle()
}

// settle waits until nothing happens any more without time going by, and notes
// what was sent.
func (w *world) settle() {
	synctest.Wait()
	w.observe()
	w.check()
}

// observe brings the reference up to what phones were sent.
func (w *world) observe() {
	w.store.mu.Lock()
	for _, at := range w.store.prunes[w.pruned:] {
		for _, r := range w.rooms {
			r.prune(&w.cfg, at)
		}
	}
	w.pruned = len(w.store.prunes)
	w.store.mu.Unlock()
	w.relay.mu.Lock()
	copies, results := w.relay.copies, w.relay.results
	w.relay.copies, w.relay.results = nil, nil
	w.relay.mu.Unlock()
	for i, c := range copies {
		if results[i].result.Code == 0 || w.sentIDs[c.callID] { // one that was sent before may have been under way
			w.mute = results[i].at
		}
		if strings.HasPrefix(c.body, "<?xml") {
			continue // a receipt for a sender
		}
		user, _, _ := strings.Cut(strings.TrimPrefix(c.to, "sip:"), "@")
		_, rest, _ := strings.Cut(c.from, "<sip:")
		room, _, _ := strings.Cut(rest, "@")
		if refClass(results[i].result) == "refused" && !w.sentIDs[c.callID] {
			w.refused++ // one that is sent again may count by another outcome
		}
		w.sentIDs[c.callID] = true
		r := w.rooms[room]
		if r == nil || r.members[user] == nil {
			if !strings.HasPrefix(c.body, "***") {
				w.failf("%s is not in %s and was sent %q", user, room, c.body)
			}
			continue
		}
		m := r.members[user]
		m.tick(w, results[i].at)
		w.note("    %s < %s %q: %s %d (%s)", user, room, c.body, refClass(results[i].result), results[i].result.Code,
			results[i].at.Format("05.000"))
		w.note("      at %d+%d unshown %d deaf %t silent %d wait %q", m.at, m.extra, m.unshown, m.deaf, m.silent, m.wait)
		if err := m.take(w, c.body, c, results[i]); err != nil {
			w.failf("%s in %s: %v", user, room, err)
		}
	}
	for m := range w.members() {
		m.tick(w, time.Now())
	}
}

func (w *world) members() func(yield func(*refMember) bool) {
	return func(yield func(*refMember) bool) {
		for _, r := range w.rooms {
			for _, m := range r.members {
				if !yield(m) {
					return
				}
			}
		}
	}
}

// blocked tells a member that is not sent anything for now.
func (w *world) blocked(m *refMember) bool {
	return w.down || m.wait != refOnline || !m.open.IsZero() || !m.notice.IsZero()
}

// check compares what the engine says of itself at rest with the reference.
func (w *world) check() {
	for _, r := range w.rooms {
		d, err := w.e.RoomState(context.Background(), "sip:"+r.name+"@x.org")
		if err != nil && w.away {
			continue // put aside until the database says what is true
		}
		if err != nil {
			w.failf("%s: %v", r.name, err)
		}
		if d.Sequence != r.last() || len(d.Members) != len(r.members) {
			w.failf("%s has %d members and %d messages, want %d and %d", r.name, len(d.Members), d.Sequence, len(r.members),
				r.last())
		}
		for _, md := range d.Members {
			user, _, _ := strings.Cut(strings.TrimPrefix(md.User, "sip:"), "@")
			if m := r.members[user]; m == nil {
				w.failf("%s is in %s", user, r.name)
			} else {
				w.checkMember(m, md)
			}
		}
	}
}

func (w *world) checkMember(m *refMember, d MemberDetail) {
	last := m.room.last()
	w.checkPlaces(m, d)
	d.State = refState(d.StateCode)
	if w.away && !w.blocked(m) && (m.own() < last || d.State == refFailed) {
		m.wait, m.until = refReads, time.Time{} // what it misses cannot be read
	}
	if m.wait == refReads && !w.away && m.own() == last && d.Lag == 0 && m.unshown == 0 {
		m.wait = refOnline // the rest is its own
	}
	if !w.blocked(m) && (d.Lag != 0 || m.own() != last) {
		w.failf("%s in %s has got %d of %d, and nothing keeps it from the others (lag %d, %s)", m.user, m.room.name, m.own(),
			last, d.Lag, d.State)
	}
	if m.wait != refOnline && !w.away && !w.down && m.open.IsZero() && m.notice.IsZero() && time.Now().After(m.due) {
		w.failf("%s in %s (%s) was to be tried again until %v ago, from %d of %d", m.user, m.room.name, m.wait,
			time.Since(m.due), m.at, last)
	}
	if d.Lag > last-m.at || d.Lag < last-m.own() {
		w.failf("%s in %s has got %d of %d, and its lag is %d", m.user, m.room.name, m.at, last, d.Lag)
	}
	if m.open.IsZero() && m.notice.IsZero() && m.wait != refReads && !w.down &&
		(d.State == refOffline || d.State == refFailed || m.wait != refOnline) && d.State != m.wait {
		w.failf("%s in %s is %q, want %q", m.user, m.room.name, d.State, m.wait)
	}
	pending, err := w.e.Pending(context.Background(), "sip:"+m.user+"@x.org")
	if err != nil {
		w.failf("pending %s: %v", m.user, err)
	}
	lag := uint64(0)
	for _, p := range pending {
		if p.Room == "sip:"+m.room.name+"@x.org" {
			lag = p.Lag
		}
	}
	if lag != d.Lag {
		w.failf("%s in %s has lag %d, and %d is pending", m.user, m.room.name, d.Lag, lag)
	}
}

// restarted takes over what a new engine knows: how far each member had come when
// that was last written.
func (w *world) restarted(clean bool) {
	for m := range w.members() {
		m.open, m.notice, m.wait = time.Time{}, time.Time{}, refOnline
		m.unshown, m.deaf, m.said400, m.silent = 0, false, 0, 0
		stored := w.stored(m)
		if !clean {
			m.shown = 0
		}
		if stored > m.own() {
			w.failf("%s in %s has got %d, and %d is stored", m.user, m.room.name, m.own(), stored)
		}
		if clean && stored < m.at {
			w.failf("%s in %s has got %d, and only %d is stored after a clean end", m.user, m.room.name, m.at, stored)
		}
		if m.at, m.extra = stored, 0; m.own() < m.room.last() {
			m.putOff(refReads, time.Time{}, time.Now().Add(time.Second))
		}
	}
}

func (w *world) stored(m *refMember) uint64 {
	w.store.mu.Lock()
	defer w.store.mu.Unlock()
	state := w.store.state(m.room.name + "@x.org")
	for _, row := range state.Members {
		if row.User.User == m.user && row.Cursor != nil {
			return *row.Cursor
		}
	}
	return state.Room.Done
}

func maxTime(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
