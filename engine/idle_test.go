package engine

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"imcd/engine/store"
)

// TestIdle: a room without messages ends after its owners were warned, and not if somebody writes.
func TestIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newTrio(t, nil)
		h.want(<-h.post("alice", "r@x.org", "#set idle 23h"), 400, -160)
		h.want(<-h.post("bob", "r@x.org", "#set idle 10d"), 403, -162)
		h.want(<-h.post("alice", "r@x.org", "#set idle 10d"), 200, 1)
		h.pass(2 * idleLook)
		h.heard()
		kept := h.store
		var since store.SettingRow
		for row := range kept.copy().sets {
			if row.Name == settingIdleSince {
				since = row
			}
		}
		if since.Room == 0 {
			t.Fatalf("stored are %v", kept.copy().sets)
		}
		day := 24 * time.Hour
		for _, c := range []struct {
			what         string
			said, warned time.Duration // so long ago; 0: not
			heard        []string
			ends         bool
		}{
			{"not yet", 9 * day, 0, nil, false}, // messages of half a day are not noted
			{"warned", 9*day + day/2 + time.Hour, 0,
				[]string{"alice<r: *** Nothing is said in room r any more. It ends "}, false},
			{"was warned", 12 * day, day - time.Hour, nil, false},
			{"too short", 20 * day, 0, []string{"alice<r: *** Nothing is said"}, false}, // imcd was away
			{"ends", 10*day + day/2, day, all("*** Room r has ended: nothing was said there for a long time."), true},
		} {
			h.close()
			kept.sets[since] = agoMillis(c.said, c.warned)
			h = openHouse(t, kept, nil)
			h.pass(2 * idleLook)
			h.wantHeard(c.heard...)
			if _, there := kept.copy().rooms["r@x.org"]; there == c.ends {
				t.Errorf("%s: the room is there: %t", c.what, there)
			}
			if c.what == "was warned" {
				h.want(<-h.post("bob", "r@x.org", "not yet"), 200, 1)
				h.pass(2 * idleLook)
				h.heard()
				if want := agoMillis(2*idleLook, 0); kept.copy().sets[since][:7] != want[:7] ||
					kept.copy().sets[since][len(want)-2:] != " 0" {
					t.Errorf("noted is %q, want about %q", kept.copy().sets[since], want)
				}
			}
		}
		if acts := kept.copy().acts; acts[len(acts)-1].Act != actDestroy || acts[len(acts)-1].By != "" {
			t.Errorf("acts are %+v", acts)
		}
	})
}

// agoMillis is how noteIdle stores these times.
func agoMillis(said, warned time.Duration) string {
	at := int64(0)
	if warned > 0 {
		at = time.Now().Add(-warned).UnixMilli()
	}
	return fmt.Sprint(time.Now().Add(-said).UnixMilli(), " ", at)
}
