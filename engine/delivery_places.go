package engine

import (
	"encoding/binary"

	"imcd/engine/store"
)

// A member has a cursor in each room: the number of the last message that it must not get any more. Two
// more places are kept only where they say more: the last message that its phone took (2xx), if later
// ones were given up, and the last one that was displayed, by its receipts.

// deliveredTo is the number of the last message that the phone of m took, or that m wrote itself.
func (r *room) deliveredTo(m *member) uint64 {
	if p := r.places[m]; p.gap {
		return p.delivered
	}
	return m.cursor
}

// setPlace keeps p for m, and lets it be written.
func (d *delivery) setPlace(r *room, m *member, p reach) {
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
	d.placesChanged(r)
}

// dropPlace forgets the places of a member that leaves.
func (d *delivery) dropPlace(r *room, m *member) {
	if _, has := r.places[m]; has {
		delete(r.places, m)
		d.placesChanged(r)
	}
}

// placesChanged lets the places of r be written soon.
func (d *delivery) placesChanged(r *room) {
	if _, noted := d.placed[r]; !noted {
		d.placed[r] = false
	}
}

// gaveUp notes that the messages between after and upTo never reach m.
func (d *delivery) gaveUp(r *room, m *member, after, upTo uint64) {
	if p := r.places[m]; !p.gap {
		p.delivered, p.gap = min(m.cursor, after), true
		d.setPlace(r, m, p)
	}
	d.notReached(r, m, upTo)
}

// tookAll notes that the phone of m has taken the message at the cursor.
func (d *delivery) tookAll(r *room, m *member) {
	if p := r.places[m]; p.gap {
		p.delivered, p.gap = 0, false
		d.setPlace(r, m, p)
	}
}

// showed notes that message seq was displayed to m. It reports whether that is news.
func (d *delivery) showed(r *room, m *member, seq uint64) bool {
	p := r.places[m]
	if seq <= p.displayed {
		return false
	}
	p.displayed = seq
	d.setPlace(r, m, p)
	return r.places[m] == p
}

// placesChange is the row with the places of all members of r. An entry is the hash of the member (8
// bytes), displayed, and delivered+1 if there is a gap, else 0, both as uvarint.
func (d *delivery) placesChange(r *room) store.Change {
	delete(d.placed, r)
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

// decodePlaces reads a row of placesChange, by the hash of the member. It stops at the first entry that
// makes no sense.
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

// fillPlaces gives the members of r, which was just loaded, their stored places. A place never moves
// back.
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

// notReached lets no receipt wait for messages up to upTo to reach m.
func (d *delivery) notReached(r *room, m *member, upTo uint64) {
	d.eachOpen(r, func(o *openReceipt) {
		if o.seq <= upTo {
			o.delivered.without(m)
			o.displayed.without(m)
		}
	})
}
