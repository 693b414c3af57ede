package engine

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/rs/zerolog"

	"imcd/engine/store"
	"imcd/evapi"
)

// note takes the time that the notes of devices take.
func (s *memStore) note() {
	s.mu.Lock()
	noting := s.noting
	s.mu.Unlock()
	if noting > 0 {
		<-time.After(noting)
	}
}

func (s *memStore) PutDevices(_ context.Context, rows []store.DeviceRow, most int) error {
	s.note()
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.called("PutDevices"); err != nil {
		return err
	}
	for _, r := range rows {
		if s.strict && !s.anywhere(r.User) {
			continue
		}
		list := slices.Clone(s.devices[r.User.Key()])
		i := slices.IndexFunc(list, func(d store.DeviceRow) bool { return d.Device == r.Device })
		switch {
		case i < 0:
			list = append(list, r)
		case !list[i].OKAt.After(r.OKAt):
			if old := list[i]; !old.GoneAt.IsZero() {
				r.GoneAt = old.GoneAt
			} else if old.Expires.Before(r.OKAt) {
				r.GoneAt = old.Expires
			}
			list[i] = r
		}
		slices.SortFunc(list, func(a, b store.DeviceRow) int { return b.OKAt.Compare(a.OKAt) })
		s.devices[r.User.Key()] = list[:min(len(list), most)]
	}
	return nil
}

// anywhere reports whether a user is in a room.
func (s *memStore) anywhere(user store.Name) bool {
	for _, r := range s.rooms {
		if slices.ContainsFunc(r.Members, func(m store.MemberRow) bool { return m.User.Key() == user.Key() }) {
			return true
		}
	}
	return false
}

func (s *memStore) Devices(_ context.Context, users ...store.Name) (list []store.DeviceRow, err error) {
	s.note()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, u := range users {
		list = append(list, s.devices[u.Key()]...)
	}
	return list, s.called("Devices")
}

func (s *memStore) SharedDevices(_ context.Context, now time.Time, limit int) (list []store.DeviceRow, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, key := range slices.Sorted(maps.Keys(s.devices)) {
		there := slices.DeleteFunc(slices.Clone(s.devices[key]),
			func(d store.DeviceRow) bool { return !d.Expires.After(now) })
		owed := slices.ContainsFunc(there, func(d store.DeviceRow) bool { return !d.GoneAt.IsZero() })
		if (owed || len(there) > 1) && len(list)+len(there) <= limit {
			list = append(list, there...)
		}
	}
	return list, s.called("SharedDevices")
}

func (s *memStore) OweDevices(_ context.Context, moves []store.GoneMove) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.called("OweDevices"); err != nil {
		return err
	}
	for _, m := range moves {
		list := slices.Clone(s.devices[m.User.Key()])
		for i := range list {
			if d := &list[i]; d.Device == m.Device && (d.GoneAt.IsZero() || d.GoneAt.After(m.Is)) {
				d.GoneAt = m.Is
			}
		}
		s.devices[m.User.Key()] = list
	}
	return nil
}

func (s *memStore) PutGone(_ context.Context, moves []store.GoneMove) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, m := range moves {
		list := slices.Clone(s.devices[m.User.Key()])
		for i := range list {
			if d := &list[i]; d.Device == m.Device && d.GoneAt.Equal(m.Was) && d.Expires.After(d.OKAt) {
				d.GoneAt = m.Is
			}
		}
		s.devices[m.User.Key()] = list
	}
	return s.called("PutGone")
}

// join notes the last message before a member came.
func (s *memStore) join(r store.RoomState, m store.MemberRow, at int) {
	if m.Flag&store.MemberInvited != 0 || at >= 0 && r.Members[at].Flag&store.MemberInvited == 0 {
		return
	}
	joins := maps.Clone(s.joins[r.Room.ID])
	if joins == nil {
		joins = map[string]uint64{}
	}
	joins[m.User.Key()] = uint64(len(s.said[r.Room.ID]))
	s.joins[r.Room.ID] = joins
}

func (s *memStore) Backlogs(_ context.Context, places []store.Place, since time.Time) (all []uint64, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range places {
		after := s.joins[p.Room][p.User.Key()]
		for _, m := range s.said[p.Room] {
			if m.At.Before(since) {
				after = max(after, m.Seq)
			}
		}
		all = append(all, after)
	}
	return all, s.called("Backlogs")
}

// registers reports a registration of a user, which may be the removal of a contact.
func registers(e *Engine, user string, devices ...evapi.Device) {
	e.Devices(evapi.Registration{AOR: "sip:" + user + "@x.org", Devices: devices, Agent: "Phone\x00/1",
		Source: "udp:192.0.2.1:5060"})
}

// devices is what imc.devices says of a user, a line for each.
func devicesOf(t *testing.T, e *Engine, user string) []string {
	t.Helper()
	list, err := e.UserDevices(t.Context(), "sip:"+user+"@x.org", "")
	if err != nil {
		t.Fatal(err)
	}
	lines := []string{}
	for _, d := range list {
		what, _, _ := strings.Cut(d.State, " ")
		lines = append(lines, fmt.Sprint(d.Device, " ", what, " ", d.Registered))
	}
	return lines
}

func TestDevicesOfAUser(t *testing.T) {
	h := newHouse(t, nil)
	phone := evapi.Device{Contact: "sip:al@10.0.0.1:5061;ob", Instance: "urn:uuid:1", GRUU: "u-1", Left: time.Hour}
	want := func(user string, lines ...string) {
		t.Helper()
		if got := devicesOf(t, h.e, user); !slices.Equal(got, lines) {
			t.Errorf("%s: %q, want %q", user, got, lines)
		}
	}
	want("al")
	registers(h.e, "al", phone)
	want("AL", "urn:uuid:1 registered true")
	phone.Contact = "sip:al@10.0.0.2:7;ob" // another network
	registers(h.e, "Al", phone)
	want("al", "urn:uuid:1 registered true")
	tablet := evapi.Device{Contact: "sip:al@Host.x.org:5062;transport=TCP", Left: time.Hour}
	registers(h.e, "al", tablet)
	tablet.Contact = "sip:al@host.x.org:5099;transport=tcp" // another connection
	registers(h.e, "al", tablet)
	want("al", "al@host.x.org registered true", "urn:uuid:1 registered true")
	registers(h.e, "al", evapi.Device{Contact: "sip:al@10.0.0.2:7;ob", Instance: "urn:uuid:1"})
	want("al", "urn:uuid:1 unregistered false", "al@host.x.org registered true")
	registers(h.e, "al", evapi.Device{Contact: "sip:al@10.0.0.9", Left: time.Nanosecond})
	want("al", "al@10.0.0.9:0 registration false", "urn:uuid:1 unregistered false", "al@host.x.org registered true")
	registers(h.e, "al", evapi.Device{Contact: "*"}) // with the reports before it, and with what is stored
	for _, line := range devicesOf(t, h.e, "al") {
		if !strings.HasSuffix(line, " unregistered false") {
			t.Errorf("after Contact: *, %s", line)
		}
	}
	registers(h.e, "al", phone)
	want("al", append([]string{"urn:uuid:1 registered true"}, devicesOf(t, h.e, "al")[1:]...)...)
	registers(h.e, "", phone)
	registers(h.e, "al")
	if _, err := h.e.UserDevices(t.Context(), "sip:@", ""); !errors.Is(err, ErrBadName) {
		t.Errorf("error %v", err)
	}
}

func TestLongTextsOfDevices(t *testing.T) {
	h := newHouse(t, nil)
	long := strings.Repeat("ü\x01", 400)
	registers(h.e, "al", evapi.Device{Contact: long, Left: time.Hour}, evapi.Device{Contact: "sip:a@b", Instance: long,
		Left: time.Hour})
	for _, r := range h.store.devices["al@x.org"] {
		if n := len([]rune(r.Device)); n > store.MaxDevice || len([]rune(r.Contact)) > store.MaxDevice ||
			strings.ContainsRune(r.Device, 1) {
			t.Errorf("%d characters: %+v", n, r)
		}
	}
}

// TestReportsOfDevicesWait: what the database does not take is written later, the newest report of each device; there
// is a bound.
func TestReportsOfDevicesWait(t *testing.T) {
	s := newMemStore()
	cfg := DefaultConfig()
	dropped := prometheus.NewCounter(prometheus.CounterOpts{Name: "x"})
	r := newReports(s, cfg, zerolog.Nop(), dropped)
	at := time.Now()
	row := func(i int, contact string) store.DeviceRow {
		at = at.Add(time.Millisecond)
		user := store.Name{User: "al", Host: fmt.Sprint("x", i)}
		return store.DeviceRow{User: user, Device: "phone", Contact: contact, OKAt: at}
	}
	s.errs = map[string]error{"PutDevices": store.ErrUnavailable}
	for i := range maxReports + 10 {
		r.add(row(i, "old"))
	}
	if got := testutil.ToFloat64(dropped); got != 10 {
		t.Errorf("%v were dropped", got)
	}
	if err := r.flush(t.Context()); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("error %v", err)
	}
	r.add(row(3, "new")) // though there is no space for others
	s.errs = nil
	if err := r.flush(t.Context()); err != nil || len(s.devices) != maxReports || len(r.waiting) != 0 {
		t.Errorf("%d devices, %d wait: %v", len(s.devices), len(r.waiting), err)
	}
	if d := s.devices["al@x3"]; len(d) != 1 || d[0].Contact != "new" {
		t.Errorf("%+v", d)
	}
	s.errs = map[string]error{"PutDevices": store.ErrInvalid}
	r.add(row(4, "newer"))
	if err := r.flush(t.Context()); err != nil || len(r.waiting) != 0 {
		t.Errorf("%d wait after they were refused: %v", len(r.waiting), err)
	}
}

// TestFlushOfReportsEnds: who waits for another one's writing has a deadline.
func TestFlushOfReportsEnds(t *testing.T) {
	r := newReports(newMemStore(), DefaultConfig(), zerolog.Nop(), nil)
	r.writing <- struct{}{}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := r.flush(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}

func TestReportsOfDevicesAreWrittenAgain(t *testing.T) {
	h := newHouse(t, nil)
	h.store.mu.Lock()
	h.store.errs = map[string]error{"PutDevices": store.ErrUnavailable}
	h.store.mu.Unlock()
	registers(h.e, "al", evapi.Device{Contact: "sip:al@10.0.0.1", Left: time.Hour})
	h.until("the first try", func() bool { return h.store.times("PutDevices") > 0 })
	h.store.mu.Lock()
	h.store.errs = nil
	h.store.mu.Unlock()
	h.until("the device", func() bool {
		list, _ := h.store.Devices(t.Context(), store.Name{User: "al", Host: "x.org"})
		return len(list) == 1
	})
}

// times is how often a method was called.
func (s *memStore) times(method string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls[method]
}
