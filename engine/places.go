package engine

import (
	"encoding/binary"
	"time"

	"imcd/engine/store"
)

// A member has three places in a room. The cursor, which every member has, is the
// number of the last message that it is owed no more. Two others are kept only for
// members of whom there is something to tell: the last message that its phone took (the
// 2xx), if the last ones did not reach it, and the last one that was shown to it, as
// its client says by a receipt.

// reach holds these two places.
type reach struct {
	displayed uint64 // number of the last message that was shown; 0: none
	delivered uint64 // number of the last message that its phone took, if gap is set
	gap       bool   // messages after delivered, up to the cursor, were given up
}

// maxPlaces bounds the members of a room of whom a place is kept. Of others the room
// knows what the cursor says.
const maxPlaces = 4096

// places are those of a room's members. Owned by the room's shard.
type places map[*member]reach

// deliveredTo is the number of the last message that the phone of m took, or that m
// wrote itself.
func (r *room) deliveredTo(m *member) uint64 {
	if p := r.places[m]; p.gap {
		return p.delivered
	}
	return m.cursor
}

// setPlace keeps p for m, and has it written.
func (s *shard) setPlace(r *room, m *member, p reach) {
	if r.places[m] == p {
		return
	}
	if _, has := r.places[m]; !has && len(r.places) >= maxPlaces {
		return
	}
	if r.places == nil {
		r.places = make(places)
	}
	r.places[m] = p
	s.placesChanged(r)
}

// dropPlace forgets those of a member that leaves.
func (s *shard) dropPlace(r *room, m *member) {
	if _, has := r.places[m]; has {
		delete(r.places, m)
		s.placesChanged(r)
	}
}

// placesChanged has the places of r written, soon.
func (s *shard) placesChanged(r *room) {
	if _, noted := s.placed[r]; !noted {
		s.placed[r] = false
	}
}

// gaveUp notes that the messages after one up to another never reach m.
func (s *shard) gaveUp(r *room, m *member, after, upTo uint64) {
	if p := r.places[m]; !p.gap {
		p.delivered, p.gap = min(m.cursor, after), true
		s.setPlace(r, m, p)
	}
	s.notReached(r, m, upTo)
}

// tookAll notes that the phone of m has taken the last message that the cursor passed.
func (s *shard) tookAll(r *room, m *member) {
	if p := r.places[m]; p.gap {
		p.delivered, p.gap = 0, false
		s.setPlace(r, m, p)
	}
}

// showed moves the place of what was shown to m forward. It reports whether it moved.
func (s *shard) showed(r *room, m *member, seq uint64) bool {
	p := r.places[m]
	if seq <= p.displayed {
		return false
	}
	p.displayed = seq
	s.setPlace(r, m, p)
	return r.places[m] == p
}

// placesFlush is how long places may wait to be written. After a crash they are where
// they were by so much earlier, until the next receipt.
const placesFlush = time.Second

// writePlaces has the changed places written, with the cursors of their rooms.
func (s *shard) writePlaces() {
	if len(s.placed) == 0 || s.now.Sub(s.placesAt) < placesFlush && !s.ending {
		return
	}
	s.placesAt = s.now
	for r := range s.placed {
		s.placed[r] = true
		s.markDirty(r)
	}
}

// placesChange is the row that has them all: one for each room, however many members
// it has. The hash stands for the member.
//
// An entry is the hash (8 bytes), displayed, and delivered+1 if there is a gap, else 0,
// both as uvarint.
func (s *shard) placesChange(r *room) store.Change {
	delete(s.placed, r)
	var b []byte
	for m, p := range r.places {
		if !r.has(m) || p == (reach{}) {
			continue
		}
		b = binary.BigEndian.AppendUint64(b, hash64(m.key))
		b = binary.AppendUvarint(b, p.displayed)
		gap := uint64(0)
		if p.gap {
			gap = p.delivered + 1
		}
		b = binary.AppendUvarint(b, gap)
	}
	return store.Change{Op: store.PutPlaces, Places: &store.PlacesRow{Room: r.id, Places: b}}
}

// decodePlaces reads what placesChange wrote, by the members' hashes. What makes no
// sense ends it: a place that is not known is 0.
func decodePlaces(b []byte) map[uint64]reach {
	found := make(map[uint64]reach)
	for len(b) > 8 && len(found) < maxPlaces {
		key := binary.BigEndian.Uint64(b)
		displayed, n := binary.Uvarint(b[8:])
		if n <= 0 {
			break
		}
		b = b[8+n:]
		gap, n := binary.Uvarint(b)
		if n <= 0 {
			break
		}
		b = b[n:]
		p := reach{displayed: displayed}
		if gap > 0 {
			p.delivered, p.gap = gap-1, true
		}
		found[key] = p
	}
	return found
}

// fillPlaces gives the members of r, which was just loaded, their stored places. What
// is known to be further stays.
func (r *room) fillPlaces(stored []byte) {
	for m := range r.places {
		if !r.has(m) {
			delete(r.places, m)
		}
	}
	if len(stored) == 0 {
		return
	}
	found := decodePlaces(stored)
	for _, m := range r.order {
		p, ok := found[hash64(m.key)]
		if !ok || m.invited() {
			continue
		}
		if was, has := r.places[m]; has {
			p = reach{max(p.displayed, was.displayed), was.delivered, was.gap}
		}
		p.displayed = min(p.displayed, r.last)
		if r.places == nil {
			r.places = make(places)
		}
		r.places[m] = p
	}
}
