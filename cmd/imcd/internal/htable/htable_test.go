package htable

import (
	"context"
	"fmt"
	"maps"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"imcd/engine"
	"imcd/engine/store"
	"imcd/evapi"
	"imcd/evapi/evapitest/kit"
	"imcd/schema"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// nobody is a relay without phones.
type nobody struct{}

func (nobody) Move(*evapi.Message, int) error                    { return evapi.ErrAlone }
func (nobody) Reply(*evapi.Message, evapi.Answer)                {}
func (nobody) Bounds() evapi.Bounds                              { return evapi.Bounds{Paced: true} }
func (nobody) Send(*evapi.Conn, evapi.Copy) (*evapi.Conn, error) { return nil, evapi.ErrDown }

// newRooms is an engine with a database, whose rooms are all in one part: r0 to r9, with m0, m1 and m2; r0 has more.
func newRooms(t *testing.T) *engine.Engine {
	t.Helper()
	db, err := schema.Open(t.Context(), "sqlite://"+filepath.Join(t.TempDir(), "imcd.db"),
		schema.Options{RoomsTable: "imc_rooms", MembersTable: "imc_members", Log: zerolog.Nop()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	name := func(user string) store.Name { return store.Name{User: user, Host: "x.org"} }
	var changes []store.Change
	for i := range 10 {
		room := name(fmt.Sprint("r", i))
		changes = append(changes, store.Change{Op: store.PutRoom, Room: store.RoomRow{Name: room, ID: int64(i + 1)}})
		members := 3
		if i == 0 {
			members = 3 * evapi.MaxTabled
		}
		for m := range members {
			changes = append(changes, store.Change{Op: store.PutMember,
				Member: store.MemberRow{Room: room, User: name(fmt.Sprint("m", m))}})
		}
	}
	if err := db.Commit(t.Context(), store.Fence{}, changes); err != nil {
		t.Fatal(err)
	}
	cfg := engine.DefaultConfig()
	cfg.HashSize = 0
	e, err := engine.New(cfg, db, nobody{}, prometheus.NewRegistry(), zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Start(t.Context(), store.Fleet{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Abandon)
	return e
}

// table is a Kamailio.
type table struct {
	untabled chan struct{}
	tabled   atomic.Uint64
	inside   atomic.Int32 // calls of Table under way

	mu      sync.Mutex
	entries map[string]int32                     // guarded by mu; with the session, as in imc-htable.cfg
	session int32                                // guarded by mu
	whole   bool                                 // guarded by mu
	frames  int                                  // guarded by mu
	before  func(rooms []evapi.TabledRoom) error // called before a frame counts; guarded by mu
	wrong   []string                             // guarded by mu
}

func newTable() *table {
	k := &table{untabled: make(chan struct{}, 1), entries: map[string]int32{}}
	k.tabled.Store(uint64(evapi.TableIncomplete))
	return k
}

func (k *table) Name() string              { return "k" }
func (k *table) Untabled() <-chan struct{} { return k.untabled }
func (k *table) Tabled() evapi.Tabling     { return evapi.Tabling(k.tabled.Load()) }

// welcome begins with an empty table.
func (k *table) welcome() {
	k.mu.Lock()
	clear(k.entries)
	k.mu.Unlock()
	k.lack()
}

// lack says that rooms are missing.
func (k *table) lack() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.whole = false
	k.tabled.Add(1)
	select {
	case k.untabled <- struct{}{}:
	default:
	}
}

func (k *table) Table(_ context.Context, rooms []evapi.TabledRoom, all evapi.Tabling) error {
	if k.inside.Add(1) > 1 {
		k.fault("two frames at a time")
	}
	defer k.inside.Add(-1)
	k.mu.Lock()
	before := k.before
	k.mu.Unlock()
	if before != nil {
		if err := before(rooms); err != nil {
			return err
		}
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if all == evapi.TableIncomplete {
		k.session++
		k.whole = false
	}
	names := 0
	for _, r := range rooms {
		names += 1 + len(r.Users)
		for _, user := range r.Users {
			k.set(r.Room+" "+user, r.ID)
		}
		if len(r.Users) == 0 || r.ID != 0 {
			k.set(r.Room, r.ID)
		}
	}
	if names > 2*evapi.MaxTabled {
		k.wrong = append(k.wrong, fmt.Sprint(names, " names in a frame"))
	}
	k.frames++
	if all > evapi.TableIncomplete {
		k.whole = all == k.Tabled()
	}
	return nil
}

func (k *table) set(key string, id int32) {
	if id == 0 {
		delete(k.entries, key)
	} else {
		k.entries[key] = k.session*(evapi.MaxTabledID+1) + id
	}
}

func (k *table) fault(what string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.wrong = append(k.wrong, what)
}

func (k *table) hook(before func(rooms []evapi.TabledRoom) error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.before = before
}

// await waits until the table is whole, and as the engine is: what imc-htable.cfg ignores does not count.
func (k *table) await(t *testing.T, e *engine.Engine) {
	t.Helper()
	kit.Eventually(t, "the table is as the rooms are", func() bool {
		rooms, err := e.RoomUsers(t.Context(), 0)
		if err != nil {
			t.Fatal(err)
		}
		k.mu.Lock()
		defer k.mu.Unlock()
		want := map[string]int32{}
		for _, r := range rooms {
			id := k.session*(evapi.MaxTabledID+1) + shortID(r.ID)
			want[r.Room] = id
			for _, user := range r.Users {
				want[r.Room+" "+user] = id
			}
		}
		is := maps.Clone(k.entries)
		maps.DeleteFunc(is, func(key string, id int32) bool {
			room, _, _ := strings.Cut(key, " ")
			return k.entries[room] != id || id/(evapi.MaxTabledID+1) != k.session
		})
		return k.whole && maps.Equal(is, want)
	})
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, w := range k.wrong {
		t.Error(w)
	}
}

func start(t *testing.T, rooms Rooms, k *table) *Keeper {
	t.Helper()
	keeper := New(rooms, k, zerolog.Nop())
	keeper.pause, keeper.again, keeper.changes = time.Millisecond, 10*time.Millisecond, 8
	keeper.Start()
	t.Cleanup(keeper.Stop)
	return keeper
}

// change creates, joins, leaves and destroys.
type change struct{ what, room, user string }

func (c change) do(t *testing.T, e *engine.Engine) {
	t.Helper()
	room, user := "sip:"+c.room+"@x.org", "sip:"+c.user+"@x.org"
	var err error
	switch c.what {
	case "create":
		err = e.CreateRoom(t.Context(), room, false, user)
	case "join":
		err = e.AddMember(t.Context(), room, user, "")
	case "leave":
		err = e.RemoveMember(t.Context(), room, user)
	case "destroy":
		err = e.DestroyRoom(t.Context(), room)
	}
	if err != nil {
		t.Fatalf("%v: %v", c, err)
	}
}

// TestKeeper: a table gets all rooms after each welcome, and changes at once; changes during a round count more than
// the list that is being given.
func TestKeeper(t *testing.T) {
	e, k := newRooms(t), newTable()
	start(t, e, k)
	k.hook(func([]evapi.TabledRoom) error {
		t.Error("a frame without a welcome")
		return evapi.ErrDown
	})
	change{"create", "early", "owner"}.do(t, e)
	k.hook(nil)
	k.welcome()
	k.await(t, e)

	later := []change{{"create", "new", "owner"}, {"join", "new", "bob"}, {"leave", "r1", "m1"}, {"destroy", "r2", ""},
		{"leave", "r0", "m5"}}
	for _, c := range later {
		c.do(t, e)
		k.await(t, e)
	}

	// While a frame is under way, much of what the list has changes.
	var once sync.Once
	k.hook(func([]evapi.TabledRoom) error {
		once.Do(func() {
			for i := 3; i < 10; i++ {
				room := fmt.Sprint("r", i)
				change{"destroy", room, ""}.do(t, e)
			}
			change{"leave", "r0", "m100"}.do(t, e)
		})
		return nil
	})
	k.welcome()
	k.await(t, e)
	once = sync.Once{}
	k.hook(func([]evapi.TabledRoom) error {
		once.Do(func() {
			for i := 90; i < 93; i++ {
				change{"leave", "r0", fmt.Sprint("m", i)}.do(t, e)
			}
			change{"destroy", "r1", ""}.do(t, e)
			change{"create", "r1", "carl"}.do(t, e)
		})
		return nil
	})
	k.lack() // this engine has got more rooms
	k.await(t, e)
}

// TestKeeperFails: what fails is said and done again; more changes than can wait are given as a whole.
func TestKeeperFails(t *testing.T) {
	e, k := newRooms(t), newTable()
	start(t, e, k)
	k.welcome()
	k.await(t, e)
	for name, fault := range map[string]error{"no memory": evapi.ErrMemory, "full": evapi.ErrFull,
		"too many changes": nil} {
		failed := make(chan struct{})
		var once sync.Once
		k.hook(func(rooms []evapi.TabledRoom) (err error) {
			if len(rooms) == 0 {
				return nil
			}
			once.Do(func() {
				if err = fault; err == nil {
					for i := range 12 { // 8 can wait
						change{"leave", "r0", fmt.Sprint("m", i)}.do(t, e)
					}
				}
				close(failed)
			})
			return err
		})
		change{"create", strings.ReplaceAll(name, " ", "-"), "owner"}.do(t, e)
		kit.Await(t, name, failed)
		k.await(t, e)
	}
	// A Kamailio that is gone costs nothing until it is back.
	down := make(chan struct{}, 100)
	k.hook(func([]evapi.TabledRoom) error {
		down <- struct{}{}
		return evapi.ErrDown
	})
	change{"join", "r4", "bob"}.do(t, e)
	kit.Await(t, "the end of the connection", down)
	change{"join", "r5", "bob"}.do(t, e)
	if len(down) > 0 {
		t.Error("a frame without a connection")
	}
	k.hook(nil)
	k.welcome()
	k.await(t, e)
}
