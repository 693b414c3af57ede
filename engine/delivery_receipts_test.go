package engine

import (
	"maps"
	"slices"

	"pgregory.net/rapid"

	"imcd/evapi"
)

// receiptStep lets a phone say that a message was displayed: one that it was sent, or one
// that another was, who may be in another room.
func (w *world) receiptStep() {
	r := w.room()
	from, of := r.members[w.user()], r.members[w.user()]
	if from == nil || of == nil || len(of.ids) == 0 {
		return
	}
	for m := range w.members() {
		if m.user == from.user && (m.wait != refOnline || !m.notice.IsZero()) {
			return // as a sign of life a receipt is like any other request
		}
	}
	text := rapid.SampledFrom(slices.Sorted(maps.Keys(of.ids))).Draw(w.rt, "text")
	id := of.ids[text]
	w.heard(from.user)
	m := w.request(from.user, r.name+"@x.org", imdn(id, "displayed"), imdnHeader)
	w.e.Receipt(&evapi.Receipt{RURI: m.RURI, Request: m.Request})
	n, ok := parseCopyID(id)
	w.note("  %s in %s has displayed %s (%d of %s)", from.user, r.name, text, n.seq, of.user)
	if from != of || !ok {
		return
	}
	if n.seq <= of.own() || !of.open.IsZero() && of.flying.callID == id {
		of.mayHaveShown = max(of.mayHaveShown, n.seq)
	}
	if n.seq <= of.at && !w.away {
		of.shown = max(of.shown, n.seq)
	}
}

// checkPlaces: places move forward only, and not past what was sent.
func (w *world) checkPlaces(m *refMember, d MemberDetail) {
	if d.Displayed < m.shown || d.Displayed > m.mayHaveShown {
		w.failf("%s in %s has displayed %d, want %d to %d", m.user, m.room.name, d.Displayed, m.shown, m.mayHaveShown)
	}
	if m.shown = d.Displayed; w.away {
		m.shown = 0 // who leaves now, and cannot, is where it was when that was written last
	}
	if d.Cursor != m.room.last()-d.Lag || d.Delivered != nil && *d.Delivered >= d.Cursor {
		w.failf("%s in %s has cursor %d of %d and lag %d, delivered %v",
			m.user, m.room.name, d.Cursor, m.room.last(), d.Lag, d.Delivered)
	}
}
