package engine

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"strings"
	"time"

	"imcd/engine/store"
)

// member is one user's place in a room, or the invitation to it. There may be millions, most of them
// idle; the order and the types of the fields keep it at 128 bytes.
type member struct {
	uri     string      // name().URI()
	key     string      // name().Key(), a part of uri if that is in lower case
	inviter *store.Name // who invited; nil if not known

	// Delivery.
	cursor   uint64    // number of the last message that reached it
	next     uint64    // following: number of the next log entry
	page     *page     // lagging: its messages; nil: none are loaded
	from     uint64    // lagging: page begins, or will begin, behind this number
	stored   uint64    // the cursor in the database
	inFlight *sentCopy // copy under way; nil if none
	wait     *wait     // waiting: until when; nil otherwise
	last     lastResult
	exempt   uint64 // up to this message, the load is not why it comes late

	at                int32 // lagging: index of the next message in page
	user              uint8 // length of the user part of uri
	flag              int8  // MemberOwner, MemberAdmin, MemberInvited or 0
	invitationArrived bool  // the invitation has arrived
	live              bool  // takes part in deliveries: its joining is durable
	mode              mode  // where its next copy comes from
	loading           bool  // lagging: a query for its page is open
	queued            queue // where it waits for its turn
	tracked           bool  // the cursor has a row of its own
	unshown           uint8 // losses that the member has no notice of
	deaf              bool  // it refuses such notices: no more until something has arrived
	resumed           bool  // counts in delivery.catching
	news              news  // whether the others know of it
}

// newMember makes a member of a valid name.
func newMember(name store.Name, flag int) *member {
	m := &member{uri: name.URI(), user: uint8(len(name.User)), flag: int8(flag)}
	// This is name.Key(), without a new string if uri ends with it.
	if m.key = strings.ToLower(m.uri[len("sip:"):]); strings.IndexByte(name.User, '%') >= 0 {
		m.key = name.Key()
	}
	return m
}

func (m *member) name() store.Name {
	at := len("sip:") + int(m.user)
	return store.Name{User: m.uri[len("sip:"):at], Host: m.uri[at+1:]}
}

// invitedBy is who invited; the zero Name if that is not known.
func (m *member) invitedBy() store.Name {
	if m.inviter == nil {
		return store.Name{}
	}
	return *m.inviter
}

// mode is where a live member's next copy comes from.
type mode uint8

const (
	following mode = iota // the room's log
	lagging               // pages from the database: the log does not have everything any more
	waiting               // nowhere: it could not be reached
)

func (m *member) invited() bool { return m.flag&store.MemberInvited != 0 }
func (m *member) owner() bool   { return m.flag&store.MemberOwner != 0 }
func (m *member) rights() bool  { return m.flag&(store.MemberOwner|store.MemberAdmin) != 0 }

// queue is where a member waits for its turn.
type queue uint8

const (
	noQueue queue = iota
	ready         // room.ready
	beside        // outside of the room's turns, see recipients
)

// news says whether the others in a room know of a member.
type news uint8

const (
	announced news = iota // that it is in the room
	withheld              // nothing: it was added, and no sign of such a user is known
	collected             // nothing yet: it is in the next collected notice
)

// away reports whether it has no device, as far as imcd knows.
func (m *member) away() bool { return m.wait != nil && (m.wait.why == offline || m.wait.why == gone) }

// mark stands before the name in a list of members.
func (m *member) mark() string {
	switch {
	case m.owner():
		return "*"
	case m.flag&store.MemberAdmin != 0:
		return "~"
	}
	return ""
}

// room is a chat room. Its shard and the delivery of that own it and its members.
type room struct {
	name     store.Name
	key      string // name.Key()
	private  bool
	settings *settings // that differ from imcd.yaml's; nil: none. Never changed, but replaced
	rules    rules     // about single users; nil: none
	roster             // members, invited ones included

	id         int64 // of this incarnation, see RoomRow
	stored     bool  // the database knows id
	committing int   // commits under way
	left       bool  // another engine has it, or this one has loaded it again

	seq    uint64 // the last number given; its commit may be under way
	last   uint64 // last message that is durable
	author string // key of the author of that; empty after a restart
	done   uint64 // RoomRow.Done in the database

	log       roomLog
	followers int                  // live members that follow log
	ready     []*member            // live members that have something to get
	turn      bool                 // stands in delivery.turns
	lateness                       // of its messages
	leavers   []*member            // of a distrusted room: members whose leaving failed
	parking   bool                 // of a distrusted room: requests wait until it is loaded
	behind    []*request           // of a parking room: requests behind a refused change
	parked    []*request           // of a parking room: later requests
	ahead     map[*member]*ahead   // copies under way behind the first one of a member (member_window)
	loads     map[uint64][]*member // members that wait for messages after a number
	unread    *unread              // messages could not be loaded; nil: they could, or nobody tried
	open      []*openReceipt       // messages whose senders will get receipts, oldest first
	newcomers []newcomer           // the last that joined
	keyProof  [sha256.Size]byte    // of the key that somebody has had, see proofOf
	deleted   []uint64             // numbers of messages that were deleted, the last ones
	named     []namedMessage       // the last ones whose authors have native devices
	places    places               // of members that have more places than the cursor; may be nil

	probes bucket               // tries that messages have brought forward
	probed int                  // index of the last member that was looked at for that
	names  map[string]shownName // display names of members, by key, at most maxNames; nil unless they are shown
	losses map[string]losses    // of members, by key; may be nil

	counted     []string     // keys of the owners that the ledger has counted
	auto        *autoReplies // nil: nobody has written
	spoken      time.Time    // when something was said last; zero: not since the room was loaded
	said, joins meter        // of rate_room_messages and rate_room_joins
	typists     typists      // may be nil
	moves       *moves       // nil: the room was always small
}

func newRoom(name store.Name, id int64) *room {
	return &room{name: name, key: name.Key(), id: id}
}

func (r *room) row() store.RoomRow {
	row := store.RoomRow{Name: r.name, ID: r.id}
	if r.private {
		row.Flag = store.RoomPrivate
	}
	return row
}

func (r *room) memberRow(m *member) store.MemberRow {
	return store.MemberRow{Room: r.name, User: m.name(), Flag: int(m.flag), Inviter: m.invitedBy(),
		Delivered: m.invitationArrived}
}

// full counts those who are in the room, the invited left out.
func (r *room) full() int { return len(r.order) - r.pending }

// owners lists the owners, oldest first.
func (r *room) owners() []*member { return r.having((*member).owner) }

func (r *room) having(is func(*member) bool) []*member {
	var found []*member
	for _, m := range r.order {
		if is(m) {
			found = append(found, m)
		}
	}
	return found
}

// heir owns the room after its last owner left: the oldest admin, else the oldest member; nil: there is
// none.
func (r *room) heir(leaver *member) *member {
	var heir *member
	for _, m := range r.order {
		switch {
		case m == leaver || m.invited():
		case m.flag&store.MemberAdmin != 0:
			return m
		case heir == nil:
			heir = m
		}
	}
	return heir
}

// show is the name of a user in this room: without the host where it is the room's.
func (r *room) show(n store.Name) string { return showName(n, r.name.Host) }

func showName(n store.Name, host string) string {
	if equalFold(n.Host, host) {
		return n.User
	}
	return n.User + "@" + n.Host
}

// newcomer is a member that did not get messages up to joined.
type newcomer struct {
	member *member
	joined uint64
}

// shownName is a member's display name as it was last seen.
type shownName struct {
	name   string // as it is shown
	folded string // see foldName
}

// atMost reports whether at most n users are in the room. It looks at few more.
func (r *room) atMost(n int) bool {
	if len(r.order) <= n {
		return true
	}
	in := 0
	for _, m := range r.order {
		if !m.invited() {
			in++
		}
		if in > n {
			return false
		}
	}
	return true
}

func roleName(flag int8) string {
	switch {
	case flag&store.MemberOwner != 0:
		return "owner"
	case flag&store.MemberAdmin != 0:
		return "admin"
	}
	return "member"
}

const (
	// joinsEach is the number of members up to which each joining and leaving has a notice of its own.
	joinsEach = 50
	// joinsNamed bounds the names in a notice, and those of leavers that a room keeps.
	joinsNamed = 3
)

// move is the joining or leaving of a member.
type move struct {
	member *member
	left   bool
	shown  shownName // the display name of a member that left
}

// moves collects joinings and leavings for the next notice of a room. Those who joined are the members
// with collected news.
type moves struct {
	last    time.Time // when the last notice was sent
	left    int       // how many have left
	leavers []leaver  // the first of them, at most joinsNamed
}

// leaver is a member that left.
type leaver struct{ key, name string }

// due reports whether the room may get a notice now. v may be nil: there was none.
func (v *moves) due(now time.Time, every time.Duration) bool {
	return v == nil || now.Sub(v.last) >= every
}

// title is the name of a room for people; empty if it has none. r may be nil.
func (r *room) title() string {
	if r == nil || r.settings == nil {
		return ""
	}
	return r.settings.title
}

// within reports whether what is for rooms of at most n members is for this one.
func (r *room) within(n int) bool { return n > 0 && r.atMost(n) }

// newRoomID names an incarnation of a room for ever.
func newRoomID() int64 {
	var b [8]byte
	rand.Read(b[:]) // never fails
	return int64(binary.BigEndian.Uint64(b[:])>>2) | 1
}

// rule names what holds for a user of a room.
type rule struct {
	kind string
	who  string // store.Name.Key() of the user, or *@domain
}

// rules say until when each holds; the zero Time: until it is taken back. nil: there is none.
type rules map[rule]time.Time

// keyProof is what a request has shown, or made, of a key.
type keyProof struct {
	hash  string // of the key
	right bool   // the sender has it
}
