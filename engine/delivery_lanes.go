package engine

import (
	"errors"
	"slices"

	"imcd/evapi"
)

// A device gets one copy after the other: if it answers later than others of its user, legs wait for it in a lane.
// They also wait while a device that has come back gets what it is owed.

const (
	// maxLane bounds the legs that wait in a lane. If there are more, the device is owed them.
	maxLane = 64
	// maxLaneLegs bounds those of a shard.
	maxLaneLegs = 16384
)

// blocked reports whether legs wait.
func (n *lane) blocked() bool {
	_, held, returns := n.device.takes()
	return n.sent != nil || n.backlog != nil || held && n.came != returns || len(n.waiting) > 0
}

// hadAll reports whether it is known that the device has had all messages of the room before those of the lane.
func (n *lane) hadAll() bool {
	_, held, returns := n.device.takes()
	return n.stopped > 0 || n.device.isExact() || n.backlog != nil || held && n.came == returns
}

// firstSeq is the number of the first message that waits; 0: none does.
func (n *lane) firstSeq() uint64 {
	for _, l := range n.waiting {
		if first := l.fork.firstSeq(); first > 0 {
			return first
		}
	}
	return 0
}

// laneOf is the lane to a device of m; it is made if there is none.
func (d *delivery) laneOf(r *room, m *member, v *device) *lane {
	if n := d.findLane(m, v); n != nil {
		return n
	}
	n := &lane{room: r, member: m, device: v}
	d.lanes[m.key] = append(d.lanes[m.key], n)
	return n
}

// laneFor is laneOf for a fork to that device, too.
func (d *delivery) laneFor(k *fork, v *device) *lane {
	n := d.laneOf(k.copy.room, k.copy.member, v)
	n.from = earliest(n.from, k.firstSeq())
	return n
}

func (d *delivery) findLane(m *member, v *device) *lane {
	for _, n := range d.lanes[m.key] {
		if n.member == m && n.device == v {
			return n
		}
	}
	return nil
}

// forgetLane drops a lane that is not used.
func (d *delivery) forgetLane(n *lane) {
	_, held, _ := n.device.takes()
	if held || n.sent != nil || n.backlog != nil || len(n.waiting) > 0 || n.stopped > 0 && n.member.live {
		return
	}
	if n.stopped > 0 {
		n.stopped = 0
		d.stopped--
	}
	key := n.member.key
	list := slices.DeleteFunc(d.lanes[key], func(o *lane) bool { return o == n })
	if d.lanes[key] = list; len(list) == 0 {
		delete(d.lanes, key)
	}
}

// maxStopped bounds the lanes of a shard that note where their device has stopped. Beyond that devices may get messages
// twice, with the same Call-ID.
const maxStopped = 4096

// stop notes that a device has got all messages of a room before one, and, as far as is known, no others.
func (d *delivery) stop(n *lane, seq uint64) {
	switch {
	case seq == 0 || n.stopped > 0 && n.stopped <= seq:
		return
	case n.stopped == 0 && d.stopped >= maxStopped:
		n.lacks = earliest(n.lacks, seq)
		return
	case n.stopped == 0:
		d.stopped++
	}
	n.stopped = seq
}

// passed takes from stop a message that the device has got, or need not get.
func (n *lane) passed(k *fork) {
	if first := k.firstSeq(); first > 0 && first == n.stopped && k.copy.notice == noLossNotice {
		n.stopped = k.copy.seq + 1
	}
}

// came notes that the backlog f of a lane has come to an end: the device gets none of this again if it must return once
// more, as it has failed in another room meanwhile. But it lacks what the lane has dropped from before f.
func (d *delivery) came(n *lane, f *backlog) {
	n.came = f.came
	switch next := earliest(f.after+1, n.firstOpen()); {
	case n.stopped > f.from:
		n.stopped = max(n.stopped, next)
	case n.stopped == 0 && n.lacks == 0:
		d.stop(n, next)
	}
}

// goOn takes back what stop has noted of a device, by whichever contact, and returns it with lane.apart.
func (d *delivery) goOn(m *member, v *device) (seq uint64, apart []*brought) {
	for _, n := range slices.Clone(d.lanes[m.key]) {
		if n.member == m && n.device.row.Device == v.row.Device && n.stopped > 0 {
			if seq == 0 || n.stopped < seq {
				seq = n.stopped
			}
			apart = append(apart, n.apart...)
			n.stopped, n.apart = 0, nil
			d.stopped--
			d.forgetLane(n)
		}
	}
	return seq, apart
}

// legWaits lets a leg wait in its lane that was not sent, or ends it if it can never be sent.
func (d *delivery) legWaits(l *leg, err error) {
	n := l.lane
	switch {
	case !errors.Is(err, errBehind) && !retryable(err):
		d.engine.log.Warn().Err(err).Str("room", n.room.key).Str("member", n.member.key).Msg("copy not sent")
		d.legOver(l, evapi.Result{Code: 400, Local: true, Reason: err.Error()}, false)
	case len(n.waiting) >= maxLane || d.waitingLegs >= maxLaneLegs:
		n.waiting = append(n.waiting, l)
		d.waitingLegs++
		d.dropLegs(n, true)
	default:
		n.waiting = append(n.waiting, l)
		d.waitingLegs++
		if errors.Is(err, evapi.ErrFull) {
			d.laneDue(n)
		}
	}
}

// laneDue lets a lane go on with the next round of sending.
func (d *delivery) laneDue(n *lane) {
	if !n.due {
		n.due = true
		d.lanesDue = append(d.lanesDue, n)
	}
}

// sendLanes goes on with lanes whose legs could not be sent. False: they still cannot.
func (d *delivery) sendLanes() bool {
	for len(d.lanesDue) > 0 {
		n := d.lanesDue[0]
		if !d.runLane(n) {
			return false
		}
		n.due = false
		d.lanesDue[0] = nil
		d.lanesDue = d.lanesDue[1:]
	}
	return true
}

// runLane sends the next leg of a lane if nothing is ahead of it. False: it cannot be sent now.
func (d *delivery) runLane(n *lane) bool {
	for len(n.waiting) > 0 && n.sent == nil {
		yes, held, returns := n.device.takes()
		switch {
		case !n.member.live || !yes:
			d.dropLegs(n, n.device.isSlow())
			continue
		case n.backlog != nil || held && n.came != returns || d.ending:
			return true
		}
		l := n.waiting[0]
		err := d.sendLeg(l)
		if errors.Is(err, evapi.ErrFull) {
			return false
		}
		n.waiting[0] = nil
		n.waiting = n.waiting[1:]
		d.waitingLegs--
		if err != nil {
			d.legOver(l, evapi.Result{Code: 503, Local: true, Reason: err.Error()}, false)
		}
	}
	d.forgetLane(n)
	return true
}

// dropLegs ends the legs that wait in a lane: the device is owed what other devices have got. slow says that it
// answers, but not as fast as they.
func (d *delivery) dropLegs(n *lane, slow bool) {
	list := n.waiting
	n.waiting = nil
	d.waitingLegs -= len(list)
	for _, l := range list {
		d.legOver(l, evapi.Result{Code: 408, Reason: "the device is not sent anything now"}, slow)
	}
}

// tryGone lets a registered device that has failed get what it is owed, if it was left alone for long enough.
func (d *delivery) tryGone(v *device) {
	if !d.ending && v.tries(d.now) {
		d.engine.comebacks.add(v.comeback())
	}
}

// returned goes on with the lanes of a device that has got what it was owed, or not, and with members that wait for it.
func (d *delivery) returned(v *device) {
	key := v.row.User.Key()
	for _, n := range slices.Clone(d.lanes[key]) {
		if n.device == v && !d.runLane(n) {
			d.laneDue(n)
		}
	}
	if !v.owed() {
		d.forgetStops(v)
	}
	if yes, _, _ := v.takes(); yes {
		for w := range d.away[key] {
			if w.index >= 0 {
				d.hasten(w)
			}
		}
	}
}

// forgetStops forgets where a device has stopped that has got everything.
func (d *delivery) forgetStops(v *device) {
	for _, n := range slices.Clone(d.lanes[v.row.User.Key()]) {
		if n.device.row.Device == v.row.Device && n.stopped > 0 {
			d.goOn(n.member, v)
		}
	}
}

// replaced ends the legs to a device that has registered with another contact.
func (d *delivery) replaced(v *device) {
	for _, n := range slices.Clone(d.lanes[v.row.User.Key()]) {
		if n.device != v {
			continue
		}
		d.dropLegs(n, true)
		if n.sent != nil {
			d.complete(n.sent, evapi.Result{CallID: n.sent.id, Code: 430, Reason: "registered with another contact"})
		}
	}
}

// errBehind says that a leg must wait for another one.
var errBehind = errors.New("another copy is on its way to the device")

// sendLeg sends a leg.
func (d *delivery) sendLeg(l *leg) error {
	k, n := l.fork, l.lane
	f, v := k.copy, n.device
	c := &sentCopy{id: legID(k.id, v.row.GRUU), room: n.room, member: n.member, seq: f.seq, missed: f.missed, at: f.at,
		notice: f.notice, line: f.line, out: k.out, credit: weigh(k.out.BodyLen())}
	take := d.engine.credits.take
	if k.first {
		take = d.engine.credits.takeFirst
	}
	if !take(d.inbox, c.credit) {
		return evapi.ErrFull
	}
	seen := d.engine.credits.drained.Load()
	var err error
	c.conn, _, err = d.sendTo(v.kamailio.conn.Load(), c, n.member.key, evapi.Copy{Out: c.out, To: n.member.uri,
		Device: v.row.GRUU, CallID: k.id, First: k.first})
	if err != nil {
		d.notSent(c.credit, seen, err)
		return err
	}
	n.sent = c
	d.legs[c] = l
	d.trackInFlight(c)
	return nil
}

// earliest is the lower one of two message numbers; 0 is none.
func earliest(a, b uint64) uint64 {
	if a == 0 || b != 0 && b < a {
		return b
	}
	return a
}

// firstOpen is the number of the first message on its way to the device, or waiting for that; 0: there is none.
func (n *lane) firstOpen() (first uint64) {
	if n.sent != nil && n.sent.seq > 0 {
		first = n.sent.seq - max(n.sent.missed, 1) + 1
	}
	for _, l := range n.waiting {
		first = earliest(first, l.fork.firstSeq())
	}
	return first
}
