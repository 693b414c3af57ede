package engine

import (
	"context"
	"time"
)

const (
	listQueue   = 64              // requests for the list of rooms that may wait
	listTimeout = 2 * time.Second // for the shards to say what rooms they have
)

// lister answers the command that concerns all shards, the list of rooms. It has
// a goroutine of its own because no shard may wait for another.
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
	key := req.from.Key()
	rooms, err := gather(ctx, l.engine, func(s *shard) []Name { return s.visible(key) })
	sortNames(rooms)
	l.engine.shardOf(req.target).inbox.post(func(s *shard) {
		if err != nil {
			s.refuse(req, nil, refuseOverloaded())
			return
		}
		s.answerRooms(req, rooms)
	})
}

// visible lists the rooms that a user may know of: public ones, and private ones
// that the user is in.
func (s *shard) visible(userKey string) []Name {
	var names []Name
	for _, r := range s.rooms {
		if m := r.get(userKey); !r.private || m != nil && !m.invited() {
			names = append(names, r.name)
		}
	}
	return names
}

func (s *shard) answerRooms(req *request, rooms []Name) {
	c := &call{shard: s, req: req, tx: &tx{shard: s, req: req}}
	var lines []string
	for _, n := range rooms {
		lines = append(lines, "["+c.show(n)+"]")
	}
	if len(lines) == 0 {
		c.answer("rooms_none", nil)
	} else {
		c.list("rooms_header", lines)
	}
	c.tx.answer = s.engine.accepted()
	s.submit(c.tx)
}
