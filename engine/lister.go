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
	listTimeout = 2 * time.Second // for the shards to say what rooms they have
)

// lister answers the command that concerns all shards, the list of rooms. It has its own goroutine, as no
// shard may wait for another.
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
			l.answer(ctx, req)
		}
	}
}

func (l *lister) answer(ctx context.Context, req *request) {
	ctx, cancel := context.WithTimeout(ctx, listTimeout)
	defer cancel()
	key := req.fromKey()
	rooms, err := gather(ctx, l.engine, func(s *shard) []shownRoom { return s.visible(key) })
	slices.SortFunc(rooms, func(a, b shownRoom) int { return strings.Compare(a.name.Key(), b.name.Key()) })
	s := l.engine.shardOf(req.target)
	s.inbox.post(func() {
		if err != nil {
			s.refuse(req, nil, refuseOverloaded())
			return
		}
		s.answerRooms(req, rooms)
	})
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
