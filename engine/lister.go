package engine

import (
	"context"
	"slices"
	"strings"
	"time"

	"imcd/engine/store"
)

const (
	listQueue   = 64              // requests for the list of rooms that may wait
	listTimeout = 2 * time.Second // for the shards, and other engines, to say what rooms they have
	listWorkers = 8               // as other engines take 0.3 s
)

// lister answers the command that concerns all shards, the list of rooms, and asks other engines about users. It has
// its own goroutines, as no shard may wait for another.
type lister struct {
	engine *Engine
	queue  chan *request
}

func newLister(e *Engine) *lister {
	return &lister{engine: e, queue: make(chan *request, listQueue)}
}

// put reports false if too many wait already.
func (l *lister) put(req *request) bool {
	select {
	case l.queue <- req:
		return true
	default:
		return false
	}
}

func (l *lister) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case req := <-l.queue:
			if !req.cmd.is("rooms") {
				l.count(ctx, req)
				continue
			}
			l.answer(ctx, req)
		}
	}
}

// count lets the shard of req have it once others have been asked about its sender.
func (l *lister) count(ctx context.Context, req *request) {
	ctx, cancel := context.WithTimeout(ctx, listTimeout)
	defer cancel()
	l.engine.count(ctx, req)
	l.engine.hand(req)
}

func (l *lister) answer(ctx context.Context, req *request) {
	ctx, cancel := context.WithTimeout(ctx, listTimeout)
	defer cancel()
	key := req.fromKey()
	rooms, err := l.engine.visible(ctx, key)
	if others := l.engine.others; err == nil && others != nil && !l.engine.ownership.allHere() {
		var more []ShownRoom
		if more, err = others.Visible(ctx, "sip:"+key); err == nil {
			rooms = append(rooms, shownOf(more)...)
		}
	}
	slices.SortFunc(rooms, func(a, b shownRoom) int { return strings.Compare(a.name.Key(), b.name.Key()) })
	rooms = slices.CompactFunc(rooms, func(a, b shownRoom) bool { return a.name.Key() == b.name.Key() }) // one moves
	s := l.engine.shardOf(req.target)
	s.inbox.post(func() {
		if err != nil {
			s.refuse(req, nil, refuseOverloaded())
			return
		}
		s.answerRooms(req, rooms)
	})
}

// Others are the other engines of a fleet. They have the other rooms.
type Others interface {
	// Visible joins what Engine.Visible of each of them returns: all, or an error.
	Visible(ctx context.Context, user string) ([]ShownRoom, error)
	// OwnedRooms adds up what Engine.OwnedRooms of each of them returns.
	OwnedRooms(ctx context.Context, user string) (int, error)
}

// Beside says who has the other rooms. It is called before Start, or never if there is no fleet.
func (e *Engine) Beside(others Others) { e.others = others }

// ShownRoom is a room as another engine has it in the list of rooms.
type ShownRoom struct {
	Room    string `json:"room"` // SIP URI
	Title   string `json:"title,omitempty"`
	Private bool   `json:"private,omitempty"`
	Inside  bool   `json:"inside,omitempty"` // the user who asked is in it
}

// Visible lists, in no order, those rooms of this engine that a user, a SIP URI, may know: public ones, and private
// ones of the user. ErrBadName.
func (e *Engine) Visible(ctx context.Context, user string) ([]ShownRoom, error) {
	name, err := parseName("user", user)
	if err != nil {
		return nil, err
	}
	rooms, err := e.visible(ctx, name.Key())
	shown := make([]ShownRoom, len(rooms))
	for i, r := range rooms {
		shown[i] = ShownRoom{Room: r.name.URI(), Title: r.title, Private: r.private, Inside: r.inside}
	}
	return shown, err
}

func (e *Engine) visible(ctx context.Context, userKey string) ([]shownRoom, error) {
	return gather(ctx, e, func(s *shard) []shownRoom { return s.visible(userKey) })
}

// shownOf is the reverse of Visible.
func shownOf(all []ShownRoom) (rooms []shownRoom) {
	for _, r := range all {
		if name, err := ParseName(r.Room, ""); err == nil {
			rooms = append(rooms, shownRoom{name, r.Title, r.Private, r.Inside})
		}
	}
	return rooms
}

// shownRoom is a room in the list of rooms.
type shownRoom struct {
	name    store.Name
	title   string // may be empty
	private bool
	inside  bool // the user who asked is in it
}

// visible lists the rooms that a user may know: public ones, and private ones of the user.
func (s *shard) visible(userKey string) []shownRoom {
	var rooms []shownRoom
	for _, r := range s.rooms {
		m := r.get(userKey)
		if inside := m != nil && !m.invited(); inside || !r.private {
			rooms = append(rooms, shownRoom{r.name, r.title(), r.private, inside})
		}
	}
	return rooms
}

func (s *shard) answerRooms(req *request, rooms []shownRoom) {
	c := &call{shard: s, req: req}
	var items []string
	for _, r := range rooms {
		what := ""
		switch {
		case r.private:
			what = "private"
		case r.inside:
			what = "inside"
		}
		name := c.show(r.name)
		if r.title != "" {
			name += " \"" + r.title + "\""
		}
		items = append(items, s.engine.notices.marked(name, what))
	}
	if len(items) == 0 {
		c.answer("rooms_none", nil)
	} else {
		c.list(req.from, "rooms_header", inLine, items, vars{"rooms": s.engine.notices.count("room", len(items))})
	}
	c.reply = s.engine.accepted()
	s.submit(c)
}
