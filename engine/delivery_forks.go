package engine

import (
	"errors"
	"slices"

	"imcd/engine/store"
	"imcd/evapi"
)

// A fork is a message on its way to several devices of a member. All copies are under way together, with the same
// Call-ID; each is a leg with an outcome of its own. The member has the message when one device has taken it. A device
// that has not is owed it, and gets nothing more until it comes back. If no device takes it, the message
// waits as one for a single device does.

// sendFork sends f, the next copy for m, to each of these devices; others are registered, and are not sent anything
// now. False: it cannot be sent now, and nothing has changed. errNoWay: there is no connection to the Kamailio of any
// device. own: m has written it on a device that is not among them, so it has it already.
func (d *delivery) sendFork(f *sentCopy, next ahead, devices, others []*device, small, own bool) (bool, error) {
	r, m := f.room, f.member
	if len(devices) > 0 {
		devices, others = d.behind(m, devices, others)
	}
	f.id = d.copyID(f)
	f.since = d.clock(d.now)
	k := &fork{copy: f, out: f.out, id: f.id, first: small, open: 1}
	if len(devices) == 0 {
		k.best = &evapi.Result{Code: 480}
	}
	var down []*leg
	for i, v := range devices {
		l := &leg{fork: k, lane: d.laneFor(k, v)}
		k.open++
		err := errBehind
		if !l.lane.blocked() {
			err = d.sendLeg(l)
		}
		switch {
		case errors.Is(err, evapi.ErrDown):
			down = append(down, l)
		case i == 0 && errors.Is(err, evapi.ErrFull):
			d.forgetLane(l.lane)
			return false, nil
		case err != nil:
			d.legWaits(l, err)
		}
	}
	if len(down) > 0 && len(down) == len(devices) && !own {
		for _, l := range down {
			d.forgetLane(l.lane)
		}
		return false, errNoWay
	}
	r.addInFlight(m, f, next)
	d.forks[m] = append(d.forks[m], k)
	for _, v := range others {
		k.failed = append(k.failed, failedLeg{lane: d.laneFor(k, v)})
	}
	for _, l := range down {
		d.legOver(l, evapi.Result{Code: 503, Local: true}, false)
	}
	k.open--
	k.taken = k.taken || own
	d.decide(k)
	d.letNext(m.key)
	return true, nil
}

// behind adds devices of others for which earlier messages of the room wait: the next ones wait behind these, though
// the device is sent nothing now, as it is owed something in another room. So the lane has no gap, which its backlog
// would take for messages that the lane brings.
func (d *delivery) behind(m *member, devices, others []*device) (with, without []*device) {
	with = devices
	for _, v := range others {
		n := d.findLane(m, v)
		if n == nil || len(n.waiting) == 0 {
			without = append(without, v)
			continue
		}
		with = append(with[:len(with):len(with)], v)
		if n.hadAll() {
			d.stop(n, n.firstSeq())
		}
	}
	return with, without
}

// errNoWay says that one copy is to be sent for all devices: another Kamailio may know them.
var errNoWay = errors.New("no connection to the Kamailio of any device")

// legDone takes the outcome of a leg that was sent.
func (d *delivery) legDone(l *leg, c *sentCopy, res evapi.Result) {
	n := l.lane
	delete(d.legs, c)
	n.sent = nil
	if judge(res) == resend && n.member.live {
		switch err := d.sendLeg(l); {
		case err == nil:
			return
		case errors.Is(err, evapi.ErrFull):
			n.waiting = slices.Insert(n.waiting, 0, l)
			d.waitingLegs++
			d.laneDue(n)
			return
		}
	}
	d.legOver(l, res, false)
	if !d.runLane(n) {
		d.laneDue(n)
	}
}

// legOver takes the outcome of a leg; slow: see dropLegs.
func (d *delivery) legOver(l *leg, res evapi.Result, slow bool) {
	k := l.fork
	k.open--
	v := judge(res)
	switch {
	case v <= known:
		k.taken = true
	case k.best == nil || betterLeg(&res, k.best):
		k.best = &res
	}
	if v.final() || v == malformed {
		l.lane.passed(k)
	} else {
		k.failed = append(k.failed, failedLeg{l.lane, true, slow})
	}
	d.decide(k)
}

// betterLeg prefers a failure that may end to a refusal: a device that was switched off may take the message that
// another one does not like; and silence to everything else, as such a device is tried again soonest.
func betterLeg(a, b *evapi.Result) bool { return legRank(judge(*a)) < legRank(judge(*b)) }

func legRank(v verdict) int {
	switch v {
	case resend:
		return 0
	case silent, retry:
		return 1
	case gone:
		return 2
	case offline:
		return 3
	}
	return 4
}

// decide moves the member once one device has taken the message, or none has, and lets the others be owed it.
func (d *delivery) decide(k *fork) {
	m := k.copy.member
	if !k.over && (k.taken || k.open == 0) {
		k.over = true
		res := evapi.Result{CallID: k.id, Code: 200}
		if !k.taken {
			res = *k.best
			k.failed = nil // nobody has got it
		}
		d.endFork(k.copy, res)
	}
	if k.taken {
		list := k.failed
		k.failed = nil
		for _, f := range list {
			v := f.lane.device
			if f.sent {
				v = d.owe(k, v, f.slow)
			}
			n := d.laneOf(f.lane.room, m, v) // f.lane may be forgotten by now
			if n.hadAll() {
				d.stop(n, k.firstSeq())
			} else {
				n.lacks = earliest(n.lacks, k.firstSeq())
				d.forgetLane(n)
			}
		}
	}
	if !k.over || k.open > 0 || k.owing > 0 {
		return
	}
	list := slices.DeleteFunc(d.forks[m], func(o *fork) bool { return o == k })
	if d.forks[m] = list; len(list) == 0 {
		delete(d.forks, m)
	}
	if d.rooms[k.copy.room.key] == k.copy.room {
		d.markDirty(k.copy.room)
	}
}

// endFork ends the copy of a member that went to several devices.
func (d *delivery) endFork(f *sentCopy, res evapi.Result) {
	mine := f.member.inFlight == f
	f.over, f.out = true, nil
	if mine {
		f.member.inFlight = nil
	}
	d.completeMember(f, res, mine)
}

// owe lets a device be owed a message that another one has taken; slow: see dropLegs. It returns the device as it is
// registered now.
func (d *delivery) owe(k *fork, v *device, slow bool) *device {
	at := d.began.Add(k.copy.at).UnixMilli()
	e, key := d.engine, k.copy.member.key
	if now := e.devices.find(key, v.row.Device); now != nil && now != v {
		v, slow = now, true // it has registered with another contact
	}
	v.owe(at, d.now, slow)
	k.owing++
	e.reports.owe(v, at, func() {
		d.inbox.post(func() {
			k.owing--
			d.decide(k)
			if !d.ending && v.triesAtOnce(d.now) {
				d.engine.comebacks.add(v.comeback())
			}
		})
	})
	for _, n := range slices.Clone(d.lanes[key]) {
		if n.device != v {
			continue
		}
		d.dropLegs(n, slow)
		if n.backlog != nil && !slow {
			d.endBacklog(n.backlog, errNotNow)
		}
	}
	return v
}

// oweAll lets devices be owed what they have not answered yet, as the engine ends. It reports whether the database does
// not know yet of all that is owed.
func (d *delivery) oweAll() bool {
	for c, l := range d.legs {
		if l.fork.taken {
			delete(d.legs, c)
			d.legOver(l, evapi.Result{Code: 408, Reason: "imcd ends"}, false)
		}
	}
	for _, list := range d.lanes {
		for _, n := range slices.Clone(list) {
			d.dropLegs(n, false)
		}
	}
	return d.owing(store.Part{}.Matcher())
}

// owing reports whether the database does not know yet of all that is owed in some rooms.
func (d *delivery) owing(in func(hash uint32) bool) bool {
	for m, list := range d.forks {
		owes := func(k *fork) bool { return k.owing > 0 && in(store.Hash(k.copy.room.key)) }
		if m.live && slices.ContainsFunc(list, owes) {
			return true
		}
	}
	return false
}

// written is the number that the database may have as the cursor of m: it knows of all devices that are owed
// something up to that.
func (d *delivery) written(m *member) uint64 {
	if len(d.forks) == 0 {
		return m.cursor
	}
	for _, k := range d.forks[m] {
		if seq := k.firstSeq(); seq > 0 {
			return min(m.cursor, seq-1)
		}
	}
	return m.cursor
}

// slowDevice reports whether a device of m has not answered for long what another one has taken.
func (d *delivery) slowDevice(m *member) bool {
	if len(d.forks) == 0 {
		return false
	}
	list := d.forks[m]
	return len(list) > 0 && d.age(list[0].copy) > slowAfter
}
