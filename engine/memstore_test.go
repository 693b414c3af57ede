package engine

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"imcd/engine/store"
	"imcd/evapi"
)

// memStore is a Store in memory whose commits can be made to fail: what a real
// database cannot be asked to do at a given moment.
type memStore struct {
	mu      sync.Mutex
	rooms   map[string]store.RoomState
	said    map[int64][]store.MessageRow
	cursors map[int64]map[string]uint64
	answers map[[16]byte]store.SeenRow
	notes   map[int64]store.NoteRow
	places  map[int64][]byte
	acts    []store.ActRow
	events  []store.EventRow
	sets    map[store.SettingRow]string  // values; the key has none
	joins   map[int64]map[string]uint64  // by room and user key: see store.Store.Backlog
	devices map[string][]store.DeviceRow // by user key; the one that was heard of last comes first
	strict  bool                         // devices of users who are in no room are not kept, as by the database
	serial  int
	codes   map[string]evapi.Result // for fakeRelay.codes of houses on this store
	commits int
	fail    func(changes []store.Change) (err error, applied bool) // nil: never
	fleet   store.Fleet                                            // that houses on it are started with
	before  func(*Engine)                                          // gets each engine before it is started; may be nil
	away    bool                                                   // Ping and loads fail
	prunes  []time.Time                                            // at which Prune was done
	gate    chan struct{}                                          // if not nil, each commit takes one token first
	reads   chan struct{}                                          // the same for each query of messages
	asked   []int                                                  // the limits of these queries
	pace    time.Duration                                          // how long a query of messages takes
	loads   time.Duration                                          // how long a load goes on after its rooms
	noting  time.Duration                                          // how long PutDevices and Devices take
	errs    map[string]error                                       // what methods fail with, by their names
	// of Messages (begun: of those that began), Prune and Ping
	calls map[string]int
}

func newMemStore() *memStore {
	return &memStore{rooms: map[string]store.RoomState{}, said: map[int64][]store.MessageRow{},
		codes: map[string]evapi.Result{}, cursors: map[int64]map[string]uint64{}, notes: map[int64]store.NoteRow{},
		answers: map[[16]byte]store.SeenRow{}, places: map[int64][]byte{},
		sets: map[store.SettingRow]string{}, devices: map[string][]store.DeviceRow{}, joins: map[int64]map[string]uint64{},
		calls: map[string]int{}}
}

// committed is how many commits there were.
func (s *memStore) committed() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.commits
}

func (s *memStore) Load(_ context.Context, part store.Part, fn func(store.RoomState) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	in := part.Matcher()
	for _, key := range slices.Sorted(maps.Keys(s.rooms)) {
		if !in(store.Hash(key)) {
			continue
		}
		if err := fn(s.state(key)); err != nil {
			return err
		}
	}
	return nil
}

func (s *memStore) LoadRooms(_ context.Context, rooms []store.Name) ([]store.RoomState, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var found []store.RoomState
	for _, n := range rooms {
		if _, ok := s.rooms[n.Key()]; ok {
			found = append(found, s.state(n.Key()))
		}
	}
	return found, nil
}

func (s *memStore) Commit(ctx context.Context, fence store.Fence, changes []store.Change) error {
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

// CommitAgain knows what was committed by its answers, as the contract says.
func (s *memStore) CommitAgain(ctx context.Context, fence store.Fence, changes []store.Change) error {
	s.mu.Lock()
	away := s.away
	stored := slices.ContainsFunc(changes, func(c store.Change) bool {
		return c.Op == store.PutSeen && s.answers[c.Seen.Key].At.Equal(c.Seen.At)
	})
	s.mu.Unlock()
	switch {
	case away:
		return store.ErrUncertain
	case stored:
		return nil
	}
	err := s.Commit(ctx, fence, changes)
	if err != nil && !errors.Is(err, store.ErrInvalid) {
		err = fmt.Errorf("%w: %w", store.ErrUncertain, err)
	}
	return err
}

func (s *memStore) apply(changes []store.Change) {
	for _, c := range changes {
		if c.Op >= store.PutMessage {
			s.applyDelivery(c)
			continue
		}
		key := c.Room.Name.Key()
		if c.Op == store.PutMember || c.Op == store.DeleteMember {
			key = c.Member.Room.Key()
		}
		r := s.rooms[key]
		r.Members = slices.Clone(r.Members)
		cursor := c.Member.Cursor
		c.Member.Cursor = nil
		at := slices.IndexFunc(r.Members, func(m store.MemberRow) bool { return m.User.Key() == c.Member.User.Key() })
		switch {
		case c.Op == store.PutRoom:
			c.Room.Done = r.Room.Done
			r.Room = c.Room
		case c.Op == store.DeleteRoom:
			delete(s.rooms, key)
			delete(s.said, r.Room.ID)
			delete(s.cursors, r.Room.ID)
			delete(s.places, r.Room.ID)
			maps.DeleteFunc(s.sets, func(k store.SettingRow, _ string) bool { return k.Room == r.Room.ID })
			continue
		case c.Op == store.PutMember:
			s.join(r, c.Member, at)
		}
		switch {
		case c.Op == store.PutRoom:
		case c.Op == store.PutMember && at < 0:
			r.Members = append(r.Members, c.Member)
		case c.Op == store.PutMember:
			r.Members[at] = c.Member
		case at >= 0:
			r.Members = slices.Delete(r.Members, at, at+1)
		}
		if r.Room.Name.IsZero() {
			panic(fmt.Sprintf("change of a room that is not stored: %+v", c))
		}
		switch {
		case c.Op == store.PutMember && cursor != nil:
			s.putCursor(store.CursorRow{Room: r.Room.ID, User: c.Member.User, Seq: *cursor})
		case c.Op == store.DeleteMember:
			s.putCursor(store.CursorRow{Room: r.Room.ID, User: c.Member.User, Remove: true})
		}
		s.rooms[key] = r
	}
}

// state is a room with what is derived from other tables.
func (s *memStore) state(key string) store.RoomState {
	r := s.rooms[key]
	r.Members = slices.Clone(r.Members)
	r.Places = slices.Clone(s.places[r.Room.ID])
	for k, value := range s.sets {
		if k.Room == r.Room.ID {
			k.Value = value
			r.Settings = append(r.Settings, k)
		}
	}
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

func (s *memStore) putCursor(c store.CursorRow) {
	if s.cursors[c.Room] == nil {
		s.cursors[c.Room] = map[string]uint64{}
	}
	if c.Remove {
		delete(s.cursors[c.Room], c.User.Key())
	} else {
		s.cursors[c.Room][c.User.Key()] = c.Seq
	}
}

func (s *memStore) applyDelivery(c store.Change) {
	switch c.Op {
	case store.PutMessage:
		said := s.said[c.Message.Room]
		if n := len(said); n > 0 && said[n-1].Seq+1 != c.Message.Seq || n == 0 && c.Message.Seq != 1 {
			panic(fmt.Sprintf("message %d follows %d others", c.Message.Seq, n))
		}
		s.said[c.Message.Room] = append(said, *c.Message)
	case store.DeleteMessage:
		said := s.said[c.Message.Room]
		if i := slices.IndexFunc(said, func(m store.MessageRow) bool { return m.Seq == c.Message.Seq }); i >= 0 {
			said[i] = store.MessageRow{Room: said[i].Room, Seq: said[i].Seq, Sender: said[i].Sender, At: said[i].At,
				Body: []byte{}, Expires: store.DeletedTime()}
		}
	case store.PutCursor:
		s.putCursor(*c.Cursor)
	case store.PutProgress:
		for key, r := range s.rooms {
			if r.Room.ID == c.Progress.Room {
				r.Room.Done = c.Progress.Done
				s.rooms[key] = r
			}
		}
	case store.PutPlaces:
		s.places[c.Places.Room] = c.Places.Places
	case store.PutAct:
		s.acts = append(s.acts, *c.Act)
	case store.PutEvent:
		s.events = append(s.events, *c.Event)
	case store.PutSetting:
		k := *c.Setting
		if k.Value = ""; c.Setting.Value == "" {
			delete(s.sets, k)
		} else {
			s.sets[k] = c.Setting.Value
		}
	case store.PutNote:
		s.notes[c.Note.ID] = *c.Note
	case store.DeleteNote:
		delete(s.notes, c.Note.ID)
	case store.PutSeen:
		s.answers[c.Seen.Key] = *c.Seen
	}
}

// called counts a call and returns what it is to fail with. It needs s.mu.
func (s *memStore) called(method string) error {
	s.calls[method]++
	if s.away {
		return store.ErrUnavailable
	}
	return s.errs[method]
}

func (s *memStore) Messages(ctx context.Context, room int64, after uint64, limit int) ([]store.MessageRow, error) {
	rows, err := s.query(ctx, room, limit, func(m *store.MessageRow) bool { return m.Seq > after })
	return rows[:min(len(rows), limit)], err
}

func (s *memStore) LastMessages(ctx context.Context, room int64, upto uint64, limit int) ([]store.MessageRow, error) {
	rows, err := s.query(ctx, room, limit, func(m *store.MessageRow) bool { return m.Seq <= upto && !m.Deleted() })
	return rows[max(0, len(rows)-limit):], err
}

func (s *memStore) MessagesNamed(ctx context.Context, room int64, after uint64, id string,
	limit int) ([]store.MessageRow, error) {
	rows, err := s.query(ctx, room, limit, func(m *store.MessageRow) bool { return m.Seq > after && m.MessageID == id })
	slices.Reverse(rows)
	return rows[:min(len(rows), limit)], err
}

// query returns the messages of a room that fit, and notes that so many at most were asked for.
func (s *memStore) query(ctx context.Context, room int64, limit int,
	fits func(*store.MessageRow) bool) ([]store.MessageRow, error) {
	s.mu.Lock()
	reads, pace := s.reads, s.pace
	s.calls["begun"]++
	s.mu.Unlock()
	if reads != nil {
		<-reads
	}
	if pace > 0 {
		select {
		case <-time.After(pace):
		case <-ctx.Done():
			return nil, fmt.Errorf("%w: %w", store.ErrUnavailable, ctx.Err())
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked = append(s.asked, limit)
	if err := s.called("Messages"); err != nil {
		return nil, err
	}
	var rows []store.MessageRow
	for _, m := range s.said[room] {
		if m.Body != nil && fits(&m) {
			rows = append(rows, m)
		}
	}
	return rows, nil
}

func (s *memStore) Seen(_ context.Context, part store.Part, since time.Time) ([]store.SeenRow, error) {
	s.mu.Lock()
	loads := s.loads
	s.mu.Unlock()
	<-time.After(loads)
	s.mu.Lock()
	defer s.mu.Unlock()
	var rows []store.SeenRow
	in := part.Matcher()
	for _, r := range s.answers {
		if r.At.After(since) && in(r.Shard) {
			rows = append(rows, r)
		}
	}
	return rows, nil
}

func (s *memStore) Notes(_ context.Context, part store.Part, limit int) ([]store.NoteRow, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	rows := slices.SortedFunc(maps.Values(s.notes), func(a, b store.NoteRow) int { return a.At.Compare(b.At) })
	rows = rows[max(0, len(rows)-limit):]
	in := part.Matcher()
	return slices.DeleteFunc(rows, func(r store.NoteRow) bool { return !in(store.Hash(r.Room.Key())) }), nil
}

func (s *memStore) Acts(_ context.Context, room store.Name, limit int) ([]store.ActRow, error) {
	return s.lastActs(limit, func(a store.ActRow) bool { return a.Room.Key() == room.Key() })
}

func (s *memStore) ActsOn(_ context.Context, user store.Name, limit int) ([]store.ActRow, error) {
	return s.lastActs(limit, func(a store.ActRow) bool {
		return strings.EqualFold(a.Who, user.URI()) || strings.EqualFold(a.Who, "*@"+user.Host)
	})
}

func (s *memStore) lastActs(limit int, in func(store.ActRow) bool) ([]store.ActRow, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.called("Acts"); err != nil {
		return nil, err
	}
	list := slices.DeleteFunc(slices.Clone(s.acts), func(a store.ActRow) bool { return !in(a) })
	return list[max(0, len(list)-limit):], nil
}

// Prune takes the bodies of messages that are over the limits, oldest first.
func (s *memStore) Prune(_ context.Context, l store.Limits, now time.Time) (n int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.called("Prune"); err != nil {
		return 0, err
	}
	s.prunes = append(s.prunes, now)
	for _, said := range s.said {
		var left, bytes int
		for _, m := range said {
			if bytes += len(m.Body); m.Body != nil {
				left++
			}
		}
		for i := range said {
			m := &said[i]
			over := l.Messages > 0 && left > l.Messages || l.Bytes > 0 && int64(bytes) > l.Bytes ||
				l.Age > 0 && m.At.Before(now.Add(-l.Age))
			if m.Body == nil || !over {
				continue
			}
			left, bytes, n = left-1, bytes-len(m.Body), n+1
			m.Body = nil
		}
	}
	return n, nil
}

func (s *memStore) Ping(context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.called("Ping")
}

func (s *memStore) Close() error { return nil }

// set makes commits fail from now on; nil: no more.
func (s *memStore) set(fail func([]store.Change) (err error, applied bool)) {
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
			if m.Flag&store.MemberInvited == 0 && cursor < r.Room.Seq {
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
	return s.duplicate()
}

// crash is copy, after which nothing is written here any more: what is committed
// is in the copy, as somebody may have heard of it.
func (s *memStore) crash() *memStore {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fail = func([]store.Change) (error, bool) { return store.ErrUnavailable, false }
	return s.duplicate()
}

// duplicate is copy for who has s.mu.
func (s *memStore) duplicate() *memStore {
	c := newMemStore()
	c.rooms, c.answers, c.serial = maps.Clone(s.rooms), maps.Clone(s.answers), s.serial
	c.places = maps.Clone(s.places)
	c.sets, c.acts = maps.Clone(s.sets), slices.Clone(s.acts)
	c.notes, c.devices, c.joins = maps.Clone(s.notes), maps.Clone(s.devices), maps.Clone(s.joins)
	c.codes, c.prunes = maps.Clone(s.codes), slices.Clone(s.prunes)
	for room, said := range s.said {
		c.said[room] = slices.Clone(said)
	}
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
