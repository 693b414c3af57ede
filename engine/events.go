package engine

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"imcd/engine/store"
)

// EventKind is the kind of an Event. It is a bit, so that kinds can be
// combined to a set.
type EventKind uint16

// The kinds of events.
const (
	EventMessage   EventKind = 1 << iota // a room has accepted a message, which is durable
	EventJoin                            // User is a member now
	EventLeave                           // User is no member any more
	EventRole                            // User has another Role
	EventCreated                         // the room is there
	EventDestroyed                       // the room is gone, with all its members
	EventFailure                         // a copy of a message has not reached User: Code, Outcome
	EventKamailio                        // Kamailio is connected (Up) or not any more

	// AllEvents are all kinds.
	AllEvents EventKind = 1<<iota - 1
)

// eventNames are the kinds as the outside knows them.
var eventNames = [...]struct {
	kind EventKind
	name string
}{
	{EventMessage, "message"}, {EventJoin, "join"}, {EventLeave, "leave"}, {EventRole, "role"},
	{EventCreated, "room_created"}, {EventDestroyed, "room_destroyed"}, {EventFailure, "failure"},
	{EventKamailio, "kamailio"},
}

// Events that only a webhook gets, beside those of listeners.
const (
	// EventAct: an owner, admin or operator has done something in a room: Act, Whom, Until, Why.
	EventAct = (AllEvents + 1) << iota
	// EventMissed: User, who has no device that answers, has something to get: Count messages, up to Seq.
	EventMissed
)

// String is the name of a kind; empty for a set of several.
func (k EventKind) String() string {
	for _, n := range eventNames {
		if n.kind == k {
			return n.name
		}
	}
	switch k {
	case EventAct:
		return "act"
	case EventMissed:
		return "missed"
	}
	return ""
}

// ParseEventKind finds a kind by its name.
func ParseEventKind(name string) (EventKind, bool) {
	for _, n := range eventNames {
		if n.name == name {
			return n.kind, true
		}
	}
	return 0, false
}

// EventNames lists the names of all kinds.
func EventNames() []string {
	var names []string
	for _, n := range eventNames {
		names = append(names, n.name)
	}
	return names
}

// Event is something that has happened. Listeners share it; it must not be changed. Fields that do not
// belong to its kind are zero.
type Event struct {
	Kind EventKind
	Time time.Time
	Room store.Name
	User store.Name // sender, member or recipient
	By   store.Name // who brought a join, leave, role or room about, if known

	// EventMessage, and Seq of EventFailure, too.
	Seq         uint64
	Display     string // the sender's display name
	ContentType string // empty: none was given, which means text/plain
	Body        []byte

	Role    string // EventJoin, EventRole: owner, admin or member
	Private bool   // EventCreated
	Code    int    // EventFailure, EventMissed: SIP status code
	Outcome string // EventFailure: offline, refused (never sent again), timeout or error

	Act   string    // EventAct: as in ActInfo
	Whom  string    // EventAct: URI or *@domain; empty: the room
	Until time.Time // EventAct: zero: it has no end
	Why   string    // EventAct

	// RoomID tells the room from an earlier one of the same name (RoomUsers.ID): EventJoin, EventLeave, EventCreated,
	// EventDestroyed.
	RoomID int64

	Title string // EventMissed: of the room; may be empty
	Count uint64 // EventMissed: messages that User has not got

	Kamailio string // its name in the configuration
	Up       bool
}

// feed hands events to listeners. Its publishers never wait: a listener that
// does not keep up loses its place. It costs an atomic load if nobody listens.
type feed struct {
	wanted atomic.Uint32 // union of the listeners' kinds

	mu        sync.RWMutex
	listeners map[*Listener]struct{} // guarded by mu
}

// wants reports whether anybody listens for a kind.
func (f *feed) wants(k EventKind) bool { return EventKind(f.wanted.Load())&k != 0 }

// publish gives ev to all who listen for its kind.
func (f *feed) publish(ev *Event) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	for l := range f.listeners {
		if l.kinds&ev.Kind != 0 {
			l.offer(ev)
		}
	}
}

// set makes l listen for kinds; 0: for nothing any more.
func (f *feed) set(l *Listener, kinds EventKind) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if l.kinds = kinds; kinds == 0 {
		delete(f.listeners, l)
	} else {
		if f.listeners == nil {
			f.listeners = make(map[*Listener]struct{})
		}
		f.listeners[l] = struct{}{}
	}
	var union EventKind
	for l := range f.listeners {
		union |= l.kinds
	}
	f.wanted.Store(uint32(union))
}

// Listener receives events from the moment of its first Listen on.
type Listener struct {
	feed     *feed
	kinds    EventKind // guarded by feed.mu
	queue    chan *Event
	capacity int64 // bytes of bodies that may wait

	waiting atomic.Int64 // bytes of bodies in queue
	once    sync.Once
	lost    chan struct{} // closed when events were lost
}

// Listen says which kinds are received from now on; 0: none, and the engine
// forgets l.
func (l *Listener) Listen(kinds EventKind) { l.feed.set(l, kinds) }

// AwaitStored returns once all that was evaluated before it is stored, or refused. Whether an event is made is decided
// when a request is evaluated: who calls it after Listen, and then asks for the state of a room, misses nothing
// between the two. An error: ctx has ended.
func (e *Engine) AwaitStored(ctx context.Context) error {
	settled := make(chan struct{}, len(e.shards))
	for _, s := range e.shards {
		s.inbox.post(func() { s.store(nil, false, func(error) { settled <- struct{}{} }) })
	}
	for range e.shards {
		select {
		case <-settled:
		case <-ctx.Done():
			return fmt.Errorf("waiting for what is being stored: %w", ctx.Err())
		}
	}
	return nil
}

// Events is the channel of events. Took must follow each receive.
func (l *Listener) Events() <-chan *Event { return l.queue }

// Took frees capacity after an event was received.
func (l *Listener) Took(ev *Event) { l.waiting.Add(-int64(len(ev.Body))) }

// Lost is closed when an event did not fit: later events have gaps.
func (l *Listener) Lost() <-chan struct{} { return l.lost }

// offer never blocks.
func (l *Listener) offer(ev *Event) {
	size := int64(len(ev.Body))
	if l.waiting.Add(size) <= l.capacity {
		select {
		case l.queue <- ev:
			return
		default:
		}
	}
	l.waiting.Add(-size)
	l.once.Do(func() { close(l.lost) })
}
