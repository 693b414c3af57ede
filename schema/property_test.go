package schema

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"imcd/engine/store"
)

// epoch is when the messages of tests begin; databases keep milliseconds.
var epoch = time.UnixMilli(1_700_000_000_123)

// TestStoreAgreesWithModel commits random batches, some of which must fail as a
// whole, prunes, and compares what is stored with a plain model, also after
// reopening.
func TestStoreAgreesWithModel(t *testing.T) {
	onEach(t, func(t *testing.T, url string) {
		p := property{t: t, url: url, s: open(t, url, Options{})}
		run(t, p.s, "CREATE UNIQUE INDEX no_evil ON imc_members (username) WHERE username = 'evil'")
		commit(t, p.s, putRoom("prison", 0), putMember("prison", "evil", 0))
		reopened := 0
		rapid.Check(t, func(r *rapid.T) {
			p.reset()
			for range rapid.IntRange(1, 6).Draw(r, "batches") {
				p.batch(r)
				if rapid.IntRange(0, 5).Draw(r, "prune") == 0 {
					p.prune(r)
				}
			}
			if reopened++; reopened%20 == 0 {
				if err := p.s.Close(); err != nil {
					r.Fatal(err)
				}
				p.s = open(t, url, Options{})
			}
			p.compare(r)
		})
	})
}

// property is a Store and what it should hold.
type property struct {
	t      *testing.T
	url    string
	s      *Store
	m      model
	lastID int64
}

// reset deletes all but the prison.
func (p *property) reset() {
	var clean []store.Change
	for name := range load(p.t, p.s) {
		if name != at("prison").URI() {
			clean = append(clean, deleteRoom(nameOfURI(name).User))
		}
	}
	commit(p.t, p.s, clean...)
	run(p.t, p.s, "DELETE FROM imcd_seen")
	p.m = newModel()
	p.m.rooms[at("prison")] = &store.RoomState{Room: store.RoomRow{Name: at("prison")},
		Members: []store.MemberRow{{Room: at("prison"), User: at("evil")}}}
}

// batch commits one batch.
func (p *property) batch(r *rapid.T) {
	next, fails := p.m.copy(), false
	var changes []store.Change
	for range rapid.IntRange(1, 14).Draw(r, "changes") {
		c := p.drawChange(r, next)
		next.apply(c)
		changes = append(changes, c)
	}
	if rapid.IntRange(0, 4).Draw(r, "fail") == 0 {
		if bad, ok := p.drawBad(r, next); ok {
			changes, fails = append(changes, bad), true
		}
	}
	err := p.s.Commit(testContext(p.t), store.Fence{}, changes)
	if fails != (err != nil) {
		r.Fatalf("commit of %v: %v, should fail: %t", changes, err, fails)
	}
	if !fails {
		p.m = next
	}
}

// drawChange draws a change that an engine could make now, or that comes late.
func (p *property) drawChange(r *rapid.T, m model) store.Change {
	room := fmt.Sprint("r", rapid.IntRange(1, 4).Draw(r, "room"))
	user := fmt.Sprint("u", rapid.IntRange(1, 5).Draw(r, "user"))
	kind := rapid.IntRange(0, 19).Draw(r, "kind")
	state := m.rooms[at(room)]
	switch {
	case kind == 0:
		return putSeen(byte(rapid.IntRange(0, 3).Draw(r, "key")), rapid.IntRange(200, 600).Draw(r, "code"), p.drawTime(r))
	case state == nil || kind <= 2:
		c := putRoom(room, rapid.IntRange(0, 1).Draw(r, "private"))
		c.Room.ID = p.drawID(r, state)
		return c
	case kind == 3:
		return deleteRoom(room)
	case kind <= 5:
		return deleteMember(room, user)
	case kind == 6:
		return putInvited(room, user, fmt.Sprint("u", rapid.IntRange(1, 5).Draw(r, "inviter")), rapid.Bool().Draw(r, "told"))
	case kind <= 10 || state.Room.ID == 0:
		c := putMember(room, user, rapid.IntRange(0, 3).Draw(r, "flag"))
		if rapid.Bool().Draw(r, "with cursor") {
			c.Member.Cursor = new(uint64)
			*c.Member.Cursor = rapid.Uint64Range(0, state.Room.Seq).Draw(r, "cursor")
		}
		return c
	case kind == 15 && state.Room.Seq > 0:
		return deleteMessage(state.Room.ID, rapid.Uint64Range(1, state.Room.Seq+1).Draw(r, "deleted"))
	case kind <= 15:
		return p.drawMessage(r, state.Room.ID, state.Room.Seq+1)
	case kind == 16:
		return putProgress(p.drawKnownID(r, state), rapid.Uint64Range(0, state.Room.Seq).Draw(r, "done"))
	}
	if len(state.Members) == 0 {
		return putCursor(state.Room.ID, "ghost", 1)
	}
	c := putCursor(p.drawKnownID(r, state), rapid.SampledFrom(state.Members).Draw(r, "member").User.User,
		rapid.Uint64Range(0, state.Room.Seq).Draw(r, "cursor"))
	c.Cursor.Remove = rapid.IntRange(0, 2).Draw(r, "remove") == 0
	return c
}

// drawID draws none, the one that the room has, or a new one.
func (p *property) drawID(r *rapid.T, state *store.RoomState) int64 {
	switch rapid.IntRange(0, 3).Draw(r, "id") {
	case 0:
		return 0
	case 1:
		if state != nil {
			return state.Room.ID
		}
	}
	p.lastID++
	return p.lastID
}

// drawKnownID draws the room's id or, seldom, one that is not stored.
func (p *property) drawKnownID(r *rapid.T, state *store.RoomState) int64 {
	if rapid.IntRange(0, 5).Draw(r, "late") == 0 {
		return 1 << 40
	}
	return state.Room.ID
}

func (p *property) drawTime(r *rapid.T) time.Time {
	return epoch.Add(time.Duration(rapid.IntRange(-50, 50).Draw(r, "at")) * time.Second)
}

func (p *property) drawMessage(r *rapid.T, id int64, seq uint64) store.Change {
	c := putMessage(id, seq, rapid.SliceOfN(rapid.Byte(), 0, 40).Draw(r, "body"))
	c.Message.Display = rapid.SampledFrom([]string{"", "Zoë \"x\"", strings.Repeat("é", 64)}).Draw(r, "display")
	c.Message.ContentType = rapid.SampledFrom([]string{"", "text/plain", "a/b;\xff=\x00"}).Draw(r, "content type")
	c.Message.At = p.drawTime(r)
	return c
}

// drawBad draws what must not be committed.
func (p *property) drawBad(r *rapid.T, m model) (c store.Change, ok bool) {
	for name, state := range m.rooms {
		switch {
		case name == at("prison"): // any other room refuses the inmate
		case state.Room.ID == 0 || rapid.Bool().Draw(r, "evil"):
			return putMember(name.User, "evil", 0), true
		case state.Room.Seq > 0 && rapid.Bool().Draw(r, "again"):
			return putMessage(state.Room.ID, rapid.Uint64Range(1, state.Room.Seq).Draw(r, "seq"), nil), true
		default:
			return putMessage(1<<40, 1, nil), true
		}
	}
	return c, false
}

func (p *property) prune(r *rapid.T) {
	l := store.Limits{Messages: rapid.IntRange(0, 4).Draw(r, "messages"), Bytes: rapid.Int64Range(0, 90).Draw(r, "bytes"),
		Age:     time.Duration(rapid.IntRange(0, 70).Draw(r, "age")) * time.Second,
		SeenAge: time.Duration(rapid.IntRange(0, 70).Draw(r, "seen age")) * time.Second}
	n, err := p.s.Prune(testContext(p.t), l, epoch)
	if want := p.m.prune(l, epoch); err != nil || n != want {
		r.Fatalf("prune with %+v: %d messages, %v; want %d", l, n, err, want)
	}
}

func (p *property) compare(r *rapid.T) {
	prune(p.t, p.s) // what was destroyed
	// Before Load cleans up.
	n := [3]int{count(p.t, p.s, "SELECT count(*) FROM imcd_messages"),
		count(p.t, p.s, "SELECT count(*) FROM imcd_cursors"), count(p.t, p.s, "SELECT count(*) FROM imcd_rooms")}
	if n != p.m.counts() {
		r.Fatalf("%v messages, cursors and ids, want %v", n, p.m.counts())
	}
	if got, want := load(p.t, p.s), p.m.byURI(); !reflect.DeepEqual(got, want) {
		r.Fatalf("stored\n%+v, want\n%+v", got, want)
	}
	for id, want := range p.m.said {
		got, err := p.s.Messages(testContext(p.t), id, 0, 1000)
		if err != nil || !slices.EqualFunc(got, want, sameMessage) {
			r.Fatalf("messages of %d:\n%+v, %v; want\n%+v", id, got, err, want)
		}
	}
	seen, err := p.s.Seen(testContext(p.t), store.Part{}, time.Time{})
	got := make(map[[16]byte]store.SeenRow)
	for _, row := range seen {
		got[row.Key] = row
	}
	if err != nil || !maps.Equal(got, p.m.seen) {
		r.Fatalf("answers %v, %v; want %v", got, err, p.m.seen)
	}
}

func sameMessage(a, b store.MessageRow) bool {
	return a.Room == b.Room && a.Seq == b.Seq && a.Sender == b.Sender && a.Display == b.Display &&
		a.ContentType == b.ContentType && string(a.Body) == string(b.Body) && a.At.Equal(b.At) &&
		slices.Equal(a.Headers, b.Headers) && a.Expires.Equal(b.Expires) && a.MessageID == b.MessageID &&
		a.Wants == b.Wants && a.Device == b.Device
}
