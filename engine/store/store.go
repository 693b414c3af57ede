// Package store defines the data that imcd keeps: the rows, the changes of them, and the Store that
// the engine writes them to. Package schema is the Store of a database.
package store

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// ErrUnavailable marks errors of a Store that pass by themselves: the database
// cannot be reached, shuts down or starts.
var ErrUnavailable = errors.New("database unavailable")

// ErrUncertain marks the error of a Commit that may have been done all the same: the
// connection was lost before the database said so, or its standby did not confirm it. It
// is an ErrUnavailable.
var ErrUncertain = fmt.Errorf("%w: whether it was done is not known", ErrUnavailable)

// ErrDeposed marks the error of a Commit that did nothing because another imcd has taken over: this
// engine will never commit anything again, and its knowledge of rooms is outdated. It is an
// ErrUnavailable.
var ErrDeposed = fmt.Errorf("%w: another imcd has taken over", ErrUnavailable)

// ErrInvalid marks errors of a Store about the data of a change: too long, not UTF-8,
// against a constraint. The same change fails again, and others do not.
var ErrInvalid = errors.New("data refused")

// Store keeps rooms and members. Every call has a deadline in its context;
// implementations are safe for concurrent use.
type Store interface {
	// Load calls fn for every stored room of part with its members (oldest first;
	// owners before others, if the order is not known), in no order of the
	// rooms. Rows marked deleted are left out. Everything was read before the first call. An
	// error of fn ends it; what fn gets is its own to keep.
	Load(ctx context.Context, part Part, fn func(RoomState) error) error
	// LoadRooms returns the named rooms as they are stored, without those
	// that are not.
	LoadRooms(ctx context.Context, rooms []Name) ([]RoomState, error)
	// Commit makes the changes durable in their order, all or none.
	// ErrUncertain leaves it open which; any other error means none. ErrDeposed:
	// the fence does not hold.
	Commit(ctx context.Context, fence Fence, changes []Change) error
	// CommitAgain ends a Commit with the same fence and changes that was ErrUncertain,
	// before anything else is committed: nil if they are durable now, by whichever of
	// both; ErrInvalid or ErrDeposed if they never will be; else it is still ErrUncertain.
	// It recognises them by the number of the fence. Without a fence it does so by their
	// PutSeen, and if there is none they are only carried out again.
	CommitAgain(ctx context.Context, fence Fence, changes []Change) error
	// Messages returns up to limit messages of a room with numbers above
	// after, in their order; those that were pruned are missing.
	Messages(ctx context.Context, room int64, after uint64, limit int) ([]MessageRow, error)
	// LastMessages returns the last messages of a room with numbers up to upto, limit at most, in their order; those
	// that were deleted are left out.
	LastMessages(ctx context.Context, room int64, upto uint64, limit int) ([]MessageRow, error)
	// MessagesNamed returns the messages of a room with numbers above after that have a MessageID, the newest first,
	// limit at most.
	MessagesNamed(ctx context.Context, room int64, after uint64, id string, limit int) ([]MessageRow, error)
	// Seen returns the answers given since a time to requests for rooms of part.
	Seen(ctx context.Context, part Part, since time.Time) ([]SeenRow, error)
	// Notes returns the last notes of rooms of part that wait, oldest first; of all rooms
	// limit at most.
	Notes(ctx context.Context, part Part, limit int) ([]NoteRow, error)
	// PutDevices inserts or updates devices: no device twice. Users who are not in any room have none. A row that is
	// older (OKAt) than the stored one changes nothing. The GoneAt of a stored row stays if it is not zero; else it
	// is the end of the old registration, if that is over. Of each of these users the most devices that were heard of
	// last are kept.
	PutDevices(ctx context.Context, rows []DeviceRow, most int) error
	// Devices returns the devices of users, of each user the one that was heard of last first.
	Devices(ctx context.Context, users ...Name) ([]DeviceRow, error)
	// SharedDevices returns the registered devices of users who have several of these, or one that is owed something
	// (GoneAt), limit at most.
	SharedDevices(ctx context.Context, now time.Time, limit int) ([]DeviceRow, error)
	// OweDevices lets devices be owed what was accepted at GoneMove.Is and later, beside what they are owed already;
	// Was does not count. It does so for devices that are not registered any more, too.
	OweDevices(ctx context.Context, moves []GoneMove) error
	// PutGone moves or ends what registered devices are owed. A device that is owed something else by now stays
	// as it is.
	PutGone(ctx context.Context, moves []GoneMove) error
	// Backlogs returns for each member of places, in their order, the number of the last message of the room that a device
	// is not owed, if it is owed those that were accepted at since and later: it is older, or from before the user came
	// into the room.
	Backlogs(ctx context.Context, places []Place, since time.Time) ([]uint64, error)
	// Acts returns the last acts in a room, limit at most, oldest first.
	Acts(ctx context.Context, room Name, limit int) ([]ActRow, error)
	// ActsOn returns the last acts on a user, or on all users of its domain, in all rooms, limit at most, oldest first.
	// The names of the rooms are in lower case.
	ActsOn(ctx context.Context, user Name, limit int) ([]ActRow, error)
	// Prune deletes messages over the limits, oldest first, and returns how
	// many messages that were. A room's SettingKeep replaces Limits.Age.
	Prune(ctx context.Context, l Limits, now time.Time) (int, error)
	// Ping reports whether the database can be reached and written to.
	Ping(ctx context.Context) error
	Close() error
}
