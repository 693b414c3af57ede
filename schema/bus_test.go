package schema

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"imcd/evapi/evapitest/kit"
	"imcd/schema/schematest"
)

// ear collects what an engine hears of others.
type ear struct {
	mu   sync.Mutex
	rows []BusRow // by mu
}

func (e *ear) hear(r BusRow) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.rows = append(e.rows, r)
}

func (e *ear) heard() []BusRow {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.rows)
}

// hears waits until e has heard all these bodies, in this order, whatever else it hears.
func (e *ear) hears(t *testing.T, bodies ...string) {
	t.Helper()
	kit.Eventually(t, fmt.Sprint(bodies, " are heard"), func() bool {
		left := bodies
		for _, r := range e.heard() {
			if len(left) > 0 && r.Body == left[0] {
				left = left[1:]
			}
		}
		return len(left) == 0
	})
}

// listening opens a Store whose engine has an ear.
func listening(t *testing.T, url string) (*Store, *ear) {
	t.Helper()
	e := &ear{}
	return open(t, url, Options{Lease: &Lease{Heard: e.hear}}), e
}

func publish(t *testing.T, s *Store, r BusRow) {
	t.Helper()
	if err := s.Publish(r); err != nil {
		t.Fatal(err)
	}
}

// TestBus: what an engine publishes reaches the others it is for, once, in order, with the engine that said it.
func TestBus(t *testing.T) {
	t.Parallel()
	url := schematest.NewDatabase(t)
	a, earA := listening(t, url)
	b, earB := listening(t, url)
	c, earC := listening(t, url)
	publish(t, a, BusRow{Kind: "k", Body: "to all"})
	publish(t, a, BusRow{To: b.EngineID(), Kind: "k", Body: "to b"})
	publish(t, a, BusRow{Kind: "other", Body: "to all again"})
	earB.hears(t, "to all", "to b", "to all again")
	earC.hears(t, "to all", "to all again")
	publish(t, b, BusRow{To: a.EngineID(), Kind: "k", Body: " an answer\n"})
	publish(t, c, BusRow{Kind: "k", Body: ""})
	earA.hears(t, " an answer\n")
	earB.hears(t, "")
	first := BusRow{From: a.EngineID(), Kind: "k", Body: "to all"}
	if heard := earB.heard(); len(heard) != 4 || heard[0] != first || heard[2].Kind != "other" ||
		heard[1] != (BusRow{From: a.EngineID(), To: b.EngineID(), Kind: "k", Body: "to b"}) {
		t.Errorf("b hears %+v", heard)
	}
	late, earLate := listening(t, url) // it hears those that live
	publish(t, a, BusRow{To: late.EngineID(), Kind: "k", Body: "to the late one"})
	earLate.hears(t, "to all", "to the late one")
	if heard := earC.heard(); len(heard) != 2 {
		t.Errorf("c hears %+v", heard)
	}
	for _, s := range []*Store{a, b, c, late} { // the last words are heard
		publish(t, s, BusRow{Kind: "k", Body: "the end"})
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
	if n := count(t, open(t, url, Options{}), "SELECT count(*) FROM imcd_bus WHERE body = 'the end'"); n != 4 {
		t.Errorf("%d last words", n)
	}
}

// TestBusAfterCrash: what nobody had read when the server crashed is said again.
func TestBusAfterCrash(t *testing.T) {
	t.Parallel()
	pg := schematest.New(t, schematest.Options{})
	if err := pg.CreateDatabase("imcd"); err != nil {
		t.Fatal(err)
	}
	a, _ := listening(t, pg.URL("imcd"))
	b, earB := listening(t, pg.URL("imcd"))
	publish(t, a, BusRow{Kind: "k", Body: "before"})
	earB.hears(t, "before")
	freeze(b)
	publish(t, a, BusRow{Kind: "k", Body: "unread"})
	kit.Eventually(t, "the row is there", func() bool { return count(t, a, "SELECT count(*) FROM imcd_bus") == 2 })
	if err := pg.Kill(); err != nil {
		t.Fatal(err)
	}
	publish(t, a, BusRow{Kind: "k", Body: "meanwhile"})
	if err := pg.Start(testContext(t)); err != nil {
		t.Fatal(err)
	}
	kit.Eventually(t, "the rows are there again", func() bool {
		return count(t, b, "SELECT count(*) FROM imcd_bus WHERE body IN ('unread', 'meanwhile')") == 2
	})
}

// TestBusIsSwept: rows of an engine that has ended are deleted by others, and those of a living one by itself.
func TestBusIsSwept(t *testing.T) {
	t.Parallel()
	url := schematest.NewDatabase(t)
	a, earA := listening(t, url)
	run(t, a, `INSERT INTO imcd_bus (origin, n, kind, body, at) VALUES (-1, 1, 'k', 'old', now() - interval '1 hour')`)
	earA.hears(t, "old")
	a.lease.(*member).bus.heardOthers(time.Now().Add(-time.Hour)) // it has heard of that before
	m := a.lease.(*member)
	m.bus.mu.Lock()
	m.bus.sweep = time.Now().Add(-time.Second)
	m.bus.mu.Unlock()
	publish(t, a, BusRow{Kind: "k", Body: "new"})
	kit.Eventually(t, "the old row is deleted", func() bool {
		return count(t, a, "SELECT count(*) FROM imcd_bus WHERE origin < 0") == 0
	})
	m.bus.mu.Lock()
	for i := range m.bus.rows {
		m.bus.rows[i].at = time.Now().Add(-busLife)
	}
	m.bus.mu.Unlock()
	m.bus.signal()
	kit.Eventually(t, "the row is deleted", func() bool { return count(t, a, "SELECT count(*) FROM imcd_bus") == 0 })
}

// TestDeposedSaysNothing: an engine that is gone leaves nothing that nobody would delete.
func TestDeposedSaysNothing(t *testing.T) {
	t.Parallel()
	s := open(t, schematest.NewDatabase(t), leased())
	freeze(s)
	m := s.lease.(*member)
	run(t, s, "UPDATE imcd_fences SET gone = true")
	if _, err := m.write(testContext(t), []publishedRow{{BusRow: BusRow{Kind: "k", Body: "late"}, n: 1}}, 0); err != nil {
		t.Fatal(err)
	}
	if n := count(t, s, "SELECT count(*) FROM imcd_bus"); n != 0 {
		t.Errorf("%d rows", n)
	}
}

// TestBusFull: a database that is away does not make the rows grow without end.
func TestBusFull(t *testing.T) {
	t.Parallel()
	b, now := newBus(), epoch
	body := strings.Repeat("x", 10000)
	n := 0
	for ; n < 1000; n++ {
		if err := b.publish(BusRow{Kind: "k", Body: body}, now); errors.Is(err, ErrBusFull) {
			break
		}
	}
	if n*len(body) > busBytes || n*len(body) < busBytes/2 {
		t.Errorf("%d rows were taken", n)
	}
	now = now.Add(busLife)
	if write, over, _ := b.due(now); len(write) != 0 || over != int64(n) {
		t.Errorf("%d rows to write, %d are over", len(write), over)
	}
	if err := b.publish(BusRow{Kind: "k", Body: body}, now); err != nil {
		t.Error(err)
	}
}

// TestBusModel: whatever fails, and if the table loses its rows whenever that is noticed, each row that lives is
// written in the end, and rows that are over are deleted.
func TestBusModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b, now := newBus(), epoch
		table := make(map[int64]bool)
		said := make(map[int64]time.Time)
		write := func(fail func() bool) (wrote bool) {
			rows, over, _ := b.due(now)
			if len(rows) > busRows {
				t.Fatalf("%d rows at once", len(rows))
			}
			last, err := int64(0), error(nil)
			if fail() {
				err = errors.New("away")
				if rapid.Bool().Draw(t, "a crash") {
					clear(table)
				}
			}
			if err == nil || rapid.Bool().Draw(t, "done all the same") {
				for n := range table {
					if n <= over {
						delete(table, n)
					}
				}
				for _, r := range rows {
					table[r.n], last = true, r.n
				}
			}
			b.done(last, err)
			return len(rows) > 0 || err != nil
		}
		t.Repeat(map[string]func(*rapid.T){
			"publish": func(t *rapid.T) {
				for range rapid.IntRange(1, 2*busRows).Draw(t, "rows") {
					if b.publish(BusRow{Kind: "k"}, now) == nil {
						said[int64(len(said)+1)] = now
					}
				}
			},
			"wait": func(t *rapid.T) {
				now = now.Add(rapid.SampledFrom([]time.Duration{time.Second, busLife}).Draw(t, "time"))
			},
			"write": func(t *rapid.T) {
				write(func() bool { return rapid.Bool().Draw(t, "fails") })
			},
			"": func(t *rapid.T) {
				if b.bytes > busBytes || b.bytes != len(b.rows)*(1+busOverhead) {
					t.Fatalf("%d bytes", b.bytes)
				}
			},
		})
		for write(func() bool { return false }) {
		}
		write(func() bool { return false })
		for n, at := range said {
			if lives := now.Sub(at) < busLife; lives != table[n] {
				t.Fatalf("row %d lives: %t, is written: %t", n, lives, table[n])
			}
		}
	})
}

// TestOwners: each engine knows who owns which room, and who lives.
func TestOwners(t *testing.T) {
	t.Parallel()
	url := schematest.NewDatabase(t)
	a, _ := listening(t, url)
	owns(t, a)
	b, _ := listening(t, url)
	kit.Eventually(t, "b knows the owner", func() bool { return slices.Equal(b.Owners(), []int64{a.EngineID()}) })
	if !b.Shared() || a.Shared() || !b.Lives(a.EngineID()) || !b.Lives(b.EngineID()) || b.Lives(-1) {
		t.Errorf("b shares: %t, a: %t, a lives: %t", b.Shared(), a.Shared(), b.Lives(a.EngineID()))
	}
	run(t, a, fmt.Sprintf("UPDATE imcd_shards SET engine = %d, epoch = epoch + 1 WHERE shard = 5", b.EngineID()))
	both := []int64{a.EngineID(), b.EngineID()}
	kit.Eventually(t, "both know that there are two", func() bool {
		return slices.Equal(a.Owners(), both) && slices.Equal(b.Owners(), both) && a.Shared()
	})
	if a.Owner(5) != b.EngineID() || a.Owner(64+5) != b.EngineID() || a.Owner(6) != a.EngineID() {
		t.Errorf("5 and 69 are of %d and %d, 6 is of %d", a.Owner(5), a.Owner(69), a.Owner(6))
	}
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	kit.Eventually(t, "a does not live any more", func() bool { return !b.Lives(a.EngineID()) })
	plain := open(t, url, Options{})
	if plain.Shared() || plain.Lives(b.EngineID()) || plain.Owner(5) != 0 || plain.Owners() != nil ||
		plain.Publish(BusRow{}) != nil {
		t.Error("there is a fleet without a lease")
	}
}
