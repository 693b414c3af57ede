package engine

import (
	"strings"

	"imcd/engine/store"
)

// member is one user's place in a room, or the invitation to it. Owned by the
// room's shard.
//
// There may be millions, most of them idle: the fields are in an order, and as
// small, that 128 bytes suffice.
type member struct {
	uri     string      // name().URI()
	key     string      // name().Key(), a part of uri if that is in lower case
	inviter *store.Name // who invited; nil if not known

	// Delivery.
	cursor uint64  // number of the last message that reached it
	next   uint64  // following: number of the next log entry
	page   *page   // behind: what has been loaded for it; nil if nothing
	from   uint64  // behind: number after which page begins, or is asked for
	stored uint64  // the cursor as it is stored
	flight *flight // copy under way; nil if none
	wait   *wait   // waiting: until when; nil else
	last   lastResult
	excuse uint64 // last message that may come late for other reasons than the load

	at      int32 // behind: index of the next message in page
	user    uint8 // length of the user part of uri
	flag    int8  // MemberOwner, MemberAdmin, MemberInvited or 0
	told    bool  // the invitation has arrived
	live    bool  // takes part in deliveries: its joining is durable
	mode    mode  // where its next copy comes from
	loading bool  // behind: page has been asked for
	queued  queue // where it waits for its turn
	tracked bool  // the cursor has a row of its own
	unshown uint8 // losses that m is to be told of
	deaf    bool  // m refuses even that: it is told nothing until something has arrived
	resumed bool  // one of shard.catching: was waiting and is not yet up to date
	news    news  // whether the others know that it is in the room
}

// newMember makes a member of a valid name.
func newMember(name store.Name, flag int) *member {
	m := &member{uri: name.URI(), user: uint8(len(name.User)), flag: int8(flag)}
	// name.Key(), and no new string if that is the same.
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
	behind                // the database: the log does not have it any more
	waiting               // nowhere for now: it could not be reached
)

func (m *member) invited() bool { return m.flag&store.MemberInvited != 0 }

func (m *member) owner() bool { return m.flag&store.MemberOwner != 0 }

func (m *member) rights() bool { return m.flag&(store.MemberOwner|store.MemberAdmin) != 0 }

// queue is where a member waits for its turn.
type queue uint8

const (
	noQueue queue = iota
	ready         // room.ready
	beside        // outside of that, see recipients
)

// news is what the others in a room have heard of a member.
type news uint8

const (
	announced news = iota // that it is in the room
	withheld              // nothing: it was added under a name of which nobody knows that it is a user's
	collected             // nothing yet: the room's next notice of who has joined tells of it
)

// away reports whether it has no device, as far as is known.
func (m *member) away() bool { return m.wait != nil && (m.wait.why == offline || m.wait.why == gone) }

// mark is what a list of members shows before the name.
func (m *member) mark() string {
	switch {
	case m.owner():
		return "*"
	case m.flag&store.MemberAdmin != 0:
		return "~"
	}
	return ""
}

// room is a chat room. Owned by its shard.
type room struct {
	name    store.Name
	key     string // name.Key()
	private bool
	roster  // members, invited ones included

	id       int64 // of this incarnation, see RoomRow
	stored   bool  // the database knows the id
	inflight int   // commits under way

	seq    uint64 // last message number given, its commit may be under way
	last   uint64 // last message that is durable
	author string // key of its sender; empty after a restart
	done   uint64 // RoomRow.Done as it was last written

	log       roomLog
	followers int                  // live members in mode following
	ready     []*member            // live members that have something to get and nothing under way
	turn      bool                 // stands in shard.turns
	lateness                       // of its messages
	leavers   []*member            // of a room that is distrusted: who left in vain
	parking   bool                 // of one that is distrusted: its requests wait for it
	behind    []*request           // of one that is parking: those behind a refused change
	parked    []*request           // and those that came later
	ahead     map[*member]*ahead   // copies under way behind the first of a member; empty unless member_window is above 1
	loads     map[uint64][]*member // who waits for messages after a number to be loaded
	open      []*openReceipt       // messages whose senders are to get receipts still, oldest first
	newcomers []newcomer           // the last that joined
	places    places               // of the members of whom there is more to tell than the cursor; nil if of none

	probes bucket               // tries that messages have brought forward
	probed int                  // index of the member that was looked at last for that
	names  map[string]shownName // display names of members, by key, at most maxNames; nil unless they are shown
	losses map[string]losses    // of members, by key; nil if there are none

	counted     []string     // owners that the ledger has counted for this room, by key
	auto        *autoReplies // nil: nobody has spoken
	said, joins meter        // of rate_room_messages and rate_room_joins
	typists     typists      // nil in most rooms
	moves       *moves       // of a large room; nil in others
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
	return store.MemberRow{Room: r.name, User: m.name(), Flag: int(m.flag), Inviter: m.invitedBy(), Delivered: m.told}
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

// heir is who owns the room after its last owner left: the oldest admin, else
// the oldest member; nil if nobody is left.
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

// show names a user the way people in this room know it: without the host where
// it is the room's own.
func (r *room) show(n store.Name) string { return showName(n, r.name.Host) }

func showName(n store.Name, host string) string {
	if equalFold(n.Host, host) {
		return n.User
	}
	return n.User + "@" + n.Host
}

// newcomer is a member that was not there for messages up to joined.
type newcomer struct {
	member *member
	joined uint64
}

// shownName is a member's display name as it was last seen.
type shownName struct {
	name   string // as it is shown
	folded string // see foldName
}

// atMost reports whether no more than n users are in the room. It looks at few more.
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
