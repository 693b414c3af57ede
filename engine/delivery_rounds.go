package engine

import (
	"container/heap"
	"time"
)

// tick is called a few times a second.
func (d *delivery) tick() {
	d.forgetReturns()
	d.forgetDepartures()
	d.writeHeld()
	d.writePlaces()
	d.announceDue()
	d.missedAgain()
	d.raiseLater = false
}

// passTime does what is due now.
func (d *delivery) passTime() {
	d.expire()
	d.ageCopies()
	d.resumeDue()
	d.releaseDue()
	if d.engine.stopping.Load() {
		d.announceDue()
	}
}

// sendDue sends what can be sent in this round.
func (d *delivery) sendDue() {
	d.pump()
	d.bringDue()
	d.sendTyping()
	d.countCopies()
	d.storeRaised()
}

// heard sends waiting copies to these users, by key: they have registered (true), or have sent something
// (false). After a registration, copies under way are sent again as well. A user who has only sent
// something may have them, and be slow: they are sent again once they have failed.
func (d *delivery) heard(users map[string]bool) {
	d.noteReturns(users)
	for user := range users {
		for w := range d.away[user] {
			d.hasten(w)
		}
		if st := d.streams[user]; st != nil {
			d.release(st)
		}
	}
	if !d.anyTo(users) {
		return
	}
	for _, f := range d.inFlight {
		switch registered, yes := users[f.to()]; {
		case yes && registered:
			d.again(f)
		case yes && d.unanswered(f):
			f.back = true
			if l := d.legs[f]; l != nil {
				l.fork.copy.back = true
			}
		}
	}
}

// ageCopies returns credits of copies that are not fresh any more: they wait for their devices.
func (d *delivery) ageCopies() {
	soon := d.engine.credits.justSent()
	for len(d.fresh) > 0 {
		f, probe := d.fresh[0], false
		if age := d.age(f); !f.over && age < soon {
			d.freshTimer.Reset(soon - age)
			break
		} else if !f.over && d.stuck(f, age) {
			if wait := stuckAgain - d.now.Sub(d.tried); wait > 0 {
				d.freshTimer.Reset(wait)
				break
			}
			d.tried, probe = d.now, true
		}
		d.fresh[0] = nil
		d.fresh = d.fresh[1:]
		if !f.over {
			d.engine.credits.older(&f.credit, probe)
			d.older = append(d.older, f)
		}
	}
	for len(d.older) > 0 {
		f := d.older[0]
		if !f.over && d.age(f) < burstTime {
			return
		}
		d.older[0] = nil
		d.older = d.older[1:]
		if f.over {
			continue
		}
		d.engine.credits.old(&f.credit)
		if !f.slow {
			f.slow = true
			d.engine.signs.await(f.to())
		}
		if f.early {
			f.early = false
			d.again(f)
		}
	}
}

// stuckAgain is how often one copy of each shard goes in spite of stuck ones, to see whether they still are.
const stuckAgain = time.Millisecond

// stuck reports whether f, which has no answer although its phone is near, waits for more than this phone: no copy
// that was sent pacedSoon later has an answer.
func (d *delivery) stuck(f *sentCopy, age time.Duration) bool {
	c := d.engine.credits
	return age < burstTime && f.member != nil && f.member.last.isNear() && !c.allFar() &&
		c.answered.Load() <= d.at(f)+int64(pacedSoon)
}

// countCopies updates what copies under way count in held.copies.
func (d *delivery) countCopies() {
	for len(d.evicted) > 0 && d.now.Sub(d.evicted[0].at) >= d.engine.cfg.ResultTimeout {
		d.evictedBytes -= d.evicted[0].size
		d.evicted = d.evicted[1:]
	}
	bytes := len(d.inFlight)*copyBytes + d.evictedBytes
	if bytes != d.copyBytes {
		d.engine.held.copies.Add(int64(bytes - d.copyBytes))
		d.copyBytes = bytes
	}
}

// resume ends a wait and loads what the member has missed. The number of tries is kept until something
// arrives.
func (d *delivery) resume(w *wait) {
	d.forgetWait(w)
	d.catching++
	w.looked = false
	w.member.resumed = true
	d.catchers[w.member] = w.room
	w.member.mode, w.member.exempt = lagging, w.room.last
	d.setReady(w.room, w.member)
}

// maxSilent bounds those of the members that catch up which did not answer the last try and gave no sign since: each
// keeps its place for as long as a device may take. Others are looked at again after silentAgain.
const (
	maxSilent   = maxCatching / 2
	silentAgain = time.Second
)

// resumeDue tries members whose time has come.
func (d *delivery) resumeDue() {
	for len(d.waits) > 0 && d.catching < maxCatching && !d.waits[0].due.After(d.now) {
		if w := d.waits[0]; w.why == silent && !w.due.IsZero() && d.catching >= maxSilent {
			w.due = d.now.Add(silentAgain)
			heap.Fix(&d.waits, 0)
			continue
		}
		d.resume(d.waits[0])
	}
}
