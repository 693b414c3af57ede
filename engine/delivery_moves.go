package engine

import (
	"slices"
	"strings"
)

// Notices of joining and leaving. Each is a copy for every member: a thousand people who join one by one
// would cause half a million copies. A large room gets a collected notice, at once if the last one is
// some time ago. Collected notices are lost in a crash, as all notices are; the list of members is not.

// collect adds a joining or leaving to the next notice of r.
func (d *delivery) collect(r *room, mv *move) {
	if d.rooms[r.key] != r && d.stale[r.key] != r {
		return // does not exist any more
	}
	if r.moves == nil {
		r.moves = &moves{}
	}
	key := mv.member.key
	at := slices.IndexFunc(r.moves.leavers, func(l leaver) bool { return l.key == key })
	switch {
	case mv.left && mv.member.news == collected:
		return // its joining was not announced
	case mv.left:
		r.moves.left++
		if len(r.moves.leavers) < joinsNamed {
			name := d.engine.callBy(r, mv.member.name(), mv.shown, d.engine.cfg.ShowNames)
			r.moves.leavers = append(r.moves.leavers, leaver{key, name})
		}
	case at >= 0: // nobody has heard that it went
		r.moves.left--
		r.moves.leavers = slices.Delete(r.moves.leavers, at, at+1)
	default:
		mv.member.news = collected
	}
	if _, moving := d.moving[r]; !moving {
		d.moving[r] = struct{}{}
		d.engine.charge(overhead)
	}
	d.announceMoves(r)
}

// announceDue sends the notices that are due; all of them when the engine ends.
func (d *delivery) announceDue() {
	for r := range d.moving {
		d.announceMoves(r)
	}
}

// announceMoves sends the collected notice of r, unless the last one is younger than join_window.
func (d *delivery) announceMoves(r *room) {
	if !r.moves.due(d.now, d.engine.cfg.JoinWindow) && !d.engine.stopping.Load() || d.stale[r.key] == r {
		return
	}
	d.stopMoving(r)
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
			names = append(names, d.engine.calledNow(r, m.name()))
		}
	}
	lines := d.engine.moved(nil, "joined", names, joined)
	names = nil
	for _, l := range r.moves.leavers {
		names = append(names, l.name)
	}
	lines = d.engine.moved(lines, "left", names, r.moves.left)
	r.moves.left, r.moves.leavers = 0, nil
	if len(lines) == 0 {
		return // members joined and left again
	}
	r.moves.last = d.now
	text := strings.Join(lines, "\n")
	out, err := d.engine.composeText(r.name, r.title(), text, "")
	if err != nil {
		d.engine.log.Warn().Err(err).Str("room", r.key).Msg("notice cannot be sent")
		return
	}
	e := entry{out: out, size: d.engine.sizeOf(out), at: d.now}
	if joined == 1 && len(lines) == 1 {
		e.skip = last.key
	}
	d.engine.charge(e.size)
	d.appendLog(r, e, nil)
}

// stopMoving ends what collect began.
func (d *delivery) stopMoving(r *room) {
	if _, moving := d.moving[r]; moving {
		delete(d.moving, r)
		d.engine.charge(-overhead)
	}
}

// moved adds the line for n people who have joined or left; names has some of their names.
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

// several names n people; names has some of their names.
func (e *Engine) several(names []string, n int) string {
	if n > joinsNamed {
		names = names[:min(len(names), joinsNamed-1)]
	}
	var last string
	switch k := len(names); {
	case k == 0:
		return e.notices.count("member", n)
	case k < n:
		last = e.notices.count("other", n-k)
	case k == 1:
		return names[0]
	default:
		names, last = names[:k-1], names[k-1]
	}
	return e.notices.format("names_and", vars{"names": strings.Join(names, ", "), "user": last})
}
