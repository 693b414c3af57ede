package engine

import (
	"slices"
	"sync/atomic"
	"time"

	"imcd/engine/store"
	"imcd/evapi"
)

// What a delivery knows of copies and members.

// sentCopy is one copy under way to a recipient: a member or a stream. It may be sent several times
// until it has an outcome (repeat). There may be a hundred thousand; the order and the types of the
// fields keep it at 128 bytes.
type sentCopy struct {
	id     string
	room   *room // nil for streams
	member *member
	stream *stream
	seq    uint64        // of the message, or of the last missed one; 0: a notice to the room
	entry  uint64        // number of the log entry, plus one; 0: not from the log
	missed uint64        // this copy is a notice of so many missed messages; 0: it is none
	at     time.Duration // when the message was accepted, by delivery.clock
	since  time.Duration // when this copy was sent last, likewise
	credit credit

	out    *evapi.Outgoing // what is sent; nil once it is over
	conn   *evapi.Conn     // took it last; before it is sent: the preferred one, may be nil
	failed *evapi.Result   // the outcome that counts among failed tries; nil: none has failed

	expiries uint16     // how often it stands in delivery.expiry
	slot     uint16     // of the recipient, see recipients
	tries    uint8      // that have no outcome
	silent   uint8      // how often the user has registered after it instead of answering
	notice   lossNotice // a notice of losses that is sent instead of the message; noLossNotice: it is none
	losses   uint8      // that the notice counts
	line     bool       // a line that stands before a message of a page
	back     bool       // the user has registered, or sent something, since it was sent first
	repeats  bool       // stands in delivery.repeats
	early    bool       // the user registered while it was fresh
	slow     bool       // signs.await has its user
	ahead    bool       // was sent behind another copy to its member, see ahead
	named    bool       // counts in recipients.named
	over     bool
}

// to is the key of the recipient.
func (f *sentCopy) to() string {
	if f.stream != nil {
		return f.stream.key
	}
	return f.member.key
}

// ahead are the copies to one member that are under way behind its first one (member_window).
type ahead struct {
	copies []*sentCopy // in the order of the room; one that is over has its outcome in failed
	page   *page       // of the last of them; nil: the log
	at     int32       // index in page of the next item
	entry  uint64      // number of the next log entry
	had    []uint64    // messages beyond the cursor that have arrived
}

// hasHad reports whether m has got a message beyond its cursor.
func (r *room) hasHad(m *member, seq uint64) bool {
	if len(r.ahead) == 0 {
		return false
	}
	a := r.ahead[m]
	return a != nil && slices.Contains(a.had, seq)
}

func (r *room) aheadOf(m *member) *ahead {
	if r.ahead == nil {
		r.ahead = make(map[*member]*ahead)
	}
	if r.ahead[m] == nil {
		r.ahead[m] = &ahead{}
	}
	return r.ahead[m]
}

// addInFlight counts f as under way to m; next is where m goes on behind it.
func (r *room) addInFlight(m *member, f *sentCopy, next ahead) {
	if m.inFlight == nil {
		m.inFlight = f
		return
	}
	a := r.aheadOf(m)
	a.copies = append(a.copies, f)
	a.page, a.at, a.entry = next.page, next.at, next.entry
}

// isNext reports whether f is the copy that m must get now.
func (m *member) isNext(f *sentCopy) bool {
	if m.mode == following {
		return f.entry == m.next+1
	}
	item := m.pageItem()
	return item != nil && item.line == f.line && (f.line || item.seq == f.seq)
}

// page is a run of a room's messages that was loaded. Members that wait for it share it. Immutable.
type page struct {
	items []pageItem
	last  uint64 // all stored messages up to this number are in it
	bytes int    // charged for it
	users int    // members that have it; bytes are discharged with the last one
}

type pageItem struct {
	seq    uint64
	sender string // key
	sentOn string // the device, as in store.MessageRow
	out    *evapi.Outgoing
	at     time.Time // when it was accepted

	expires time.Time // when it is not delivered any more; zero: never
	line    bool      // a line that stands before the message of this number
}

// item is the next message in the page of m; nil at its end.
func (m *member) item() *pageItem {
	if int(m.at) < len(m.page.items) {
		return &m.page.items[m.at]
	}
	return nil
}

// pageItem is item; nil if there is no page either.
func (m *member) pageItem() *pageItem {
	if m.mode != lagging || m.page == nil {
		return nil
	}
	return m.item()
}

// wait says why a member has not got its next message, and when it is tried again. It lasts until
// something arrives.
type wait struct {
	room   *room
	member *member
	due    time.Time
	index  int // in the heap; -1: not in it, the member is being tried

	why       verdict   // of the last try; arrived: there was none since imcd was started
	since     time.Time // when the first try in a row failed
	tried     time.Time // when the last one failed
	notBefore time.Time // by a Retry-After; zero: there was none
	tries     int       // that failed in a row

	seq           uint64 // of the message that the following fields are about
	silent        int    // tries that nobody answered
	malformed     int    // tries that were answered 400
	poisonNotices int    // unanswered copies with noticePoison
	back          bool   // the user has registered, or sent something, since the first silent try
	looked        bool   // a page of one message was loaded for this try
}

// note counts outcomes that may be the fault of the message.
func (w *wait) note(f *sentCopy, v verdict) {
	if f.seq != w.seq {
		w.seq, w.silent, w.malformed, w.poisonNotices, w.back = f.seq, 0, 0, 0, false
	}
	w.silent += int(f.silent)
	w.back = w.back || f.back
	switch {
	case v == silent:
		w.silent++
	case v == malformed:
		w.malformed++
	}
}

// waits is a heap of members by the time at which they are due.
type waits []*wait

func (w waits) Len() int           { return len(w) }
func (w waits) Less(i, j int) bool { return w[i].due.Before(w[j].due) }

func (w waits) Swap(i, j int) {
	w[i], w[j] = w[j], w[i]
	w[i].index, w[j].index = i, j
}

func (w *waits) Push(x any) {
	x.(*wait).index = len(*w)
	*w = append(*w, x.(*wait))
}

func (w *waits) Pop() any {
	last := (*w)[len(*w)-1]
	(*w)[len(*w)-1] = nil
	*w = (*w)[:len(*w)-1]
	last.index = -1
	return last
}

// hurryEach is the time between two members, or two users with kept notices, that are tried one after the
// other: a shard tries 100 a second.
const hurryEach = 10 * time.Millisecond

// lateness says whether messages of a room arrive late because of the load. Only the members that are
// furthest count: not those that are slow, offline or catching up.
type lateness struct {
	front    uint64 // number of the last message that has reached any member
	exempt   uint64 // number of the last message that the database has delayed
	late     bool   // that message arrived late
	inFlight int    // copies to members under way
}

// word is a notice of losses that a member gets instead of its next message.
type lossNotice uint8

const (
	noLossNotice lossNotice = iota
	noticeLoss              // messages were skipped
	noticePoison            // the next message is skipped if this notice arrives
)

// losses counts the messages that a member has lost since imcd was started.
type losses struct {
	n    uint64
	seq  uint64    // of the last one
	why  string    // of the last one
	code int       // the response to it; 0: none
	at   time.Time // when it was skipped
}

// oweLossNotice makes the next copy for m a notice of one more loss.
func (m *member) oweLossNotice() {
	if !m.deaf && m.unshown < 255 {
		m.unshown++
	}
}

// aside is a member that waits outside of its room's turns, with member.queued set.
type aside struct {
	room   *room
	member *member
}

// isSuspect reports whether m may be silent: it did not answer the last copy, or got none yet.
func (m *member) isSuspect() bool {
	code := m.last.code()
	return code == 0 || judgeCode(code) == silent
}

// evicted is a message that left its room's log, which was too long, while copies of it were under
// way. These copies hold its memory until they have an outcome.
type evicted struct {
	at   time.Time
	size int
}

// refusedCursor is a row that the database refuses: a cursor, the progress or the places of a room, or
// a notice to delete.
type refusedCursor struct {
	next time.Time     // when it is tried again
	wait time.Duration // after that
}

// cursorKey names a refusedCursor; only PutCursor has a user.
type cursorKey struct {
	op   store.Op
	room int64
	user string
}

func keyOfCursor(c *store.Change) cursorKey {
	switch c.Op {
	case store.PutCursor:
		return cursorKey{store.PutCursor, c.Cursor.Room, c.Cursor.User.Key()}
	case store.PutPlaces:
		return cursorKey{op: store.PutPlaces, room: c.Places.Room}
	case store.DeleteNote:
		return cursorKey{op: store.DeleteNote, room: c.Note.ID} // the ID of the notice
	}
	return cursorKey{op: store.PutProgress, room: c.Progress.Room}
}

// reach holds the places of a member beside its cursor. Members without a reach have none.
type reach struct {
	displayed uint64 // number of the last message that was shown; 0: none
	delivered uint64 // number of the last message that its phone took, if gap is set
	gap       bool   // messages after delivered, up to the cursor, were given up
}

// maxPlaces bounds the members of a room that have a reach.
const maxPlaces = 4096

// places are those of a room's members.
type places map[*member]reach

// typists counts "is typing" by member.
type typists map[*member]*meter

// typed is an "is typing", until the end of the round.
type typed struct {
	req *request
	seq uint64 // of the room's last message at that time
}

// maxCatching bounds the members of a shard that catch up at a time: each has a page in memory.
const maxCatching = 128

// note is one answer or notice to one user.
type note struct {
	out    *evapi.Outgoing
	via    *evapi.Conn
	room   *room      // that it is about; of one that was loaded, only the name counts
	invite *member    // whose invitation it is; nil for all others
	greets *member    // the member that the notice greets in the room; nil for all others
	adder  store.Name // who added greets; zero if nobody did
	stored int64      // ID of its NoteRow; 0: it has none
	parts  bool       // that its user is not in the room any more
	noted  bool       // the inviter knows that the invitation waits
	native bool       // it is for native devices alone, see delivery_native.go
	size   int        // bytes charged
	made   time.Time
	tries  int
}

// stream is the queue of notices to one user.
type stream struct {
	user     store.Name
	key      string
	notes    []note // to be sent, in order; the first is under way if inFlight is not nil
	inFlight *sentCopy
	kept     []note    // they wait until the user is there
	due      time.Time // when these are tried without a sign of the user
}

// keptUntil says when the kept notices of a stream are tried, unless stream.due differs: then they
// were sent meanwhile, and are kept again.
type keptUntil struct {
	stream *stream
	due    time.Time
}

// keeps reports whether n is kept if its user is offline.
func (n *note) keeps() bool { return n.invite != nil || n.stored != 0 }

// mustKeep reports whether n is kept after the outcome r. A user who declines an invitation (603)
// has answered it.
func (n *note) mustKeep(r evapi.Result) bool {
	switch v := judge(r); {
	case !n.keeps() || v.final() || v == malformed && n.tries >= malformedTries:
		return false
	case n.invite != nil && !r.Local && (r.Code == 603 || r.Code == 607):
		return false
	}
	return true
}

// slowAfter is how long a copy may be under way before the cursor of its member gets a row of its own,
// and does not hold back the number for all.
const slowAfter = time.Second

// fork is a message to several devices.
type fork struct {
	copy   *sentCopy       // of the member: member.inFlight until the fork is decided, and in no list
	out    *evapi.Outgoing // what is sent
	id     string          // Call-ID
	first  bool            // evapi.Copy.First
	open   int             // legs without an outcome
	owing  int             // devices of which the database does not know yet that they are owed it
	over   bool            // it is decided: a device has taken it, or none has
	taken  bool            // a device has taken it
	best   *evapi.Result   // of failed legs; nil: none has failed
	failed []failedLeg     // to devices that may take it later
}

// failedLeg is the lane of a device that has not taken a message, which was sent to it or waited for it; slow: see
// dropLegs.
type failedLeg struct {
	lane *lane
	sent bool
	slow bool
}

// leg is the copy for one device.
type leg struct {
	fork *fork
	lane *lane
}

// lane is the way of legs to a device of a member.
type lane struct {
	room    *room
	member  *member
	device  *device
	sent    *sentCopy // under way; nil: none
	waiting []*leg
	backlog *backlog   // what it is owed, ahead of them; nil: nothing
	came    int64      // the return (device.returns) in which the backlog of this room has come to an end
	from    uint64     // number of the first message that was not one copy for all devices; 0: there was none yet
	due     bool       // stands in delivery.lanesDue
	stopped uint64     // the device has got all messages before this number that it is owed; 0: not known
	lacks   uint64     // number of the first one that it has not got, where stopped cannot say so; 0: there is none
	apart   []*brought // behind that one, see backlog.apart
}

// backlog sends a device what it is owed in one room, as many messages at a time as to a member (member_window). The
// shard of the room owns it.
type backlog struct {
	room   *room
	member *member
	gruu   string      // of the device
	device *device     // nil: one copy is for all devices
	name   string      // store.DeviceRow.Device
	source string      // likewise
	owns   bool        // it gets what its user has written on other devices
	via    *evapi.Conn // to the Kamailio that knows it; may be nil
	after  uint64      // number of the last message that it has got or need not get
	from   uint64      // that number when the backlog began
	since  time.Time   // from when on the device is owed what was accepted
	until  time.Time   // see comeback
	lane   *lane       // of the device; nil: see device
	came   int64       // device.returns
	done   func(error) // called once, in the shard; an error: it is owed the rest

	page    *page // nil: none is loaded
	next    int   // index in it of the first message that the device has not got
	loading bool
	window  []*brought // that message and those behind it, as far as they were looked at
	apart   []*brought // behind one that has failed: these are under way, or the device has got them
	answers bool       // the device has answered a copy
	failed  int        // tries of the next message
	due     time.Time  // when it goes on; zero: now
	upto    uint64     // number of the last message that it is owed; one copy of those after it was for all devices

	// place is when the next message was accepted, in ms of Unix time: the device has got all before. Anybody may
	// read it; 0: not known yet.
	place atomic.Int64
}

// brought is a message of a backlog that the device gets, or need not get.
type brought struct {
	backlog *backlog
	seq     uint64
	line    bool         // it is the line before the message of this number
	sent    bool         // it was sent; else it need not be
	over    bool         // it has its outcome, or was not sent
	outcome evapi.Result // of one that was sent
}

// got reports whether the device needs it no more.
func (b *brought) got() bool { return b.over && (!b.sent || judge(b.outcome).final()) }

// userReturn is a registration of the user of a member that had not caught up. What comes after it reaches the
// registered device as well.
type userReturn struct {
	at  time.Time
	had uint64 // number of the last message that was sent to the member before
}

// firstSeq is the number of the message, or of the first one that was missed; 0: it is a notice.
func (k *fork) firstSeq() uint64 {
	if k.copy.seq == 0 {
		return 0
	}
	return k.copy.seq - max(k.copy.missed, 1) + 1
}

// push is when a member was said to have missed something.
type push struct {
	room   *room
	member *member
	at     time.Time
	seq    uint64 // of the last message of the room
}
