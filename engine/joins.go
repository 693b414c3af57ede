package engine

import "time"

const (
	// joinsEach is the number of members up to which each joining and leaving has a notice of its own.
	joinsEach = 50
	// joinsEvery is how often, at most, a larger room gets a notice.
	joinsEvery = 5 * time.Second
	// joinsNamed bounds the names in a notice, and those of leavers that a room keeps.
	joinsNamed = 3
)

// move is the joining or leaving of a member.
type move struct {
	member *member
	left   bool
	shown  shownName // the display name of a member that left
}

// moves collects joinings and leavings for the next notice of a room. Those who joined are the members
// with collected news.
type moves struct {
	last    time.Time // when the last notice was sent
	left    int       // how many have left
	leavers []leaver  // the first of them, at most joinsNamed
}

// leaver is a member that left.
type leaver struct{ key, name string }

// due reports whether the room may get a notice now. v may be nil: there was none.
func (v *moves) due(now time.Time) bool { return v == nil || now.Sub(v.last) >= joinsEvery }
