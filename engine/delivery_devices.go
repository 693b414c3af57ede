package engine

import (
	"errors"
	"math"
	"slices"
	"time"

	"imcd/engine/store"
	"imcd/evapi"
)

// A device that comes back gets what the other devices of its user have got meanwhile: messages that the
// cursor of the user has passed. The others come to all devices alike.

const (
	// backlogPoll is how often a backlog is looked at again that waits for something other than an answer.
	backlogPoll = 50 * time.Millisecond
	// backlogTries is how often a copy is tried that may succeed later.
	backlogTries = 3
)

// Why a device does not get the rest now.
var (
	errNotTaken = errors.New("it does not take a message")
	errNotNow   = errors.New("it is not there, or the room is not")
)

// bring begins to send what a device is owed.
func (d *delivery) bring(f *backlog) {
	d.backlogs = append(d.backlogs, f)
	f.upto = math.MaxUint64
	if !f.until.IsZero() {
		f.upto = d.gotBy(f.member, f.until)
	}
	if f.device != nil {
		_, _, f.came = f.device.takes()
		seq, apart := d.goOn(f.member, f.device)
		f.after = min(f.after, d.lackedSince(f.member, f.name, f.since)-1)
		if seq > 0 {
			f.after = max(f.after, seq-1)
		}
		f.apart = slices.DeleteFunc(apart, func(b *brought) bool { return !b.over && b.backlog.gruu != f.gruu })
		f.lane = d.laneOf(f.room, f.member, f.device)
		if lacks := f.lane.lacks; lacks > 0 {
			f.after = min(f.after, lacks-1)
		}
		f.from = f.after
		f.lane.backlog, f.lane.lacks = f, 0
	}
	d.bringNext(f)
}

const (
	// returnsKept is how long these are remembered: until the database has said what the device is owed.
	returnsKept = time.Minute
	// maxReturns bounds those of a member, and the members of a shard that have some. Beyond that devices may get
	// messages twice, with the same Call-ID.
	maxReturns, maxReturned = 16, 1024
)

// noteReturns notes how far members were whose users have registered.
func (d *delivery) noteReturns(users map[string]bool) {
	for user, registered := range users {
		if registered && d.engine.devices.of(user) == nil {
			for w := range d.away[user] {
				d.noteReturn(w.member, w.member.cursor)
			}
		}
	}
	for m := range d.catchers {
		if users[m.key] && d.engine.devices.of(m.key) == nil {
			had := m.cursor
			if m.inFlight != nil {
				had = max(had, m.inFlight.seq)
			}
			d.noteReturn(m, had)
		}
	}
}

func (d *delivery) noteReturn(m *member, had uint64) {
	list, known := d.returns[m]
	if known && len(list) < maxReturns || !known && len(d.returns) < maxReturned {
		d.returns[m] = append(list, userReturn{at: d.now, had: had})
	}
}

// forgetReturns forgets old ones.
func (d *delivery) forgetReturns() {
	for m, list := range d.returns {
		if d.now.Sub(list[len(list)-1].at) > returnsKept {
			delete(d.returns, m)
		}
	}
}

// gotBy is the number of the last message that was sent to m before a registration at a time.
func (d *delivery) gotBy(m *member, at time.Time) uint64 {
	for _, b := range d.returns[m] {
		if !b.at.Before(at) {
			return b.had
		}
	}
	return math.MaxUint64 // it had caught up
}

// bringDue lets backlogs go on that wait, and forgets those that have ended.
func (d *delivery) bringDue() {
	if len(d.backlogs) == 0 {
		return
	}
	for _, f := range d.backlogs {
		if !d.now.Before(f.due) {
			d.bringNext(f)
		}
	}
	n := 0
	for _, f := range d.backlogs {
		if f.done != nil {
			d.backlogs[n] = f
			n++
		}
	}
	clear(d.backlogs[n:])
	d.backlogs = d.backlogs[:n]
}

// endBacklog ends f; err is nil if the device has got everything.
func (d *delivery) endBacklog(f *backlog, err error) {
	f.scatter()
	d.dropBacklogPage(f)
	if err == nil {
		upTo := f.until
		if upTo.IsZero() {
			upTo = d.now
		}
		f.place.Store(upTo.UnixMilli())
	}
	done := f.done
	f.done = nil
	done(err)
	if n := f.lane; n != nil && n.backlog == f {
		n.backlog = nil
		if err == nil {
			d.came(n, f)
		} else {
			d.stop(n, f.after+1)
			n.apart = f.apart
		}
		if !d.runLane(n) {
			d.laneDue(n)
		}
	}
}

// reached reports whether f has come to a message that waits for the device in its lane, or came to all devices of the
// user, and so did all after it.
func (f *backlog) reached(item *pageItem) bool {
	switch {
	case f.lane == nil:
		return f.cameToAll(item)
	case f.until.IsZero():
		first := f.lane.firstSeq()
		return first > 0 && item.seq >= first
	case f.lane.from > 0 && item.seq >= f.lane.from:
		return true // the device is owed again those that do not wait any more
	}
	return !f.owns && f.cameToAll(item)
}

// cameToAll reports whether one copy of a message was for all devices, after this one had registered. But what the user
// wrote meanwhile on another device was sent to none.
func (f *backlog) cameToAll(item *pageItem) bool {
	return !f.until.IsZero() && (!item.at.Before(f.until) || item.seq > f.upto)
}

// bringNext sends the next messages of f, or loads more of them.
func (d *delivery) bringNext(f *backlog) {
	if f.done == nil || f.loading {
		return
	}
	f.due = time.Time{}
	r, m := f.room, f.member
	if d.rooms[r.key] != r || !m.live || d.ending || d.engine.stopping.Load() {
		d.endBacklog(f, errNotNow)
		return
	}
	for f.mayBring(d.engine.cfg.MemberWindow) {
		item := &f.page.items[f.next+len(f.window)]
		apart := f.apartOf(item)
		switch {
		case f.reached(item):
			d.bringNoMore(f)
			return
		case f.lane != nil && f.lane.sent != nil || apart != nil && !apart.over:
			f.due = d.now.Add(backlogPoll) // what was sent before it became slow, or before another one failed
			return
		case item.seq > m.cursor && !r.hasHad(m, item.seq):
			if m.inFlight != nil && m.inFlight.seq >= item.seq {
				f.due = d.now.Add(backlogPoll) // its outcome decides
				return
			}
			d.bringNoMore(f) // the rest comes to all devices
			return
		case item.sender == m.key && !f.own(item) || item.out == nil || d.expired(item.expires) || apart != nil ||
			f.cameToAll(item) && item.sender != m.key:
		case d.bringCopy(f, item):
			if !f.due.IsZero() {
				return
			}
			continue
		}
		f.window = append(f.window, &brought{backlog: f, seq: item.seq, line: item.line, over: true})
		f.passGot()
	}
	switch {
	case len(f.window) > 0:
		return
	case f.page != nil && f.page.last == 0:
		d.endBacklog(f, nil)
		return
	}
	d.dropBacklogPage(f)
	f.loading = true
	after := f.after
	d.engine.loader.put(query{room: r.id, after: after, limit: pageSize,
		answer: func(rows []store.MessageRow, err error) {
			d.inbox.post(func() {
				d.backlogLoaded(f, rows, err)
				d.engine.held.pages.Add(-rowsSize(rows))
			})
		}})
}

// bringNoMore ends f, once the copies under way have their outcomes.
func (d *delivery) bringNoMore(f *backlog) {
	if len(f.window) == 0 {
		d.endBacklog(f, nil)
	}
}

// own reports whether the device gets what its user has written: on another one.
func (f *backlog) own(item *pageItem) bool {
	return f.owns && item.sentOn != "" && item.sentOn != f.name && item.sentOn != f.source
}

// backlogLoaded takes messages for f.
func (d *delivery) backlogLoaded(f *backlog, rows []store.MessageRow, err error) {
	f.loading = false
	if f.done == nil {
		return // it has ended meanwhile
	}
	if err != nil {
		d.endBacklog(f, err)
		return
	}
	p := &page{items: d.composeRows(f.room, rows)}
	if len(rows) == pageSize {
		p.last = rows[len(rows)-1].Seq // there may be more
	}
	d.countPage(p)
	f.page, f.next = p, 0
	f.moved()
	d.bringNext(f)
}

func (d *delivery) dropBacklogPage(f *backlog) {
	if f.page != nil {
		d.engine.held.pages.Add(-int64(f.page.bytes))
		f.page = nil
	}
}

// bringCopy sends a message to the device of f. False: it can never be sent.
func (d *delivery) bringCopy(f *backlog, item *pageItem) bool {
	c := &sentCopy{room: f.room, member: f.member, out: item.out, at: d.clock(item.at), line: item.line,
		credit: weigh(item.out.BodyLen())}
	if !item.line {
		c.seq = item.seq
	}
	id := d.copyID(c)
	if c.id = id; f.device != nil {
		c.id = legID(id, f.gruu)
	}
	if d.inFlight[c.id] != nil || !d.engine.credits.take(d.inbox, c.credit) {
		f.due = d.now.Add(backlogPoll) // it is under way already
		return true
	}
	seen := d.engine.credits.drained.Load()
	var err error
	c.conn, _, err = d.sendTo(f.via, c, f.member.key,
		evapi.Copy{Out: c.out, To: f.member.uri, Device: f.gruu, CallID: id})
	if err != nil {
		d.notSent(c.credit, seen, err)
		if !retryable(err) {
			d.engine.log.Warn().Err(err).Str("room", f.room.key).Str("member", f.member.key).Msg("copy not sent")
			return false
		}
		f.due = d.now.Add(backlogPoll)
		return true
	}
	if d.brought == nil {
		d.brought = make(map[*sentCopy]*brought)
	}
	b := &brought{backlog: f, seq: item.seq, line: item.line, sent: true}
	d.brought[c] = b
	f.window = append(f.window, b)
	d.trackInFlight(c)
	return true
}
