package evapi

import (
	"fmt"
	"slices"
	"strings"
)

// Lane is the way on which copies leave Kamailio.
type Lane uint8

const (
	// LaneAuto is the best that Kamailio's include offers.
	LaneAuto Lane = iota
	// LaneRPC makes one tm.t_uac_start of each copy. It needs no workers.
	LaneRPC
	// LaneBatch takes one message to many recipients at once, in workers of Kamailio. With
	// IMC_DIRECT, and without a next hop of imcd's, copies go straight to the contacts of
	// registered recipients; else each goes through Kamailio's own routing.
	LaneBatch
	// LaneSIP sends copies to Kamailio as SIP requests, over UDP on the same host: imcd keeps
	// the transactions, and Kamailio forwards copies to contacts that it has without any of
	// its own. The others, and without IMC_DIRECT all, go through Kamailio's routing.
	LaneSIP
)

// laneNames are the words of the configuration, and the features of an include.
var laneNames = [...]string{"auto", "rpc", "batch", "sip"}

// featureDirect is IMC_DIRECT. As a word of the configuration it means batch, of which it
// used to be a lane of its own.
const featureDirect = "direct"

func (l Lane) String() string { return laneNames[l] }

// ParseLane reads auto, rpc, batch or sip; direct is taken as batch.
func ParseLane(s string) (Lane, error) {
	if s == featureDirect {
		return LaneBatch, nil
	}
	if i := slices.Index(laneNames[:], s); i >= 0 {
		return Lane(i), nil
	}
	return LaneAuto, fmt.Errorf("must be one of %s, is %q", strings.Join(laneNames[:], ", "), s)
}

// choose returns the lane for a Kamailio with features: the wanted one, or the best below it
// that there is.
func (l Lane) choose(features []string) Lane {
	want := l
	if want == LaneAuto {
		want = LaneSIP
	}
	for want > LaneRPC && !slices.Contains(features, want.String()) {
		want--
	}
	return want
}
