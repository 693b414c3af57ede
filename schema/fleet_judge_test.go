package schema

import (
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"imcd/evapi/evapitest/kit"
	"imcd/schema/schematest"
)

// An engine of this host that was killed does not hold up anybody, either.
func TestEngineOfAKilledProcess(t *testing.T) {
	t.Parallel()
	url := schematest.NewDatabase(t)
	s, lost := engineOf(t, url)
	owns(t, s)
	dead := deadProcess(t).encode()
	if _, err := s.db.ExecContext(testContext(t), "UPDATE imcd_engines SET process = $1", dead); err != nil {
		t.Fatal(err)
	}
	<-lost // its row is another one's
	began := time.Now()
	owns(t, open(t, url, leased()))
	if took := time.Since(began); took > deadAfter {
		t.Errorf("the start took %v", took)
	}
}

// An engine that seems to be dead is taken for dead sooner, but only if it does not beat.
func TestSuspect(t *testing.T) {
	t.Parallel()
	m := &member{me: 1, suspects: make(map[int64]time.Time), again: make(chan struct{}, 1)}
	watches := map[int64]*watch{}
	now := epoch
	see := func(after time.Duration, beat int64) bool {
		now = now.Add(after)
		return len(m.dead(&view{sent: now, got: now, engines: []engineRow{{id: 1}, {id: 2, beat: beat}}}, watches)) > 0
	}
	see(0, 1)
	m.suspect(2, now)
	for after := time.Duration(0); after < deadAfter; after += beatEvery {
		if see(beatEvery, int64(after)) {
			t.Error("one that beats is dead")
		}
	}
	silent := func() (after time.Duration) { // since it was seen to beat
		see(0, 0)
		for after = beatEvery; !see(beatEvery, 0); {
			after += beatEvery
		}
		return after
	}
	m.suspect(2, now)
	m.suspect(1, now)
	if after := silent(); after < suspectAfter || after >= deadAfter {
		t.Errorf("it is dead after %v", after)
	}
	see(suspectFor, 1)
	if after := silent(); after < deadAfter {
		t.Errorf("an old suspicion counts after %v", after)
	}
	if m.suspect(3, now); len(m.suspects) != 1 {
		t.Errorf("it remembers %v", m.suspects)
	}
}

// An engine whose own looks take long gives others as much more time, for a while, and not without end.
func TestSlowLooks(t *testing.T) {
	t.Parallel()
	const half = 500 * time.Millisecond
	for _, c := range []struct {
		name      string
		took      time.Duration // of one look
		since     time.Duration // from then until the other one is silent
		suspected bool
		limit     time.Duration
	}{
		{"quick", time.Millisecond, 0, false, deadAfter},
		{"slow", half, 0, false, deadAfter + half},
		{"slow, suspected", half, 0, true, suspectAfter + half},
		{"slow some time ago", half, slowFor / 2, false, deadAfter + half},
		{"slow long ago", half, slowFor, false, deadAfter},
		{"slower than counts", 3 * slowView, 0, false, deadAfter + slowView},
	} {
		m := &member{me: 1, suspects: make(map[int64]time.Time), again: make(chan struct{}, 1)}
		watches, now, beat := map[int64]*watch{}, epoch, int64(0)
		see := func(took time.Duration) (dead bool) {
			v := &view{sent: now.Add(beatEvery), engines: []engineRow{{id: 1}, {id: 2, beat: beat}}}
			v.got = v.sent.Add(took)
			now = v.got
			return len(m.dead(v, watches)) > 0
		}
		see(c.took)
		for until := now.Add(c.since); !now.After(until); beat++ {
			see(time.Millisecond)
		}
		see(time.Millisecond) // it has beaten for the last time
		silent := now
		if c.suspected {
			m.suspect(2, now)
		}
		for !see(time.Millisecond) {
		}
		if after := now.Sub(silent); after < c.limit || after > c.limit+2*beatEvery {
			t.Errorf("%s: it is dead after %v, not %v", c.name, after, c.limit)
		}
	}
}

// An engine that does not do its work does not beat.
func TestStuckEngine(t *testing.T) {
	t.Parallel()
	url := schematest.NewDatabase(t)
	var stuck atomic.Bool
	lost := make(chan error, 2)
	s := open(t, url, Options{Lease: &Lease{Lost: func(err error) { lost <- err },
		Alive: func() bool { return !stuck.Load() }}})
	owns(t, s)
	spare := open(t, url, leased())
	stuck.Store(true)
	owns(t, spare)
	stuck.Store(false)
	if err := kit.Await(t, "the end", lost); !errors.Is(err, ErrDeposed) {
		t.Error(err)
	}
}

// When the database was away, everybody keeps what it has.
func TestOutageRobsNobody(t *testing.T) {
	t.Parallel()
	pg := schematest.New(t, schematest.Options{})
	url := pg.URL("postgres")
	s, lost := engineOf(t, url)
	owns(t, s)
	spare, spareLost := engineOf(t, url)
	sees := func(s *Store) bool { return s.lease.(*member).look().shards > 0 }
	kit.Eventually(t, "the spare sees the owner", func() bool { return sees(spare) })
	for _, pause := range []time.Duration{deadAfter * 3 / 4, deadAfter * 3 / 2, 3 * deadAfter} {
		if err := pg.Pause(); err != nil {
			t.Fatal(err)
		}
		<-time.After(pause)
		if err := pg.Resume(); err != nil {
			t.Fatal(err)
		}
		select {
		case err := <-lost:
			t.Fatalf("after %v: %v", pause, err)
		case err := <-spareLost:
			t.Fatalf("after %v: %v", pause, err)
		case <-time.After(awayGrace + 2*deadAfter):
		}
		commit(t, s, putRoomID(fmt.Sprint("r", pause), int64(pause)))
	}
}
