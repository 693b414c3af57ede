// Package htable keeps Kamailio's table of rooms and members up to date (IMC_HTABLE, imc-htable.cfg).
//
// A table gets all rooms of this imcd, a few at a time, after each welcome of its Kamailio, when this imcd has got more
// rooms, and from time to time: entries that are not given again expire. Changes go ahead of that. No more than one
// frame waits in Kamailio, so nothing waits for the table for longer than that takes.
package htable

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"imcd/engine"
	"imcd/evapi"
)

const (
	// refresh is the time from one round to the next: a third of the time after which entries expire.
	refresh = 5 * time.Minute
	// expires is that time (imc-htable.cfg).
	expires = 15 * time.Minute
	// pause is the time from one frame of a round to the next.
	pause = 10 * time.Millisecond
	// again is the time after a failure.
	again = 5 * time.Second
	// storedWait bounds the wait for changes that are being stored.
	storedWait = 30 * time.Second

	// maxChanges bounds the changes that wait. After more, all rooms are given again.
	maxChanges = 4096
	// maxBytes bounds the names in a frame.
	maxBytes = 16 << 10

	kinds = engine.EventJoin | engine.EventLeave | engine.EventCreated | engine.EventDestroyed
)

// errLost: there were too many changes.
var errLost = errors.New("more changes than can wait")

// Rooms is where rooms come from; *engine.Engine is one.
type Rooms interface {
	NewListener(events int, bytes int64) *engine.Listener
	AwaitStored(ctx context.Context) error
	RoomParts() int
	RoomUsers(ctx context.Context, part int) ([]engine.RoomUsers, error)
}

// Kamailio is one with a table; *evapi.Conn is one.
type Kamailio interface {
	Name() string
	Untabled() <-chan struct{}
	Tabled() evapi.Tabling
	Table(ctx context.Context, rooms []evapi.TabledRoom, all evapi.Tabling) error
}

// Keeper keeps the table of one Kamailio. Its goroutine owns the fields behind loop.
type Keeper struct {
	rooms    Rooms
	kamailio Kamailio
	log      zerolog.Logger
	pause    time.Duration // tests change it, as the next two
	again    time.Duration
	changes  int // that may wait

	cancel context.CancelFunc
	loop   sync.WaitGroup

	listener *engine.Listener
	// changed are the keys of what has changed since the list of rooms that is being given was made.
	changed map[string]struct{}
	failed  bool // the last round, which was logged
}

// New makes a Keeper, which does nothing before Start.
func New(rooms Rooms, kamailio Kamailio, log zerolog.Logger) *Keeper {
	return &Keeper{rooms: rooms, kamailio: kamailio, log: log, pause: pause, again: again, changes: maxChanges}
}

// Start begins to keep the table. A Kamailio without one costs nothing.
func (k *Keeper) Start() {
	ctx, cancel := context.WithCancel(context.Background())
	k.cancel = cancel
	k.loop.Go(func() { k.run(ctx) })
}

// Stop ends it. The entries of this imcd stay until they expire, or another imcd has given the rooms.
func (k *Keeper) Stop() {
	k.cancel()
	k.loop.Wait()
}

func (k *Keeper) run(ctx context.Context) {
	for wanted := false; wanted || k.wait(ctx); {
		err := k.keep(ctx)
		if wanted = !errors.Is(err, evapi.ErrDown); !wanted {
			continue // the next welcome wakes it
		}
		if ctx.Err() != nil {
			return
		}
		if !k.failed {
			k.log.Warn().Err(err).Str("kamailio", k.kamailio.Name()).
				Msg("Kamailio's table of rooms is not complete, again in a moment (IMC_HTABLE)")
		}
		k.failed = true
		// Until then the answer is "not known", and not "no".
		_ = k.kamailio.Table(ctx, nil, evapi.TableIncomplete)
		if !evapi.Sleep(ctx, k.again) {
			return
		}
	}
}

// wait waits until there is a table that lacks rooms; false: ctx has ended.
func (k *Keeper) wait(ctx context.Context) bool {
	select {
	case <-ctx.Done():
		return false
	case <-k.kamailio.Untabled():
		return true
	}
}

// keep keeps the table until something fails.
func (k *Keeper) keep(ctx context.Context) error {
	k.listener = k.rooms.NewListener(k.changes, 0)
	k.listener.Listen(kinds)
	defer k.listener.Listen(0)
	stored, cancel := context.WithTimeout(ctx, storedWait)
	defer cancel()
	if err := k.rooms.AwaitStored(stored); err != nil {
		return err
	}
	if err := k.kamailio.Table(ctx, nil, evapi.TableIncomplete); err != nil {
		return err
	}
	for {
		began := time.Now()
		if err := k.round(ctx); err != nil {
			return err
		}
		if err := k.follow(ctx, time.Until(began.Add(refresh))); err != nil {
			return err
		}
	}
}

// round gives all rooms.
func (k *Keeper) round(ctx context.Context) error {
	began, whole := time.Now(), k.kamailio.Tabled()
	for part := range k.rooms.RoomParts() {
		k.changed = make(map[string]struct{})
		rooms, err := k.rooms.RoomUsers(ctx, part)
		if err != nil {
			return err
		}
		for frame := range k.frames(rooms) {
			if err := k.kamailio.Table(ctx, frame, evapi.TablePart); err != nil {
				return err
			}
			if err := k.follow(ctx, k.pause); err != nil {
				return err
			}
		}
	}
	k.changed = nil
	if took := time.Since(began); took > expires-refresh {
		whole = evapi.TableIncomplete // entries expire before they are given again
	}
	if err := k.kamailio.Table(ctx, nil, whole); err != nil {
		return err
	}
	if k.failed {
		k.log.Info().Str("kamailio", k.kamailio.Name()).Msg("Kamailio's table of rooms is complete again")
	}
	k.failed = false
	return nil
}

// follow gives changes for some time. Between two rounds, it ends when rooms are missing.
func (k *Keeper) follow(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	wanted := k.kamailio.Untabled()
	if k.changed != nil {
		wanted = nil // after this round
	}
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-k.listener.Lost():
			return errLost
		case <-wanted:
			return nil
		case <-timer.C:
			return nil
		case ev := <-k.listener.Events():
			if err := k.change(ctx, ev); err != nil {
				return err
			}
		}
	}
}

// change gives ev, and the changes that wait behind it.
func (k *Keeper) change(ctx context.Context, ev *engine.Event) error {
	var rooms []evapi.TabledRoom
	for bytes := 0; ; {
		k.listener.Took(ev)
		r := k.changeOf(ev)
		rooms = append(rooms, r)
		bytes += sizeOf(r)
		if len(rooms) < evapi.MaxTabled && bytes < maxBytes {
			select {
			case ev = <-k.listener.Events():
				continue
			default:
			}
		}
		return k.kamailio.Table(ctx, rooms, evapi.TablePart)
	}
}

func (k *Keeper) changeOf(ev *engine.Event) evapi.TabledRoom {
	r := evapi.TabledRoom{Room: ev.Room.Key()}
	key := r.Room
	if ev.Kind == engine.EventJoin || ev.Kind == engine.EventCreated {
		r.ID = shortID(ev.RoomID)
	}
	if ev.Kind == engine.EventJoin || ev.Kind == engine.EventLeave {
		user := ev.User.Key()
		r.Users = []string{user}
		key += " " + user
	}
	if k.changed != nil {
		k.changed[key] = struct{}{}
	}
	return r
}

// shortID is the id of a room as the table has it.
func shortID(id int64) int32 { return int32(id&evapi.MaxTabledID) | 1 }

// sizeOf is the number of bytes that r takes in a frame, about.
func sizeOf(r evapi.TabledRoom) int {
	n := len(r.Room) + 16
	for _, user := range r.Users {
		n += len(user) + 1
	}
	return n
}
