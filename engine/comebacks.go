package engine

import (
	"context"
	"errors"
	"math"
	"time"

	"imcd/engine/store"
)

const (
	// comebackWorkers is how many devices get at a time what they are owed.
	comebackWorkers = 16
	// maxComebacks bounds the devices that wait for that. Above it a device gets it with its next registration.
	maxComebacks = 16384
	// comebackTimeout is the deadline of the queries for one device.
	comebackTimeout = 10 * time.Second
	// comebackNotes is how often the database learns how far a device has come.
	comebackNotes = time.Second
	// goneBefore is how much earlier than its unregistration a device may have got its last message: imcd learns of the
	// one a moment after Kamailio.
	goneBefore = 50 * time.Millisecond
)

// maxStuck bounds the devices with such a message; above it they are forgotten, and tried more often.
const maxStuck = 4096

func newComebacks(e *Engine) *comebacks {
	return &comebacks{engine: e, wake: make(chan struct{}, comebackWorkers), known: make(map[deviceID]struct{}),
		stuck: make(map[deviceID]stuck)}
}

// add queues a device, unless it gets already what it is owed.
func (c *comebacks) add(b comeback) {
	id := deviceID{b.row.User.Key(), b.row.Device}
	c.mu.Lock()
	_, known := c.known[id]
	full := len(c.waiting) >= maxComebacks
	if !known && !full {
		c.known[id] = struct{}{}
		c.waiting = append(c.waiting, b)
	}
	c.mu.Unlock()
	if known || full {
		c.engine.givesUp(&b)
	}
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

func (c *comebacks) take() (b comeback, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.waiting) == 0 {
		c.waiting = nil
		return b, false
	}
	b = c.waiting[0]
	c.waiting[0] = comeback{}
	c.waiting = c.waiting[1:]
	return b, true
}

// over ends what serve has done for a device. It may be owed more by now, or have registered with another contact.
func (c *comebacks) over(b *comeback) {
	user := b.row.User.Key()
	c.mu.Lock()
	delete(c.known, deviceID{user, b.row.Device})
	c.mu.Unlock()
	if v := c.engine.devices.find(user, b.row.Device); v != nil && v.triesAtOnce(time.Now()) {
		c.add(v.comeback())
	}
}

// run serves devices until ctx ends.
func (c *comebacks) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-c.wake:
		}
		for b, ok := c.take(); ok && ctx.Err() == nil; b, ok = c.take() {
			if err := c.serve(ctx, &b); err != nil && ctx.Err() == nil {
				c.engine.log.Debug().Err(err).Str("user", b.row.User.Key()).Str("device", b.row.Device).
					Msg("a device has not got all that it is owed")
			}
			c.over(&b)
		}
	}
}

// owedRoom is a room in which a device may be owed something.
type owedRoom struct {
	shard  *shard
	room   *room   // of the shard
	member *member // of the room
	place  store.Place
	cursor uint64 // of the member, by the time that it was asked for
}

// serve brings a device what it is owed, and notes how far that went.
func (c *comebacks) serve(ctx context.Context, b *comeback) error {
	err := c.look(ctx, b)
	if err != nil {
		c.engine.givesUp(b)
		return err
	}
	if b.row.GoneAt.IsZero() {
		c.engine.returned(b, time.Time{})
		return nil
	}
	backlogs, err := c.begin(ctx, b)
	if err != nil {
		c.engine.givesUp(b)
		return err
	}
	if err = c.bring(ctx, b, backlogs); ctx.Err() != nil {
		return err
	}
	if len(backlogs) == 0 && c.engine.ownership.loaded != nil {
		c.engine.returned(b, time.Time{})
		return nil // another imcd has the rooms, and notes what it has brought
	}
	var is time.Time
	if err != nil {
		if is = b.row.GoneAt; placeOf(backlogs).After(is) {
			is = placeOf(backlogs)
		}
		if at := placeOf(backlogs); errors.Is(err, errNotTaken) && !at.IsZero() && !b.tried && c.notTaken(b, at) {
			is = at.Add(time.Millisecond)
		}
	}
	return errors.Join(err, c.note(ctx, b, c.engine.returned(b, is)))
}

// look reads from when on a device is owed something that has not just registered.
func (c *comebacks) look(ctx context.Context, b *comeback) error {
	if b.device == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, comebackTimeout)
	defer cancel()
	rows, err := c.engine.store.Devices(ctx, b.row.User)
	if err != nil {
		return err
	}
	b.row.GoneAt = time.Time{}
	for i := range rows {
		if rows[i].Device == b.row.Device {
			b.row.GoneAt = rows[i].GoneAt
		}
	}
	at := b.device.owedFrom()
	if at == 0 || !b.row.GoneAt.IsZero() && at >= b.row.GoneAt.UnixMilli() {
		return nil
	}
	// The database does not know yet, or another imcd has brought what the device was owed in its own rooms.
	b.row.GoneAt = time.UnixMilli(at)
	return c.engine.store.OweDevices(ctx, []store.GoneMove{{User: b.row.User, Device: b.row.Device, Is: b.row.GoneAt}})
}

// bring waits until the backlogs of a device have come to an end.
func (c *comebacks) bring(ctx context.Context, b *comeback, backlogs map[*backlog]*shard) error {
	var err error
	ends := make(chan error, len(backlogs))
	for f, s := range backlogs {
		f.done = func(err error) { ends <- err }
		s.inbox.post(func() { s.delivery.bring(f) })
	}
	ticker := time.NewTicker(comebackNotes)
	defer ticker.Stop()
	for left := len(backlogs); left > 0; {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case e := <-ends:
			left--
			err = errors.Join(err, e)
		case <-ticker.C:
			_ = c.moved(ctx, b, backlogs) // a failure shows in the end
		}
	}
	return err
}

// comeback is that of a device that has not registered.
func (v *device) comeback() comeback {
	return comeback{row: v.row, via: v.kamailio.conn.Load(), device: v, tried: true}
}

// givesUp ends the return of a device that has got nothing.
func (e *Engine) givesUp(b *comeback) {
	if b.device != nil {
		e.returned(b, time.UnixMilli(b.device.owedFrom()))
	}
}

// returned ends the return of a device, which has got what was accepted before upTo; zero: everything. It returns from
// when on the device is owed something now.
func (e *Engine) returned(b *comeback, upTo time.Time) time.Time {
	if b.device == nil {
		return upTo
	}
	at := b.device.returned(millisOf(b.row.GoneAt), millisOf(upTo))
	for _, s := range e.shards {
		s.inbox.post(func() { s.delivery.returned(b.device) })
	}
	if at == 0 {
		return time.Time{}
	}
	return time.UnixMilli(at)
}

// notTaken counts that a device has not taken the message that was accepted at a time. True: it is not tried again.
func (c *comebacks) notTaken(b *comeback, at time.Time) bool {
	id := deviceID{b.row.User.Key(), b.row.Device}
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.stuck[id]
	if !s.at.Equal(at) {
		s = stuck{at: at}
	}
	s.tries++
	if most := c.engine.cfg.PoisonTries; most > 0 && s.tries >= most {
		delete(c.stuck, id)
		return true
	}
	if len(c.stuck) >= maxStuck {
		clear(c.stuck)
	}
	c.stuck[id] = s
	return false
}

// moved notes how far a device has come by now.
func (c *comebacks) moved(ctx context.Context, b *comeback, backlogs map[*backlog]*shard) error {
	if is := placeOf(backlogs); is.After(b.row.GoneAt) {
		return c.note(ctx, b, is)
	}
	return nil
}

// note writes what a device is owed from now on; zero: nothing.
func (c *comebacks) note(ctx context.Context, b *comeback, is time.Time) error {
	ctx, cancel := context.WithTimeout(ctx, comebackTimeout)
	defer cancel()
	err := c.engine.store.PutGone(ctx, []store.GoneMove{{User: b.row.User, Device: b.row.Device, Was: b.row.GoneAt,
		Is: is}})
	if err == nil {
		b.row.GoneAt = is
	}
	return err
}

// begin makes the backlogs of a device.
func (c *comebacks) begin(ctx context.Context, b *comeback) (map[*backlog]*shard, error) {
	ctx, cancel := context.WithTimeout(ctx, comebackTimeout)
	defer cancel()
	rooms, after, err := c.engine.owed(ctx, b.row.User.Key(), b.row.GoneAt)
	if err != nil {
		return nil, err
	}
	backlogs, source := make(map[*backlog]*shard, len(rooms)), b.row.Source
	if b.device != nil {
		source = *b.device.source.Load()
	}
	for i, o := range rooms {
		backlogs[&backlog{room: o.room, member: o.member, gruu: b.row.GRUU, via: b.via, after: after[i],
			since: b.row.GoneAt, until: b.until, device: b.device, name: b.row.Device, source: source,
			owns: c.engine.cfg.OwnDevices}] = o.shard
	}
	return backlogs, nil
}

// owed lists the rooms of a user that this engine has, and for each the number of the last message that a device is not
// owed which is owed those that were accepted at since and later.
func (e *Engine) owed(ctx context.Context, user string, since time.Time) (rooms []owedRoom, after []uint64, err error) {
	rooms, err = gather(ctx, e, func(s *shard) (list []owedRoom) {
		for _, r := range s.rooms {
			if m := r.get(user); m != nil && m.live && !m.invited() && r.last > 0 {
				list = append(list, owedRoom{shard: s, room: r, member: m, place: store.Place{Room: r.id, User: m.name()},
					cursor: m.cursor})
			}
		}
		return list
	})
	if err != nil || len(rooms) == 0 {
		return nil, nil, err
	}
	places := make([]store.Place, len(rooms))
	for i := range rooms {
		places[i] = rooms[i].place
	}
	after, err = e.store.Backlogs(ctx, places, since)
	return rooms, after, err
}

// placeOf is when the first message was accepted that a device has not got; zero: that is not known yet.
func placeOf(backlogs map[*backlog]*shard) time.Time {
	first := int64(math.MaxInt64)
	for f := range backlogs {
		first = min(first, f.place.Load())
	}
	if first == 0 || len(backlogs) == 0 {
		return time.Time{}
	}
	return time.UnixMilli(first)
}
