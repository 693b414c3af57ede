package evapi

import (
	"context"
	"fmt"
	"strconv"
)

// featureHtable says that imc.cfg keeps a table of rooms and members (IMC_HTABLE).
const featureHtable = "htable"

const imcHtable = `{"jsonrpc":"2.0","method":"imc.htable","params":["`

const (
	// MaxTabled is how many users one call of Table may name, and how many rooms: a loop of the routing script ends after
	// 99 rounds.
	MaxTabled = 64
	// MaxTabledID is the largest TabledRoom.ID.
	MaxTabledID = 1<<20 - 1
	// maxTabledName bounds a name, in bytes; Kamailio's table has no longer ones.
	maxTabledName = 255
)

// TabledRoom is a room, or a part of its members, for Kamailio's table of rooms. Names are store.Name.Key(): in lower
// case, without "sip:". One that the routing script could not keep is left out.
type TabledRoom struct {
	Room string
	// ID tells this room from an earlier one of the same name, whose members do not count any more; 1 to MaxTabledID. 0:
	// the room has ended; if there are Users: these have left it.
	ID    int32
	Users []string
}

// Tabling is what Table says of the whole table.
type Tabling uint64

const (
	// TablePart: nothing.
	TablePart Tabling = iota
	// TableIncomplete: changes may be missing, and all rooms are to come again. Then what was there before does not count
	// any more. Until then Kamailio cannot say of a room that it does not exist.
	TableIncomplete
	// Larger values are those of Tabled: all rooms are there.
)

// Tabled counts what makes the table incomplete: welcomes, and calls of Own. Who reads it, calls Table for all rooms of
// this engine, and then for none with that number, says that the table has them all.
func (c *Conn) Tabled() Tabling {
	c.box.mu.Lock()
	defer c.box.mu.Unlock()
	return c.box.tabled
}

// Untabled has a token if Kamailio has a table of rooms, and Tabled has changed. One goroutine may receive it.
func (c *Conn) Untabled() <-chan struct{} { return c.box.untabled }

// Table changes Kamailio's table of rooms, and returns when it is done: so no more than one frame of it waits there.
// Nothing is changed if all is a number of Tabled that is outdated. Kamailio leaves out rooms that this engine does not
// own. The errors are that of ctx, ErrDown, also if Kamailio has no such table, ErrFull, ErrTooLarge, and ErrMemory,
// but not for rooms that have ended and members that have left.
func (c *Conn) Table(ctx context.Context, rooms []TabledRoom, all Tabling) error {
	if err := c.memory.mayTable(rooms); err != nil {
		return err
	}
	payload := tableFrame(rooms, all)
	if n := len(payload); n > maxPayload {
		return fmt.Errorf("%w: %d rooms take %d bytes, limit is %d", ErrTooLarge, len(rooms), n, maxPayload)
	}
	done, err := c.box.putTable(payload, all)
	if err != nil || done == nil {
		return err
	}
	return outcome(ctx, "table", done)
}

// mayTable keeps half of Kamailio's shared memory for everything else.
func (m *memory) mayTable(rooms []TabledRoom) error {
	more := false
	for i := range rooms {
		more = more || rooms[i].ID != 0
	}
	if more && m.free.Load() < m.total.Load()/2 {
		return ErrMemory
	}
	return nil
}

func tableFrame(rooms []TabledRoom, all Tabling) []byte {
	payload := []byte(imcHtable)
	switch all {
	case TablePart:
	case TableIncomplete:
		payload = append(payload, '0')
	default:
		payload = append(payload, '1')
	}
	payload = append(payload, paramSep...)
	for i := range rooms {
		r := &rooms[i]
		if !isTabled(r.Room) {
			continue
		}
		group := strconv.AppendInt(nil, int64(max(r.ID, 0)), 10)
		group = append(append(append(group, ' '), r.Room...), ' ')
		named := 0
		for _, user := range r.Users {
			if isTabled(user) {
				group = append(append(group, user...), ' ')
				named++
			}
		}
		if named > 0 || len(r.Users) == 0 || r.ID > 0 { // without names it would say that the room has ended
			payload = append(append(payload, group...), ".<"...)
		}
	}
	return append(payload, listEnd...)
}

// isTabled reports whether the routing script can keep a name, and finds it: names with escapes have several spellings.
func isTabled(name string) bool {
	ok := name != "" && name != "." && len(name) <= maxTabledName
	for i := 0; i < len(name) && ok; i++ {
		switch c := name[i]; c {
		case '"', '\\', '<', '>', '%':
			return false
		default:
			ok = c > ' ' && c < 0x7f
		}
	}
	return ok
}

// putTable queues a frame of the table; done is nil if it is not wanted.
func (b *outbox) putTable(payload []byte, all Tabling) (done <-chan error, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.peer == nil || !b.peer.htable:
		return nil, ErrDown
	case all > TableIncomplete && all != b.tabled:
		return nil, nil
	}
	if err := b.pushPayload(payload, false); err != nil {
		return nil, err
	}
	return b.await(), nil
}

// putOwn is putFleet for frames that say what this engine owns.
func (b *outbox) putOwn(payloads ...[]byte) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	err := b.pushFleet(payloads)
	if err == nil {
		b.untable()
	}
	return err
}

// untable notes that rooms are missing in Kamailio's table. It is called with mu held.
func (b *outbox) untable() {
	b.tabled++
	if b.peer.htable {
		b.untabled.set()
	}
}
