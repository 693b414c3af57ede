package engine

import "context"

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

// Name is a user@host pair in the case in which it was first seen: a room's or
// a user's. Two Names are the same if their Keys are.
type Name struct {
	User string
	Host string
}

// RoomRow is a room as it is stored.
type RoomRow struct {
	Name Name
	Flag int // RoomPrivate or 0
}

// MemberRow is a member of a room, or one who is invited to it, as it is stored.
type MemberRow struct {
	Room Name
	User Name
	Flag int // MemberOwner, MemberAdmin, MemberInvited or 0

	// Inviter is who invited; the zero Name if not invited or not known (a
	// row that the module wrote). Kept in a table of imcd's own.
	Inviter Name
	// Told is set once the invitation reached the user, so that a restart
	// sends again what may not have arrived.
	Told bool
}

// RoomState is a room with its members, oldest first.
type RoomState struct {
	Room    RoomRow
	Members []MemberRow
}

// Op says what a Change does.
type Op uint8

// The operations of a Change.
const (
	PutRoom      Op = iota + 1 // insert Room, or update its flag
	DeleteRoom                 // delete Room with all its members
	PutMember                  // insert Member, or update its flag, inviter and told
	DeleteMember               // delete Member
)

// Change is one change of stored state. The names are always in the case in
// which they were first stored.
type Change struct {
	Op     Op
	Room   RoomRow   // PutRoom, DeleteRoom
	Member MemberRow // PutMember, DeleteMember
}

// Store keeps rooms and members. Every call has a deadline in its context;
// implementations are safe for concurrent use.
type Store interface {
	// Load calls fn for every stored room with its members (oldest first;
	// owners before others, if the order is not known), in no order of the
	// rooms. Rows marked deleted are left out. An error of fn ends it.
	Load(ctx context.Context, fn func(RoomState) error) error
	// LoadRooms returns the named rooms as they are stored, without those
	// that are not.
	LoadRooms(ctx context.Context, rooms []Name) ([]RoomState, error)
	// Commit makes the changes durable in their order, all or none. An
	// error may leave it open which: then LoadRooms tells.
	Commit(ctx context.Context, changes []Change) error
	// Ping reports whether the database can be reached and written to.
	Ping(ctx context.Context) error
	Close() error
}
