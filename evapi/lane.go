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
	// LaneBatch takes one message to many recipients at once, in workers of Kamailio; each
	// copy goes through Kamailio's own routing.
	LaneBatch
	// LaneDirect is LaneBatch, but copies go straight to the contacts of registered
	// recipients, past Kamailio's routing.
	LaneDirect
	// LaneSIP sends copies to Kamailio as SIP requests, over UDP on the same host: imcd keeps
	// the transactions, and Kamailio forwards copies to contacts that it has without any of
	// its own. The others, and without IMC_DIRECT all, go through Kamailio's routing.
	LaneSIP
)

// laneNames are the words of the configuration, and the features of an include.
var laneNames = [...]string{"auto", "rpc", "batch", "direct", "sip"}

func (l Lane) String() string { return laneNames[l] }

// ParseLane reads auto, rpc, batch, direct or sip.
func ParseLane(s string) (Lane, error) {
	if i := slices.Index(laneNames[:], s); i >= 0 {
		return Lane(i), nil
	}
	return LaneAuto, fmt.Errorf("must be one of %s, is %q", strings.Join(laneNames[:], ", "), s)
}

// choose returns the lane for a Kamailio with features: the wanted one, or the best below it
// that there is. By itself it does not choose the direct lane if the operator has set a next
// hop: everything is to go there.
func (l Lane) choose(features []string, nextHopSet bool) Lane {
	want := l
	if want == LaneAuto {
		want = LaneSIP
	}
	for ; want > LaneRPC; want-- {
		if want == LaneDirect && nextHopSet && l != LaneDirect {
			continue
		}
		if slices.Contains(features, want.String()) {
			return want
		}
	}
	return LaneRPC
}
