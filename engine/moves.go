package engine

import (
	"slices"
	"strings"
	"time"
)

// Notices of joining and leaving. Each of them is a copy for every member, so a thousand
// people who join one by one would make half a million. A large room is told of them
// together, at once if the last such notice is some time ago. What is collected is lost
// if imcd dies, as every notice is; the list of members is not.

// How a room is told of who joins and leaves (Config.JoinNotices).
const (
	JoinsAll     = "all"     // of each by itself
	JoinsCounted = "counted" // of each by itself up to joinsEach members, above that of several together
	JoinsOff     = "off"     // of nobody
)

const (
	// joinsEach is up to how many members a room is told of each by itself.
	joinsEach = 50
	// joinsEvery is how often, at most, a larger one is told.
	joinsEvery = 5 * time.Second
	// joinsNamed bounds the names in a notice, and those of leavers that a room keeps.
	joinsNamed = 3
)

// move is somebody's joining or leaving.
type move struct {
	member *member
	left   bool
	shown  shownName // of a member that left: its display name
}

// moves is what a room has not been told yet of who has joined and left. Those who joined
// are the members with collected news. Owned by the room's shard.
type moves struct {
	last    time.Time // when the room was told last
	left    int       // how many have left
	leavers []leaver  // the first of them, joinsNamed at most
}

// leaver is one of those who left.
type leaver struct{ key, name string }

// due reports whether the room may be told now. v may be nil: it never was.
func (v *moves) due(now time.Time) bool { return v == nil || now.Sub(v.last) >= joinsEvery }

// announce tells the others that m has joined or left, as the notice says, in the way that
// JoinNotices says. It reports whether they hear of it at once. v, which may be nil, has
// the notice's variables.
func (c *call) announce(m *member, notice string, v vars) bool {
	_, moving := c.shard.moving[c.room]
	switch cfg := &c.shard.engine.cfg; {
	case cfg.JoinNotices == JoinsOff:
		return false
	case cfg.JoinNotices == JoinsCounted && (c.room.full() > joinsEach || moving):
		mv := &move{member: m, left: notice == "left"}
		if mv.left && c.shard.engine.usesNames {
			mv.shown = newShownName(c.req.display, m.name())
		}
		c.tx.says = append(c.tx.says, say{move: mv})
		return c.room.moves.due(c.shard.now)
	}
	c.tellOthers(m, notice, v)
	return true
}

// collect takes a joining or leaving that the members of r are to be told of.
func (s *shard) collect(r *room, mv *move) {
	if s.rooms[r.key] != r && s.stale[r.key] != r {
		return // it is no more
	}
	if r.moves == nil {
		r.moves = &moves{}
	}
	key := mv.member.key
	at := slices.IndexFunc(r.moves.leavers, func(l leaver) bool { return l.key == key })
	switch {
	case mv.left && mv.member.news == collected:
		return // nobody has heard that it came
	case mv.left:
		r.moves.left++
		if len(r.moves.leavers) < joinsNamed {
			name := s.engine.callBy(r, mv.member.name(), mv.shown, s.engine.cfg.ShowNames)
			r.moves.leavers = append(r.moves.leavers, leaver{key, name})
		}
	case at >= 0: // nobody has heard that it went
		r.moves.left--
		r.moves.leavers = slices.Delete(r.moves.leavers, at, at+1)
	default:
		mv.member.news = collected
	}
	if _, moving := s.moving[r]; !moving {
		s.moving[r] = struct{}{}
		s.engine.charge(overhead)
	}
	s.announceMoves(r)
}

// announceDue tells the rooms whose time has come, and all of them when the engine ends.
func (s *shard) announceDue() {
	for r := range s.moving {
		s.announceMoves(r)
	}
}

// announceMoves tells the members of r who has joined and left, if they have not been
// told for joinsEvery.
func (s *shard) announceMoves(r *room) {
	if !r.moves.due(s.now) && !s.engine.stopping.Load() || s.stale[r.key] == r {
		return
	}
	s.stopMoving(r)
	var names []string
	var last *member
	joined := 0
	for _, m := range r.order {
		if m.news != collected {
			continue
		}
		m.news = announced
		last = m
		if joined++; joined <= joinsNamed {
			names = append(names, s.engine.calledNow(r, m.name()))
		}
	}
	lines := s.engine.moved(nil, "joined", names, joined)
	names = nil
	for _, l := range r.moves.leavers {
		names = append(names, l.name)
	}
	lines = s.engine.moved(lines, "left", names, r.moves.left)
	r.moves.left, r.moves.leavers = 0, nil
	if len(lines) == 0 {
		return // whoever came has gone again
	}
	r.moves.last = s.now
	text := strings.Join(lines, "\n")
	out, err := s.engine.composeText(r.name, text, "")
	if err != nil {
		s.engine.log.Warn().Err(err).Str("room", r.key).Msg("notice cannot be sent")
		return
	}
	e := entry{out: out, size: s.engine.sizeOf(out), at: s.now}
	if joined == 1 && len(lines) == 1 {
		e.skip = last.key
	}
	s.engine.charge(e.size)
	s.appendLog(r, e, nil)
}

// stopMoving ends what collect began.
func (s *shard) stopMoving(r *room) {
	if _, moving := s.moving[r]; moving {
		delete(s.moving, r)
		s.engine.charge(-overhead)
	}
}

// moved adds the line that says of n people, some of whom have these names, that they
// have joined or left.
func (e *Engine) moved(lines []string, notice string, names []string, n int) []string {
	if n == 0 {
		return lines
	}
	who := e.several(names, n)
	if n > 1 {
		return append(lines, e.notices.format("many_"+notice, vars{"names": who}))
	}
	return append(lines, e.notices.format(notice, vars{"user": who}))
}

// several names n people, the names of some of whom are known.
func (e *Engine) several(names []string, n int) string {
	if n > joinsNamed {
		names = names[:min(len(names), joinsNamed-1)]
	}
	var last string
	switch k := len(names); {
	case k == 0:
		return e.count("member", n)
	case k < n:
		last = e.count("other", n-k)
	case k == 1:
		return names[0]
	default:
		names, last = names[:k-1], names[k-1]
	}
	return e.notices.format("names_and", vars{"names": strings.Join(names, ", "), "user": last})
}
