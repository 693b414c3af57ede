package engine

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"imcd/evapi"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// memStore is a Store in memory whose commits can be made to fail: what a real
// database cannot be asked to do at a given moment.
type memStore struct {
	mu      sync.Mutex
	rooms   map[string]RoomState
	said    map[int64][]MessageRow
	cursors map[int64]map[string]uint64
	answers map[[16]byte]SeenRow
	serial  int
	codes   map[string]evapi.Result // for fakeRelay.codes of houses on this store
	commits int
	fail    func(changes []Change) (err error, applied bool) // nil: never
	away    bool                                             // Ping and loads fail
	gate    chan struct{}                                    // if not nil, each commit takes one token first
}

func newMemStore() *memStore {
	return &memStore{rooms: map[string]RoomState{}, said: map[int64][]MessageRow{},
		codes: map[string]evapi.Result{}, cursors: map[int64]map[string]uint64{}, answers: map[[16]byte]SeenRow{}}
}

func (s *memStore) Load(_ context.Context, fn func(RoomState) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, key := range slices.Sorted(maps.Keys(s.rooms)) {
		if err := fn(s.state(key)); err != nil {
			return err
		}
	}
	return nil
}

func (s *memStore) LoadRooms(_ context.Context, rooms []Name) ([]RoomState, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var found []RoomState
	for _, n := range rooms {
		if _, ok := s.rooms[n.Key()]; ok {
			found = append(found, s.state(n.Key()))
		}
	}
	return found, nil
}

func (s *memStore) Commit(ctx context.Context, changes []Change) error {
	s.mu.Lock()
	gate := s.gate
	s.mu.Unlock()
	if gate != nil {
		select {
		case <-gate:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.commits++
	if s.fail != nil {
		if err, applied := s.fail(changes); err != nil && !applied {
			return err
		} else if err != nil {
			s.apply(changes)
			return err
		}
	}
	s.apply(changes)
	return nil
}

func (s *memStore) apply(changes []Change) {
	for _, c := range changes {
		if c.Op >= PutMessage {
			s.applyDelivery(c)
			continue
		}
		key := c.Room.Name.Key()
		if c.Op == PutMember || c.Op == DeleteMember {
			key = c.Member.Room.Key()
		}
		r := s.rooms[key]
		r.Members = slices.Clone(r.Members)
		cursor := c.Member.Cursor
		c.Member.Cursor = nil
		at := slices.IndexFunc(r.Members, func(m MemberRow) bool { return m.User.Key() == c.Member.User.Key() })
		switch {
		case c.Op == PutRoom:
			c.Room.Done = r.Room.Done
			r.Room = c.Room
		case c.Op == DeleteRoom:
			delete(s.rooms, key)
			delete(s.said, r.Room.ID)
			delete(s.cursors, r.Room.ID)
			continue
		case c.Op == PutMember && at < 0:
			r.Members = append(r.Members, c.Member)
		case c.Op == PutMember:
			r.Members[at] = c.Member
		case at >= 0:
			r.Members = slices.Delete(r.Members, at, at+1)
		}
		if r.Room.Name.IsZero() {
			panic(fmt.Sprintf("change of a room that is not stored: %+v", c))
		}
		switch {
		case c.Op == PutMember && cursor != nil:
			s.putCursor(CursorRow{Room: r.Room.ID, User: c.Member.User, Seq: *cursor})
		case c.Op == DeleteMember:
			s.putCursor(CursorRow{Room: r.Room.ID, User: c.Member.User, Remove: true})
		}
		s.rooms[key] = r
	}
}

// state is a room with what is derived from other tables.
func (s *memStore) state(key string) RoomState {
	r := s.rooms[key]
	r.Members = slices.Clone(r.Members)
	if said := s.said[r.Room.ID]; len(said) > 0 {
		r.Room.Seq = said[len(said)-1].Seq
	}
	for i := range r.Members {
		if seq, ok := s.cursors[r.Room.ID][r.Members[i].User.Key()]; ok {
			r.Members[i].Cursor = &seq
		}
	}
	return r
}

func (s *memStore) putCursor(c CursorRow) {
	if s.cursors[c.Room] == nil {
		s.cursors[c.Room] = map[string]uint64{}
	}
	if c.Remove {
		delete(s.cursors[c.Room], c.User.Key())
	} else {
		s.cursors[c.Room][c.User.Key()] = c.Seq
	}
}

func (s *memStore) applyDelivery(c Change) {
	switch c.Op {
	case PutMessage:
		said := s.said[c.Message.Room]
		if n := len(said); n > 0 && said[n-1].Seq+1 != c.Message.Seq || n == 0 && c.Message.Seq != 1 {
			panic(fmt.Sprintf("message %d follows %d others", c.Message.Seq, n))
		}
		s.said[c.Message.Room] = append(said, *c.Message)
	case PutCursor:
		s.putCursor(*c.Cursor)
	case PutProgress:
		for key, r := range s.rooms {
			if r.Room.ID == c.Progress.Room {
				r.Room.Done = c.Progress.Done
				s.rooms[key] = r
			}
		}
	case PutSeen:
		s.answers[c.Seen.Key] = *c.Seen
	}
}

func (s *memStore) Messages(_ context.Context, room int64, after uint64, limit int) ([]MessageRow, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.away {
		return nil, ErrUnavailable
	}
	var rows []MessageRow
	for _, m := range s.said[room] {
		if m.Seq > after && m.Body != nil && len(rows) < limit {
			rows = append(rows, m)
		}
	}
	return rows, nil
}

func (s *memStore) Seen(_ context.Context, since time.Time) ([]SeenRow, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var rows []SeenRow
	for _, r := range s.answers {
		if r.At.After(since) {
			rows = append(rows, r)
		}
	}
	return rows, nil
}

// Prune takes the bodies of messages that are over the limit per room.
func (s *memStore) Prune(_ context.Context, l Limits, _ time.Time) (n int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, said := range s.said {
		for i := 0; i < len(said)-l.Messages && l.Messages > 0; i++ {
			if said[i].Body != nil {
				said[i].Body = nil
				n++
			}
		}
	}
	return n, nil
}

func (s *memStore) Ping(context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.away {
		return ErrUnavailable
	}
	return nil
}

func (s *memStore) Close() error { return nil }

// set makes commits fail from now on; nil: no more.
func (s *memStore) set(fail func([]Change) (err error, applied bool)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fail = fail
}

// owed shows what is not noted as delivered.
func (s *memStore) owed() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var b strings.Builder
	for key := range s.rooms {
		r := s.state(key)
		for _, m := range r.Members {
			cursor := r.Room.Done
			if m.Cursor != nil {
				cursor = *m.Cursor
			}
			if m.Flag&MemberInvited == 0 && cursor < r.Room.Seq {
				fmt.Fprintf(&b, "%s: %s has %d of %d (own cursor: %t)\n", key, m.User.User, cursor, r.Room.Seq, m.Cursor != nil)
			}
		}
	}
	return b.String()
}

// copy is what a crash at this moment would leave.
func (s *memStore) copy() *memStore {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := newMemStore()
	c.rooms, c.said, c.answers, c.serial = maps.Clone(s.rooms), maps.Clone(s.said), maps.Clone(s.answers), s.serial
	for room, cursors := range s.cursors {
		c.cursors[room] = maps.Clone(cursors)
	}
	return c
}

// dump shows what is stored, a line a room.
func (s *memStore) dump() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var b strings.Builder
	for _, key := range slices.Sorted(maps.Keys(s.rooms)) {
		r := s.rooms[key]
		fmt.Fprintf(&b, "%s %d:", key, r.Room.Flag)
		for _, m := range r.Members {
			fmt.Fprintf(&b, " %s/%d", m.User.User, m.Flag)
		}
		b.WriteString("\n")
	}
	return b.String()
}

// got is a copy that reached a recipient.
type got struct {
	to, from, body, callID string
	headers                string
}

// fakeRelay answers copies by itself: 200, or what codes says for a recipient.
type fakeRelay struct {
	mu      sync.Mutex
	engine  *Engine
	answers map[*evapi.Message]chan evapi.Answer
	copies  []got
	codes   map[string]evapi.Result // by user part; Code 0: no result ever
	down    bool
	conn    *evapi.Conn // the one that takes copies
}

func (f *fakeRelay) Reply(m *evapi.Message, a evapi.Answer) {
	f.mu.Lock()
	ch := f.answers[m]
	delete(f.answers, m)
	f.mu.Unlock()
	if ch == nil {
		panic("a request was answered twice")
	}
	ch <- a
}

func (f *fakeRelay) Send(_ *evapi.Conn, c evapi.Copy) (*evapi.Conn, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.down {
		return nil, evapi.ErrDown
	}
	f.copies = append(f.copies, decode(c))
	user, _, _ := strings.Cut(strings.TrimPrefix(c.To, "sip:"), "@")
	r, ok := f.codes[strings.ToLower(user)]
	if !ok {
		r.Code = 200
	}
	if r.Code != 0 {
		r.CallID = c.CallID
		f.engine.Result(r)
	}
	return f.conn, nil
}

// decode reads a copy back from its frame.
func decode(c evapi.Copy) got {
	var frame struct {
		Method string
		Params []string
	}
	if err := json.Unmarshal(c.Out.Frame(c.To, c.CallID), &frame); err != nil {
		panic(err)
	}
	g := got{to: c.To, callID: c.CallID}
	if frame.Method == "imc.send" {
		plain := func(i int) string {
			b, err := base64.StdEncoding.DecodeString(frame.Params[i])
			if err != nil {
				panic(err)
			}
			return string(b)
		}
		g.from, g.headers, g.body = plain(4), plain(6), plain(7)
		return g
	}
	g.headers, g.body = frame.Params[4], frame.Params[5]
	_, rest, _ := strings.Cut(g.headers, "From: ")
	g.from, _, _ = strings.Cut(rest, "\r\n")
	return g
}

func (f *fakeRelay) take() []got {
	f.mu.Lock()
	defer f.mu.Unlock()
	c := f.copies
	f.copies = nil
	return c
}

func (f *fakeRelay) set(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

// tester is what house needs of a testing.TB or a rapid.T.
type tester interface {
	Helper()
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
	Error(args ...any)
	Fatal(args ...any)
}

// house is an engine with its fakes.
type house struct {
	t     tester
	e     *Engine
	store *memStore
	relay *fakeRelay
}

func newHouse(t testing.TB, change func(*Config)) *house {
	return openHouse(t, newMemStore(), change)
}

func openHouse(t testing.TB, store *memStore, change func(*Config)) *house {
	t.Helper()
	h := startHouse(t, store, change)
	t.Cleanup(h.close)
	return h
}

// startHouse leaves it to the caller to close the house.
func startHouse(t tester, store *memStore, change func(*Config)) *house {
	t.Helper()
	cfg := DefaultConfig()
	cfg.HashSize = 2
	if change != nil {
		change(&cfg)
	}
	h := &house{t: t, store: store, relay: &fakeRelay{answers: map[*evapi.Message]chan evapi.Answer{},
		codes: maps.Clone(store.codes)}}
	e, err := New(cfg, store, h.relay, prometheus.NewRegistry(), zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	h.e, h.relay.engine = e, e
	if err := e.Start(context.Background()); err != nil {
		t.Fatal(err)
	}
	return h
}

func (h *house) close() {
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	h.e.Stop(ctx)
}

// post sends a MESSAGE and returns where its answer comes.
func (h *house) post(from, room, body string, headers ...string) chan evapi.Answer {
	h.t.Helper()
	return h.send(h.request(from, room, body, headers...))
}

// request makes a MESSAGE with a Call-ID of its own.
func (h *house) request(from, room, body string, headers ...string) *evapi.Message {
	h.t.Helper()
	h.store.mu.Lock()
	h.store.serial++ // a Call-ID is never used again, not even after a restart
	n := h.store.serial
	h.store.mu.Unlock()
	if !strings.Contains(from, "<") {
		from = "<sip:" + from + "@x.org>"
	}
	raw := fmt.Sprintf("MESSAGE sip:%s SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:5;branch=z9hG4bK%d\r\n"+
		"From: %s;tag=1\r\nTo: <sip:%s>\r\nCall-ID: call-%d\r\nCSeq: 1 MESSAGE\r\n%sContent-Length: %d\r\n\r\n%s",
		room, n, from, room, n, strings.Join(headers, ""), len(body), body)
	msg, err := sip.NewParser().ParseSIP([]byte(raw))
	if err != nil {
		h.t.Fatalf("test request: %v\n%s", err, raw)
	}
	return &evapi.Message{Received: time.Now(), RURI: "sip:" + room, Request: msg.(*sip.Request)}
}

func (h *house) send(m *evapi.Message) chan evapi.Answer {
	ch := make(chan evapi.Answer, 1)
	h.relay.set(func() { h.relay.answers[m] = ch })
	h.e.Message(m)
	return ch
}

// say sends a MESSAGE, waits until all is quiet and returns the answer.
func (h *house) say(from, room, body string, headers ...string) evapi.Answer {
	h.t.Helper()
	a := <-h.post(from, room+"@x.org", body, headers...)
	h.quiet()
	return a
}

// quiet waits until nothing is under way. What never gets a result counts as
// quiet when only that is left.
func (h *house) quiet() {
	h.t.Helper()
	calm := func() bool {
		return h.e.requests.Load() == 0 && h.e.memory.Load() == 0 && h.e.credits.inUse() == 0 &&
			h.e.committer.idle() && h.e.loader.idle()
	}
	h.until("quiet", func() bool {
		if !calm() {
			return false
		}
		// What was just posted to a shard is done before this is answered.
		_, err := h.e.Stats(context.Background())
		return err == nil && calm()
	})
}

func (h *house) until(what string, cond func() bool) {
	h.t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for !cond() {
		if time.Now().After(deadline) {
			h.t.Fatalf("never %s: %d requests, %d bytes, %d copies under way", what,
				h.e.requests.Load(), h.e.memory.Load(), h.e.credits.inUse())
		}
		runtime.Gosched()
	}
}

// heard is what was delivered since the last call: "user<room: body", sorted by
// user, in order for each.
func (h *house) heard() []string {
	var lines []string
	for _, c := range h.relay.take() {
		user, _, _ := strings.Cut(strings.TrimPrefix(c.to, "sip:"), "@")
		_, rest, _ := strings.Cut(c.from, "<sip:")
		room, _, _ := strings.Cut(rest, "@")
		lines = append(lines, user+"<"+room+": "+c.body)
	}
	slices.SortStableFunc(lines, func(a, b string) int {
		ua, _, _ := strings.Cut(a, "<")
		ub, _, _ := strings.Cut(b, "<")
		return strings.Compare(ua, ub)
	})
	return lines
}

func (h *house) wantHeard(want ...string) {
	h.t.Helper()
	heard := h.heard()
	ok := len(heard) == len(want)
	for i := range want {
		ok = ok && i < len(heard) && strings.Contains(heard[i], want[i])
	}
	if !ok {
		h.t.Errorf("heard\n  %s\nwant\n  %s", strings.Join(heard, "\n  "), strings.Join(want, "\n  "))
	}
}

func (h *house) want(a evapi.Answer, code, rc int) {
	h.t.Helper()
	if a.Code != code || a.RC != rc {
		h.t.Errorf("answer %d %q rc %d, want %d rc %d", a.Code, a.Reason, a.RC, code, rc)
	}
}

func result(code int) evapi.Result { return evapi.Result{Code: code} }
