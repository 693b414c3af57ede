package store

import (
	"time"

	"imcd/evapi/sipmsg"
)

// Flags of a room, as the imc module stores them in imc_rooms.flag.
const (
	RoomPrivate = 1
	RoomDeleted = 2
)

// Flags of a member, as the imc module stores them in imc_members.flag.
const (
	MemberOwner   = 1
	MemberAdmin   = 2
	MemberInvited = 4
	MemberDeleted = 8
	MemberSkip    = 16
)

// RoomRow is a room as it is stored.
type RoomRow struct {
	Name Name
	Flag int // RoomPrivate or 0

	// ID names this incarnation of the room: one that is destroyed and made
	// again has another. 0 if the room was made by the module and has not
	// been given one yet; PutRoom with an ID does so. Never negative.
	ID int64
	// Seq is the number of the room's last message, 0 before the first.
	// Only read: messages raise it.
	Seq uint64
	// Done is the number of the last message that reached all members without
	// a cursor of their own. Only read: PutProgress writes it.
	Done uint64
}

// MemberRow is a member of a room, or a user who is invited to it, as it is stored.
type MemberRow struct {
	Room Name
	User Name
	Flag int // MemberOwner, MemberAdmin, MemberInvited or 0

	// Inviter is the user who invited; the zero Name if not invited or not known (a
	// row that the module wrote). Kept in a table of imcd's own.
	Inviter Name
	// Delivered is set once the invitation reached the user, so that a restart
	// sends an invitation again that may not have arrived.
	Delivered bool

	// Cursor is the number of the last message that reached this member; nil:
	// the room's Done. PutMember with nil leaves a stored cursor as it is.
	Cursor *uint64
}

// MessageRow is one message that a room accepted.
type MessageRow struct {
	Room        int64     // RoomRow.ID
	Seq         uint64    // from 1, without gaps
	Sender      Name      //
	Display     string    // the sender's display name, UTF-8 without control characters; may be empty
	ContentType string    // as the sender wrote it; may be empty
	Body        []byte    // any bytes
	At          time.Time // when it was accepted; stored with milliseconds

	// Headers go on with the message beside those that each copy has: the form of the body
	// (Content-Encoding and so on), and marks of machines and of rooms that it has
	// passed. They have passed evapi.NewOutgoing. nil for most.
	Headers []sipmsg.Header
	// Expires is when it is not delivered any more; zero: never. Stored with
	// milliseconds.
	Expires time.Time
	// MessageID is how the sender's client knows it: the Message-ID of CPIM, else the
	// Call-ID. At most MaxMessageID bytes, any of them; may be empty.
	MessageID string
	Wants     Wants // receipts that the sender's client has asked for
	// Device is what it was written on: DeviceRow.Device, or DeviceRow.Source where one device was registered. At most
	// MaxDevice characters; empty: not known.
	Device string
}

// DeletedTime is MessageRow.Expires of a message that was deleted: an imcd that does not know of that takes it for one
// that has expired, and does not deliver it.
func DeletedTime() time.Time { return time.UnixMilli(1) }

// Deleted reports whether the message was deleted. Then its number, Sender and At are all that is left of it.
func (m *MessageRow) Deleted() bool { return m.Expires.Equal(DeletedTime()) }

// Wants are receipts (RFC 5438) that the sender of a message would like to have.
type Wants uint8

// The bits of Wants.
const (
	WantsDelivered Wants = 1 << iota // positive-delivery
	WantsDisplayed                   // display
)

// MaxMessageID bounds MessageRow.MessageID, in bytes.
const MaxMessageID = 255

// CursorRow moves the cursor of a member.
type CursorRow struct {
	Room   int64 // RoomRow.ID
	User   Name
	Seq    uint64
	Remove bool // the room's Done holds for this member from now on
}

// ProgressRow moves the number of the last message that reached all members without a cursor.
type ProgressRow struct {
	Room int64 // RoomRow.ID
	Done uint64
}

// PlacesRow has the places of the members of a room beside their cursors: the last messages that were
// delivered to their phones, and displayed.
type PlacesRow struct {
	Room   int64  // RoomRow.ID
	Places []byte // the engine's own form, opaque to a Store; not nil
}

// SettingRow is something that is set in a room.
type SettingRow struct {
	Room  int64  // RoomRow.ID
	Name  string // what is set
	Who   string // the user that it is about, or a pattern of users; empty: the room
	Value string // the engine's own form, UTF-8; empty in a PutSetting: it is not set any more
}

// MaxSetting bounds SettingRow.Value, in bytes.
const MaxSetting = 1000

// SeenRow remembers how a request was answered, so that the same request is
// answered the same way again and not carried out twice.
type SeenRow struct {
	Key    [16]byte // hash of sender, Call-ID, CSeq, request URI, From tag and body
	Shard  uint32   // Hash of the room's key
	Code   int
	RC     int
	Reason string
	At     time.Time
}

// NoteRow is a notice that waits for its user to register.
type NoteRow struct {
	ID   int64 // positive
	Room Name  // that it is from, and which need not exist any more
	User Name  // the recipient
	Body []byte
	At   time.Time // when it was made; stored with milliseconds
}

// ActRow is something that was done in a room, for those who ask later.
type ActRow struct {
	ID    int64     // positive
	Room  Name      // which need not exist any more
	At    time.Time // stored with milliseconds
	By    string    // URI of the user who did it; empty: an operator
	Act   string    // what was done
	Who   string    // the user that it was done to, as a URI, or a pattern of users; may be empty
	Until time.Time // when it ends; zero: it does not. Stored with milliseconds
	Why   string    // a reason, or a value; UTF-8; may be empty
}

// EventRow is something that has happened and is to be sent to a webhook.
type EventRow struct {
	// ID counts up, in each room in the order of what has happened. Given by the Store.
	ID    int64
	Room  Name      // that it happened in; only its Hash is stored
	At    time.Time // stored with milliseconds
	Event []byte    // JSON
	// RoomID (RoomRow.ID) and Seq name a message that belongs to it; 0: none does.
	RoomID int64
	Seq    uint64
}

// Limits say which messages are deleted (Prune). 0 means no limit.
type Limits struct {
	Messages int           // kept per room
	Bytes    int64         // of bodies kept per room
	Age      time.Duration // of messages
	SeenAge  time.Duration // of SeenRows
	NoteAge  time.Duration // of NoteRows
	ActAge   time.Duration // of ActRows
	// DeviceAge is the age of a DeviceRow, since the device was heard of.
	DeviceAge time.Duration
}

// RoomState is a room with its members, oldest first.
type RoomState struct {
	Room    RoomRow
	Members []MemberRow
	Places  []byte // as the last PutPlaces of the room had them; empty if there was none
	// Settings are those that have a value, in no order.
	Settings []SettingRow
}
