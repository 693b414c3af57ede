package engine

import (
	"math"
	"slices"
	"time"
)

// A device that goes lacks messages that were accepted before and waited for their turn.

// departed reports whether a device of the member has gone after a message was accepted, and before f was sent.
func (d *delivery) departed(f *sentCopy) bool {
	all, accepted := d.engine.devices.departures, d.began.UnixNano()+int64(f.at)
	return all.latest.Load() > accepted && all.between(f.member.key, accepted, d.at(f))
}

// oweAbsent lets devices of a member be owed a message, and all after it, that cannot have got it: another one has
// taken it, after all that there were had failed, or after one has gone. w is the wait that ends by that; nil: there is
// none.
func (d *delivery) oweAbsent(f *sentCopy, w *wait) {
	m := f.member
	noted := func(k *fork) bool { return k.id == "" } // from an earlier message on; the database does not know yet
	if d.engine.reports.most == 0 || slices.ContainsFunc(d.forks[m], noted) {
		return
	}
	a := absence{at: d.began.Add(f.at).UnixMilli(), arrived: d.now.UnixMilli()}
	switch {
	case f.tries == 0, w == nil, w.why == retry, w.why == malformed:
		// A fork has an outcome for each device that is registered; and one that has answered is there.
	case w.tried.IsZero():
		a.tried = d.began.UnixMilli()
	default:
		a.tried = w.tried.UnixMilli()
	}
	k := &fork{copy: f, over: true, owing: 1} // it holds back the cursor in the database (written)
	if d.engine.reports.oweAbsent(m.name(), a, func() {
		d.inbox.post(func() {
			k.owing--
			d.decide(k)
		})
	}) {
		d.forks[m] = append(d.forks[m], k)
	}
}

// departure is the first message that was sent to the devices of a member after another one had gone.
type departure struct {
	seq   uint64
	sent  int64     // in ns of Unix time
	there []*device // never changed
}

const (
	// maxDepartures bounds those of a member, and the members of a shard that have some. Beyond that devices may lack
	// messages.
	maxDepartures, maxDeparted = 16, 1024
)

// noteDeparture notes that f was sent to the devices that are there, if another one has gone since f was accepted.
func (d *delivery) noteDeparture(f *sentCopy, there []*device) {
	if f.seq == 0 || !d.departed(f) {
		return
	}
	m, sent := f.member, d.at(f)
	list, known := d.departures[m]
	if n := len(list); n > 0 && !d.engine.devices.departures.between(m.key, list[n-1].sent, sent) {
		return // none has gone since that
	}
	if known && len(list) < maxDepartures || !known && len(d.departures) < maxDeparted {
		d.departures[m] = append(list, departure{seq: f.seq - max(f.missed, 1) + 1, sent: sent, there: there})
	}
}

// forgetDepartures forgets old ones.
func (d *delivery) forgetDepartures() {
	for m, list := range d.departures {
		if d.now.UnixNano()-list[len(list)-1].sent > int64(departFor) {
			delete(d.departures, m)
		}
	}
}

// lackedSince is the number of the first message that was not sent to a device of m that had gone at a time.
func (d *delivery) lackedSince(m *member, name string, gone time.Time) uint64 {
	for _, p := range d.departures[m] {
		if p.sent > gone.UnixNano() && !slices.ContainsFunc(p.there, func(v *device) bool { return v.row.Device == name }) {
			return p.seq
		}
	}
	return math.MaxUint64
}
