package bus

import (
	"fmt"
	"runtime"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"imcd/engine"
	"imcd/schema"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakeStore keeps what is published.
type fakeStore struct {
	mu    sync.Mutex
	rows  []schema.BusRow // by mu
	alone bool            // by mu
	full  bool            // by mu
}

func (s *fakeStore) Publish(r schema.BusRow) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.full {
		return schema.ErrBusFull
	}
	s.rows = append(s.rows, r)
	return nil
}

func (s *fakeStore) Shared() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.alone
}

func (s *fakeStore) set(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
}

// rooms notes what they hear.
type rooms struct {
	users   []string
	devices []engine.DeviceReport
	wakes   int
	longest int // bytes of a row
}

func (r *rooms) Registered(aor string) { r.users = append(r.users, aor) }
func (r *rooms) Wake()                 { r.wakes++ }

func (r *rooms) HearDevices(list []engine.DeviceReport) { r.devices = append(r.devices, list...) }

// heard is what rooms hear of all rows so far, which are taken.
func (s *fakeStore) heard(r *Registrations) (all rooms, rows int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, row := range s.rows {
		r.Hear(row, &all)
		all.longest = max(all.longest, len(row.Body))
	}
	rows, s.rows = len(s.rows), nil
	return all, rows
}

// running runs f in a bubble with registrations that are passed on.
func running(t *testing.T, f func(s *fakeStore, r *Registrations)) {
	synctest.Test(t, func(t *testing.T) {
		s := &fakeStore{}
		r := NewRegistrations(s, zerolog.Nop())
		r.Start()
		f(s, r)
		r.Stop()
	})
}

func pass(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

// TestRegistrations: the first one is passed on at once, and those of a moment together, each user once.
func TestRegistrations(t *testing.T) {
	running(t, func(s *fakeStore, r *Registrations) {
		r.Registered("sip:first@x.org:5061;transport=tcp")
		synctest.Wait()
		if all, rows := s.heard(r); rows != 1 || !slices.Equal(all.users, []string{"sip:first@x.org"}) {
			t.Errorf("%+v in %d rows", all, rows)
		}
		for i := range 10 {
			r.Registered(fmt.Sprintf("sip:u%d@x.org", i%5))
		}
		r.Registered("nobody")
		r.Registered("sip:a b@x.org")
		synctest.Wait()
		if _, rows := s.heard(r); rows != 0 {
			t.Errorf("%d rows within a moment", rows)
		}
		pass(gatherFor)
		if all, rows := s.heard(r); rows != 1 || len(all.users) != 5 || all.wakes != 0 {
			t.Errorf("%+v in %d rows", all, rows)
		}
		if n := testutil.ToFloat64(r.passed); n != 6 {
			t.Errorf("%v are counted", n)
		}
		r.Registered("sip:last@x.org")
	})
}

// TestRegisteredWhilePassedOn: users register while the loop looks for some; each is passed on once.
func TestRegisteredWhilePassedOn(t *testing.T) {
	s := &fakeStore{}
	r := NewRegistrations(s, zerolog.Nop())
	const users = 1000
	registered := make(chan struct{})
	go func() {
		defer close(registered)
		for i := range users {
			r.Registered(fmt.Sprintf("sip:u%d@x.org", i))
			runtime.Gosched()
		}
	}()
	for done := false; !done; {
		r.publish(time.Now())
		select {
		case <-registered:
			done = true
		default:
		}
	}
	r.publish(time.Now())
	if all, _ := s.heard(r); len(all.users) != users {
		t.Errorf("%d of %d are passed on", len(all.users), users)
	}
}

// TestDevicesArePassedOn: others hear what an imcd knows of devices; while it is alone, nobody does.
func TestDevicesArePassedOn(t *testing.T) {
	s := &fakeStore{}
	r := NewRegistrations(s, zerolog.Nop())
	want := []engine.DeviceReport{{User: "sip:al@x.org", Device: "phone", Gone: 7}, {User: "sip:bo@x.org"}}
	r.Devices(want)
	r.Hear(schema.BusRow{Kind: kindDevices, Body: "no list"}, &rooms{})
	if all, rows := s.heard(r); rows != 1 || !slices.Equal(all.devices, want) {
		t.Errorf("%+v in %d rows", all, rows)
	}
	s.set(func() { s.alone = true })
	r.Devices(want)
	if _, rows := s.heard(r); rows != 0 {
		t.Errorf("%d rows", rows)
	}
}

// TestLastRegistrations: those of the last moment are passed on when imcd ends.
func TestLastRegistrations(t *testing.T) {
	s := &fakeStore{}
	r := NewRegistrations(s, zerolog.Nop())
	r.Start()
	for i := range 100 {
		r.Registered(fmt.Sprintf("sip:u%d@x.org", i))
	}
	r.Stop()
	if all, _ := s.heard(r); len(all.users) != 100 {
		t.Errorf("%d are passed on", len(all.users))
	}
}

// TestAloneSaysNothing: while nobody else has rooms, nobody needs to hear of registrations.
func TestAloneSaysNothing(t *testing.T) {
	running(t, func(s *fakeStore, r *Registrations) {
		s.set(func() { s.alone = true })
		r.Registered("sip:a@x.org")
		r.Missed()
		pass(time.Second)
		if _, rows := s.heard(r); rows != 0 {
			t.Errorf("%d rows", rows)
		}
	})
}

// TestManyRegistrations: ten thousand a second take ten rows a second, of a bounded size.
func TestManyRegistrations(t *testing.T) {
	running(t, func(s *fakeStore, r *Registrations) {
		const each = 10 * time.Millisecond
		for i := range int(2 * time.Second / each) {
			for j := range 100 {
				r.Registered(fmt.Sprintf("sip:u%d-%d@x.org", i, j))
			}
			pass(each)
		}
		all, rows := s.heard(r)
		if rows > 22 || len(all.users) < 18000 || all.wakes != 0 || all.longest > maxUsers*30 {
			t.Errorf("%d rows for %d users, %d wakes, the longest body has %d bytes", rows, len(all.users), all.wakes,
				all.longest)
		}
	})
}

// TestTooManyRegistrations: if there are more, others try all users that are offline, but not all the time.
func TestTooManyRegistrations(t *testing.T) {
	running(t, func(s *fakeStore, r *Registrations) {
		for round := range 60 {
			for i := range maxUsers + 1 {
				r.Registered(fmt.Sprintf("sip:u%d-%d@x.org", round, i))
			}
			pass(gatherFor)
		}
		if all, rows := s.heard(r); rows > 63 || all.wakes != 2 || all.longest > maxUsers*30 {
			t.Errorf("%d rows in 6 s, %d wakes, the longest body has %d bytes", rows, all.wakes, all.longest)
		}
		pass(2 * missedEvery)
		if all, _ := s.heard(r); all.wakes != 1 {
			t.Errorf("%d wakes after that", all.wakes)
		}
	})
}

// TestBusIsFull: while nothing can be published, nothing grows, and others try all users after that.
func TestBusIsFull(t *testing.T) {
	running(t, func(s *fakeStore, r *Registrations) {
		s.set(func() { s.full = true })
		for range 5 {
			r.Registered("sip:a@x.org")
			pass(time.Second)
		}
		s.set(func() { s.full = false })
		pass(gatherFor)
		if all, rows := s.heard(r); rows != 1 || all.wakes != 1 || len(all.users) != 0 {
			t.Errorf("%+v in %d rows", all, rows)
		}
		pass(missedEvery)
		r.Missed() // as after a connection
		r.Missed()
		pass(gatherFor)
		if all, rows := s.heard(r); rows != 1 || all.wakes != 1 {
			t.Errorf("%+v in %d rows", all, rows)
		}
	})
}

// TestHearGarbage: a row that cannot be read does no harm.
func TestHearGarbage(t *testing.T) {
	r := NewRegistrations(&fakeStore{}, zerolog.Nop())
	var all rooms
	for _, row := range []schema.BusRow{{Kind: kindRegistered, Body: "{"}, {Kind: "of a newer imcd"}} {
		r.Hear(row, &all)
	}
	if len(all.users)+all.wakes != 0 {
		t.Errorf("%+v", all)
	}
}
