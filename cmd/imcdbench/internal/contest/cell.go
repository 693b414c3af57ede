package contest

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"imcd/cmd/imcdbench/internal/load"
)

// Cell is one size of deliveries, with one kind of phones.
type Cell struct {
	Members int `json:"members"` // of each room
	Rooms   int `json:"rooms"`   // at once
	Body    int `json:"body"`    // bytes of a message
	RTT     int `json:"rtt_ms"`  // how much later the phones answer, in ms
	Silent  int `json:"silent"`  // every n-th member never answers; 0: all answer
}

func (c Cell) String() string {
	var text strings.Builder
	fmt.Fprintf(&text, "%d members, %d rooms, %d bytes", c.Members, c.Rooms, c.Body)
	if c.RTT > 0 {
		fmt.Fprintf(&text, ", %d ms away", c.RTT)
	}
	if c.Silent > 0 {
		fmt.Fprintf(&text, ", one of %d silent", c.Silent)
	}
	return text.String()
}

// compareCells is the order in which cells are printed.
func compareCells(a, b Cell) int {
	return cmp.Or(cmp.Compare(a.Body, b.Body), cmp.Compare(a.Members, b.Members), cmp.Compare(a.Rooms, b.Rooms),
		cmp.Compare(a.Silent, b.Silent), cmp.Compare(a.RTT, b.RTT))
}

// ahead is how many deliveries may be under way, all rooms together; a room has
// at least two messages, and at most 64.
const ahead = 4000

func (c Cell) window() int { return min(64, max(2, ahead/(c.Members*c.Rooms))) }

// real reports whether the phones do not all answer at once.
func (c Cell) real() bool { return c.RTT > 0 || c.Silent > 0 }

func (c Cell) rtt() time.Duration { return time.Duration(c.RTT) * time.Millisecond }

// Phones are those of all members of the lab, as a cell wants them.
func (l *Lab) Phones(c Cell) load.Phones {
	return load.Phones{RTT: c.rtt(), Silent: []load.Silent{{First: l.first, Count: l.next - l.first, Every: c.Silent}}}
}
