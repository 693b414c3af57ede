package schema

import (
	"slices"
	"time"
)

const (
	// settledAfter is how long the engines that share the shards must have been the same before they even them out.
	settledAfter = 2 * time.Second
	// lateAfter is how long shards may belong to nobody until engines take more of them than their parts.
	lateAfter = time.Second
)

// planner is what an engine remembers between its looks at the fleet. It belongs to judge.
type planner struct {
	heirs []int64
	since time.Time // the heirs have been these
	free  time.Time // shards have belonged to nobody; zero: all have owners
}

// ask returns the shards for which the engine me asks others.
func (f *planner) ask(p *plan, me int64, v *view) []int64 {
	heirs, _ := p.heirs()
	if !slices.Equal(heirs, f.heirs) {
		f.heirs, f.since = heirs, v.sent
	}
	if v.sent.Sub(f.since) < settledAfter {
		return nil
	}
	return p.ask(me)
}

// late reports whether shards have belonged to nobody for some time.
func (f *planner) late(p *plan, v *view) bool {
	if p.count()[0] == 0 {
		f.free = time.Time{}
		return false
	}
	if f.free.IsZero() {
		f.free = v.sent
	}
	return v.sent.Sub(f.free) >= lateAfter
}

// plan is the fleet as v shows it.
func (m *member) plan(v *view, watches map[int64]*watch, dead []engineRow) plan {
	p := plan{shards: v.shards}
	for _, e := range v.engines {
		if slices.Contains(dead, e) {
			continue
		}
		h, w := decodeHolder(e.process), watches[e.id]
		p.engines = append(p.engines, planEngine{id: e.id, plans: h.Plans, alone: !h.Shares || h.Whole, place: h.place(),
			ready: h.Ready, spare: h.Spare, leaves: h.Ending || w != nil && w.silent(v), wants: h.Wants})
	}
	return p
}

// place says to which engines requests can go that came to this one: Kamailios that are peers pass them on, others
// give them to engines of their own host only.
func (h *holder) place() string {
	if h.Home != "" {
		return "peers"
	}
	return h.Boot
}

// wish lets beat tell the others for which shards this engine asks.
func (m *member) wish(wants []int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.wants = wants
}
