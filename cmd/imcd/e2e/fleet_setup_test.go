package e2e

import (
	"cmp"
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"imcd/cmd/internal/chatter"
	"imcd/cmd/internal/judge"
	"imcd/cmd/internal/stack"
	"imcd/engine/store"
	"imcd/evapi/evapitest"
	"imcd/evapi/evapitest/kit"
	"imcd/schema/schematest"
)

const (
	fleetRooms  = 30
	fleetPhones = 40
	fleetSize   = 8   // members of a room
	fleetRate   = 100 // messages a second
	slotsMax    = 1024
	// fleetTime bounds a test with a crowd.
	fleetTime = 2 * time.Minute
)

// fleet is a crowd that talks in rooms of one PostgreSQL with a standby, and a judge.
type fleet struct {
	primary, standby *schematest.Postgres
	crowd            *chatter.Crowd
	imcd             []*stack.Stack
	rate             int       // messages a second; 0: fleetRate
	networks         []network // of each imcd to the servers; nobody else uses them
	// cutter is the way of the first imcd to the primary, instead of its network; nil: none.
	cutter *schematest.Cutter
	// settled is for how long copies arrived after the last message was answered.
	settled time.Duration
}

// quietRoom is a room in which the crowd says nothing.
const quietRoom = "chat-quiet"

// network is the way to the primary and to the standby.
type network [2]*schematest.Proxy

// between puts a network before the servers of f.
func (f *fleet) between(t *testing.T) (url string) {
	n := network{schematest.NewProxy(t, f.primary), schematest.NewProxy(t, f.standby)}
	f.networks = append(f.networks, n)
	if f.cutter != nil && len(f.networks) == 1 {
		return schematest.Hosts("imcd", f.cutter, n[1]) + "?sslmode=disable"
	}
	return schematest.Hosts("imcd", n[0], n[1])
}

func (n network) each(do func(*schematest.Proxy)) {
	for _, p := range n {
		do(p)
	}
}

// server is a PostgreSQL.
type server interface{ URL(database string) string }

// startPair starts PostgreSQL with a standby that confirms each commit, and rooms in its database.
func startPair(t *testing.T) (f *fleet, rooms []filling) {
	t.Helper()
	f = &fleet{}
	f.primary, f.standby = schematest.NewPair(t, schematest.Options{})
	if err := f.primary.CreateDatabase("imcd"); err != nil {
		t.Fatal(err)
	}
	return f, fillFleet(t, f.primary)
}

// fillFleet makes the rooms of a fleet, and lets its database write down who writes.
func fillFleet(t *testing.T, pg server) (rooms []filling) {
	t.Helper()
	users := names("u", fleetPhones)
	for i := range fleetRooms {
		r := filling{room: fmt.Sprint("chat-f", i), id: int64(1000 + i)}
		for n := range fleetSize {
			r.members = append(r.members, users[(i*7+n*5)%fleetPhones])
		}
		rooms = append(rooms, r)
	}
	all := append(slices.Clone(rooms), filling{room: quietRoom, id: 999, members: users[:2]})
	fillRooms(t, pg.URL("imcd"), all)
	db, err := judge.Open(pg.URL("imcd"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close() // the triggers are made
	slots := make(map[string]int)
	for _, r := range all {
		slots[roomURI(r.room)] = int(store.Hash(store.Name{User: r.room, Host: chatHost}.Key()) % slotsMax)
	}
	if err := db.Audit(kit.Context(t), slots); err != nil {
		t.Fatal(err)
	}
	return rooms
}

// talk lets a crowd talk at the Kamailios of f.
func (f *fleet) talk(t *testing.T, rooms []filling) {
	t.Helper()
	ctx := kit.Within(t, fleetTime)
	opts := chatter.Options{Domain: chatHost, Rate: cmp.Or(f.rate, fleetRate)}
	for _, s := range f.imcd {
		opts.Proxies = append(opts.Proxies, s.Kamailio().SIPAddr())
	}
	for _, r := range rooms {
		opts.Rooms = append(opts.Rooms, chatter.Room{URI: roomURI(r.room), Members: r.members})
	}
	var err error
	if f.crowd, err = chatter.New(ctx, opts); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.crowd.Close(); err != nil {
			t.Error(err)
		}
	})
	f.crowd.Talk()
	f.more(t, 3*opts.Rate)
}

// more waits until n more messages have been answered 2xx.
func (f *fleet) more(t *testing.T, n int) {
	t.Helper()
	goal := f.crowd.Log().Accepted() + n
	kit.Until(t, kit.Within(t, fleetTime), fmt.Sprint(n, " more messages are accepted"),
		func() bool { return f.crowd.Log().Accepted() >= goal })
}

// evidence is what phones saw, and what is stored at pg. The talk must be over.
func (f *fleet) evidence(t *testing.T, pg server) *judge.Evidence {
	t.Helper()
	db, err := judge.Open(pg.URL("imcd"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close() // it was only read
	e := f.crowd.Log().Evidence(f.crowd.Members())
	if err := db.Read(kit.Context(t), e); err != nil {
		t.Fatal(err)
	}
	asked := make(map[*evapitest.Kamailio]bool)
	for _, s := range f.imcd {
		if k := s.Kamailio(); !asked[k] && k.Running() {
			asked[k] = true
			e.Left = append(e.Left, unanswered(t, k)...)
		}
	}
	return e
}

// controlled lets tests ask a Kamailio for its tables.
func controlled(o evapitest.Options) evapitest.Options {
	o.Local += "loadmodule \"ctl.so\"\n"
	return o
}

// unanswered are the requests that a controlled Kamailio takes for unanswered.
func unanswered(t *testing.T, k *evapitest.Kamailio) (list []string) {
	t.Helper()
	out, err := exec.CommandContext(kit.Context(t), "kamcmd", "-s", filepath.Join(k.Dir(), "kamailio_ctl"),
		"htable.dump", "imcp").CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for line := range strings.Lines(string(out)) {
		if _, name, is := strings.Cut(line, "name: "); is {
			list = append(list, "imcp "+strings.TrimSpace(name))
		}
	}
	return list
}

// judge ends the talk, and compares what phones saw with what is stored at pg. It returns the longest
// silence of a room.
func (f *fleet) judge(t *testing.T, pg server) judge.Silence {
	t.Helper()
	f.crowd.Hush()
	log, hushed := f.crowd.Log(), time.Now()
	if err := f.crowd.Settle(kit.Context(t)); err != nil {
		t.Error(err)
	}
	f.settled = time.Since(hushed)
	e := f.evidence(t, pg)
	if err := judge.Judge(e).Err(); err != nil || !e.Audited {
		t.Errorf("audited %v: %v", e.Audited, err)
	}
	copies, firsts := log.Copies()
	took := log.Latencies()
	longest := f.crowd.Silences()[0]
	t.Logf("%d messages are stored, %d copies arrived, %d of them again; answers %v; median %v, 99 %% below %v; "+
		"the longest silence is %v, in %s, copies came for %v after the last answer, and the machine stood for %v",
		len(e.Stored), copies, copies-firsts, log.Codes(),
		took[len(took)/2].Round(time.Millisecond), took[len(took)*99/100].Round(time.Millisecond),
		longest.Took.Round(time.Millisecond), strings.TrimPrefix(longest.Room, "sip:"), f.settled.Round(time.Millisecond),
		f.crowd.Stall().Round(time.Millisecond))
	if n := f.crowd.Dropped(); n > 0 {
		t.Errorf("%d messages were not said", n)
	}
	return longest
}

// acceptedBetween counts messages that were answered 2xx between two times.
func (f *fleet) acceptedBetween(from, to time.Time) (n int) {
	for _, m := range f.crowd.Log().Messages() {
		if m.Code >= 200 && m.Code < 300 && m.Ended.After(from) && m.Ended.Before(to) {
			n++
		}
	}
	return n
}

// pause waits, as the thing that is tried is a matter of time.
func pause(t *testing.T, d time.Duration) {
	t.Helper()
	if err := stack.Pause(context.WithoutCancel(t.Context()), d); err != nil {
		t.Fatal(err)
	}
}
