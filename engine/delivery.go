package engine

import (
	"fmt"
	"strconv"
	"time"

	"imcd/engine/store"
	"imcd/evapi"
)

// delivery sends copies of messages to the members of a shard's rooms, and notices to users. The
// goroutine of the shard owns it and calls it: enter, leave and discard say who takes part, appendLog
// and note queue entries and notices, flush writes cursors, and result, heard, receipt and lost report
// outcomes and signs of users.
type delivery struct {
	engine *Engine
	owner  deliveryOwner
	inbox  *inbox           // of the shard
	rooms  map[string]*room // of the shard
	stale  map[string]*room // of the shard
	prefix string           // of its Call-IDs; Engine.Result reads the shard from it
	serial uint64           // of those that name no message
	began  time.Time        // the zero of its clock
	now    time.Time        // of this round
	ending bool             // nothing more is sent whose arrival must be noted: the cursors are written for the last time

	// Notices to users.
	streams   map[string]*stream // by key; without empty ones
	hasNote   []*stream          // those with something to send and nothing under way
	kept      int                // notes that wait for their users, of all streams
	keptDue   []keptUntil        // streams with such, in the order in which they are tried again
	doneNotes []int64            // of kept ones, those that are to be deleted
	heldNotes []int64            // likewise, and the database has refused it

	// Members that have something to get.
	small      []*room    // small rooms with ready members, in the order of their turns
	ahead      int        // copies that small rooms have sent since the last turn of another room
	turns      []*room    // the other rooms with ready members
	spent      int        // copies that the first of turns has sent in its turn
	recipients recipients // of copies under way
	aside      []aside    // suspects that wait until fewer copies go to such

	// Copies under way.
	inFlight   map[string]*sentCopy   // by Call-ID
	expiry     []*sentCopy            // the same and finished ones, once for each time that they were sent
	repeats    []*sentCopy            // those that are to be sent again now
	fresh      []*sentCopy            // the last of them: those that were sent just now, and finished ones
	tried      time.Time              // when a copy went last in spite of stuck ones
	brought    map[*sentCopy]*brought // those of backlogs
	legs       map[*sentCopy]*leg     // those of forks
	backlogs   []*backlog             // that go on, and ended ones
	older      []*sentCopy            // the same a moment later, until they are burstTime old
	freshTimer *time.Timer            // runs while fresh is not empty

	// Users with several devices.
	forks       map[*member][]*fork     // with open legs, or with devices to be noted; oldest first
	lanes       map[string][]*lane      // by user key
	lanesDue    []*lane                 // that have something to send
	waitingLegs int                     // in all lanes
	stopped     int                     // lanes that note where their device has stopped
	departures  map[*member][]departure // of devices; the messages on their way then

	evicted      []evicted // oldest first
	evictedBytes int       // of these
	copyBytes    int       // as held.copies has it, see countCopies

	// Members that are tried again later.
	waits    waits
	probes   bucket                        // tries that messages have brought forward
	catching int                           // members that were, and have not caught up yet
	catchers map[*member]*room             // the same
	returns  map[*member][]userReturn      // registrations of users of which members had not caught up
	away     map[string]map[*wait]struct{} // the same by user key

	// Cursors and places to write.
	dirty          map[*room]struct{} // rooms whose cursors are to be written
	held           map[*room]struct{} // rooms of which not all is written: copies are under way, or it was refused
	placed         map[*room]bool     // rooms whose places are to be written; true: with the next flush
	placesAt       time.Time          // when that was last begun
	flushTimer     *time.Timer        // runs while dirty or doneNotes is not empty
	flushWait      time.Duration      // the wait after a failed flush; 0: the last one succeeded
	flushing       int                // rooms whose cursors are being written
	refusedCursors map[cursorKey]refusedCursor

	raised  []store.Change // events for the webhook that are not stored yet
	raising int            // the first of them, which are being stored
	// raiseLater: the database was away, and there was no tick since
	raiseLater bool
	pushed     map[*member]bool // members with a push in pushes
	pushes     []push           // the last ones, oldest first

	moving      map[*room]struct{} // large rooms with a notice to come of who has joined and left
	typedNow    []typed            // "is typing" that came in this round
	typedCopies meter              // copies of it
}

// newDelivery makes the delivery of the shard with an index; rooms and stale are the shard's.
func newDelivery(e *Engine, index int, owner deliveryOwner, b *inbox, rooms, stale map[string]*room) *delivery {
	now := time.Now()
	return &delivery{engine: e, owner: owner, inbox: b, rooms: rooms, stale: stale,
		prefix: fmt.Sprintf("%03x-", index), began: now, now: now, streams: make(map[string]*stream),
		inFlight: make(map[string]*sentCopy), away: make(map[string]map[*wait]struct{}),
		dirty: make(map[*room]struct{}), held: make(map[*room]struct{}), placed: make(map[*room]bool),
		catchers: make(map[*member]*room), returns: make(map[*member][]userReturn),
		legs: make(map[*sentCopy]*leg), forks: make(map[*member][]*fork), lanes: make(map[string][]*lane),
		departures: make(map[*member][]departure), moving: make(map[*room]struct{}),
		flushTimer: newStoppedTimer(), freshTimer: newStoppedTimer(),
		recipients: newRecipients(e.seed), refusedCursors: make(map[cursorKey]refusedCursor)}
}

// deliveryOwner is the shard of a delivery: it decides what an outcome means for the members of a room.
type deliveryOwner interface {
	// greeted takes the outcome of the notice that greets a member in its room.
	greeted(n note, res evapi.Result)
	// invitationWaits says that an invitation is kept until the invited user is there.
	invitationWaits(r *room, m *member)
	// invitationDone takes the final outcome of an invitation.
	invitationDone(r *room, m *member, res evapi.Result)
	// store writes changes that do not depend on each other, and calls after in the shard.
	// Lazy ones may wait until something else is written.
	store(changes []store.Change, lazy bool, after func(error))
}

// noteID names a copy of something that is not a stored message.
func (d *delivery) noteID() string {
	d.serial++
	return d.prefix + d.engine.tag + "-n" + strconv.FormatUint(d.serial, 36)
}

// expired reports whether a message that expires at a time, zero for never, has expired.
func (d *delivery) expired(at time.Time) bool { return !at.IsZero() && !d.now.Before(at) }

// clock is a time as sentCopy has it.
func (d *delivery) clock(t time.Time) time.Duration { return t.Sub(d.began) }

// age is how long it is that f was sent last.
func (d *delivery) age(f *sentCopy) time.Duration { return d.clock(d.now) - f.since }

// pending counts members that are tried again later, and rooms with cursors to write.
func (d *delivery) pending() (waiting, unwritten int) {
	return len(d.waits), len(d.dirty) + d.flushing
}

// markDirty notes that members of r have moved. Their cursors are written a moment later, together with
// those of other rooms: half of cursor_flush passes here, half in the committer.
func (d *delivery) markDirty(r *room) {
	if len(d.dirty) == 0 {
		d.flushTimer.Reset(max(d.engine.cfg.CursorFlush/2, d.flushWait))
	}
	d.dirty[r] = struct{}{}
}

// sendTo sends a copy for a user: if it has native devices, to them and to its other ones, else as it is. It says how
// many tries that are beyond the first.
func (d *delivery) sendTo(via *evapi.Conn, f *sentCopy, user string, cp evapi.Copy) (conn *evapi.Conn, more uint8,
	err error) {
	native, plain := d.engine.natives.of(user)
	one := ""
	if cp.Device != "" {
		one = d.engine.natives.behind(user, cp.Device)
	}
	if len(native) == 0 || !d.ofMember(f, user) || cp.Device != "" && one == "" {
		conn, err = d.engine.relay.Send(via, cp)
		return conn, 0, err
	}
	if one != "" {
		if cp.Out, err = d.engine.nativeForm(f, cp.CallID); err == nil {
			cp.To = one
			conn, err = d.engine.relay.Send(via, cp)
		}
		return conn, 0, err
	}
	if f.stream != nil && f.stream.notes[0].native {
		plain = nil
	}
	var copies []evapi.Copy
	for _, device := range plain {
		p := cp
		p.Device = device
		copies = append(copies, p)
	}
	if cp.Out, err = d.engine.nativeForm(f, cp.CallID); err != nil {
		return nil, 0, err
	}
	for _, gruu := range native {
		p := cp
		p.To, p.Device = gruu, ""
		copies = append(copies, p)
	}
	sent := 0
	for i := range copies {
		c, failed := d.engine.relay.Send(via, copies[i])
		if failed != nil {
			err = failed
			continue
		}
		sent, conn = sent+1, c
	}
	if sent == 0 {
		return nil, 0, err
	}
	return conn, uint8(sent - 1), nil
}

// queueReceipt queues the receipt out for the author of a message. err says that it could not be made.
func (d *delivery) queueReceipt(r *room, author *member, o *openReceipt, out *evapi.Outgoing, err error) {
	if err != nil {
		d.engine.log.Warn().Err(err).Str("room", r.key).Msg("receipt cannot be sent")
		return
	}
	size := d.engine.sizeOf(out)
	d.engine.charge(size)
	d.note(author.name(), note{out: out, via: o.via, room: r, size: size, native: o.native && !o.plain})
	d.engine.metrics.receiptsSent.Inc()
}
