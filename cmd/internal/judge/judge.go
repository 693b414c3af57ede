package judge

import (
	"errors"
	"fmt"
	"strings"
)

// Evidence is everything that the judge looks at.
type Evidence struct {
	Members  map[string][]string // user parts, by the SIP URI of their room; nobody joins or leaves
	Messages []Message           // as phones said them
	Copies   []Copy              // in the order of arrival
	Stored   []Row               // by room and number
	Heads    map[string]int64    // number of the last message, by room, as the room's row says
	Audited  bool                // by triggers, from the first message on
	Audit    []Write             // in the order of the writes
	Moves    []Move              // in the order of the changes
	Left     []string            // names of entries that are left over, with their tables
}

// Row is a stored message.
type Row struct {
	Room string // SIP URI
	Seq  int64
	Body string
}

// Write is a message that was written, and who owned the room's shard then. Engines are 0 where there
// is none.
type Write struct {
	Shard  int
	Writer int64 // the engine whose fence the transaction has passed, and which was not gone
	Owner  int64
	Epoch  int64
	Room   int64
	Seq    int64
}

// Move is a change of a shard's owner or epoch.
type Move struct {
	Shard      int
	From, To   int64 // owners before and after
	Was, Epoch int64 // epochs before and after
	Writer     int64 // the engine whose fence the transaction has passed
	FromGone   bool  // the owner before had been declared gone
}

// Count is how often something was wrong.
type Count struct {
	Wrong    int
	Examples []string // a few
}

// examplesMax bounds Count.Examples.
const examplesMax = 3

func (c *Count) add(format string, args ...any) {
	if c.Wrong++; c.Wrong <= examplesMax {
		c.Examples = append(c.Examples, fmt.Sprintf(format, args...))
	}
}

// Verdict has the seven counts of the package's description, the first one at index 0.
type Verdict [7]Count

// Err is nil if nothing was wrong.
func (v Verdict) Err() error {
	var errs []error
	for i, c := range v {
		if c.Wrong > 0 {
			errs = append(errs, fmt.Errorf("count %d is %d, not 0: %s", i+1, c.Wrong, strings.Join(c.Examples, "; ")))
		}
	}
	return errors.Join(errs...)
}

// Judge counts.
func Judge(e *Evidence) (v Verdict) {
	stored := make(map[string][]Row)
	for _, r := range e.Stored {
		stored[r.Body] = append(stored[r.Body], r)
	}
	v[0], v[1] = e.once(stored)
	v[2] = e.gaps()
	v[3] = e.delivered(stored)
	v[4] = e.order(stored)
	v[5] = e.owners()
	for _, name := range e.Left {
		v[6].add("%s", name)
	}
	return v
}

// once compares answers with rows.
func (e *Evidence) once(stored map[string][]Row) (accepted, doubles Count) {
	for _, m := range e.Messages {
		rows := stored[m.Body]
		right := len(rows) == 1 && rows[0].Room == m.Room
		if m.accepted() && !right {
			accepted.add("%q to %s was answered %d and is stored %d times", m.Body, m.Room, m.Code, len(rows))
		}
	}
	for body, rows := range stored {
		if len(rows) > 1 {
			doubles.add("%q is stored as number %d and %d", body, rows[0].Seq, rows[1].Seq)
		}
	}
	return accepted, doubles
}

// gaps looks at the numbers of each room.
func (e *Evidence) gaps() (c Count) {
	last := make(map[string]int64)
	for _, r := range e.Stored {
		if r.Seq != last[r.Room]+1 {
			c.add("in %s, %d follows %d", r.Room, r.Seq, last[r.Room])
		}
		last[r.Room] = r.Seq
	}
	for room, head := range e.Heads {
		if head != last[room] {
			c.add("the last number of %s is %d, and it has messages up to %d", room, head, last[room])
		}
	}
	return c
}

// delivered compares rows with copies.
func (e *Evidence) delivered(stored map[string][]Row) (c Count) {
	ids := make(map[arrival]string)
	for _, copied := range e.Copies {
		a := arrival{copied.Member, copied.Body}
		id, seen := ids[a]
		rows := stored[copied.Body]
		switch {
		case len(rows) == 0:
			c.add("%s got %q, which is not stored", copied.Member, copied.Body)
		case rows[0].Room != copied.Room:
			c.add("%s got %q of %s from %s", copied.Member, copied.Body, rows[0].Room, copied.Room)
		case seen && id != copied.CallID:
			c.add("%s got %q as %s and as %s", copied.Member, copied.Body, id, copied.CallID)
		}
		if !seen {
			ids[a] = copied.CallID
		}
	}
	sender := make(map[string]string)
	for _, m := range e.Messages {
		sender[m.Body] = m.Sender
	}
	for _, r := range e.Stored {
		for _, member := range e.Members[r.Room] {
			if _, got := ids[arrival{member, r.Body}]; !got && member != sender[r.Body] {
				c.add("%s did not get %q of %s", member, r.Body, r.Room)
			}
		}
	}
	return c
}

// order looks at first copies.
func (e *Evidence) order(stored map[string][]Row) (c Count) {
	type seat struct{ member, room string }
	last := make(map[seat]int64)
	seen := make(map[arrival]bool)
	for _, copied := range e.Copies {
		a := arrival{copied.Member, copied.Body}
		if rows := stored[copied.Body]; !seen[a] && len(rows) > 0 {
			at := seat{copied.Member, copied.Room}
			if rows[0].Seq < last[at] {
				c.add("%s got number %d of %s after %d", copied.Member, rows[0].Seq, copied.Room, last[at])
			}
			last[at] = max(last[at], rows[0].Seq)
		}
		seen[a] = true
	}
	return c
}

// owners looks at what triggers wrote. A shard changes its owner by a transaction of that owner, or
// once that owner is gone, or if it has none; and its epoch rises then.
func (e *Evidence) owners() (c Count) {
	if e.Audited && len(e.Audit) != len(e.Stored) {
		c.add("%d messages are stored, and the triggers saw %d", len(e.Stored), len(e.Audit))
	}
	epochs := make(map[int]int64)
	for _, w := range e.Audit {
		if w.Writer == 0 || w.Writer != w.Owner {
			c.add("message %d of room %d was written by engine %d, when engine %d owned shard %d", w.Seq, w.Room, w.Writer,
				w.Owner, w.Shard)
		}
		if w.Epoch < epochs[w.Shard] {
			c.add("shard %d had epoch %d after %d", w.Shard, w.Epoch, epochs[w.Shard])
		}
		epochs[w.Shard] = max(epochs[w.Shard], w.Epoch)
	}
	for _, m := range e.Moves {
		allowed := m.From == 0 || m.FromGone || m.Writer == m.From
		if m.From != m.To && (!allowed || m.Epoch <= m.Was) || m.Epoch < m.Was {
			c.add("shard %d went from engine %d (epoch %d, gone: %v) to engine %d (epoch %d) by engine %d",
				m.Shard, m.From, m.Was, m.FromGone, m.To, m.Epoch, m.Writer)
		}
	}
	return c
}
