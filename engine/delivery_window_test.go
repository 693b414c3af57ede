package engine

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"imcd/evapi"
)

// windowTrips are how long missed messages may take with a member_window, in round trips for each message. Never
// changed.
var windowTrips = []struct {
	window int
	most   float64
}{{1, 1.1}, {8, 0.2}, {16, 0.12}}

// TestMemberWindow: what a far member has missed takes one round trip for each message, or
// for each window of them; and no more copies are under way to it than that.
func TestMemberWindow(t *testing.T) {
	const messages, trip = 500, 100 * time.Millisecond
	for _, tt := range windowTrips {
		t.Run(fmt.Sprint("window ", tt.window), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				away := time.Duration(never)
				p := &phones{away: func(user string) time.Duration {
					if user == "r1" {
						return away
					}
					return 0
				}}
				h := newTown(t, map[string][]string{"r": people("r", 2)}, p, true, func(c *Config) { c.MemberWindow = tt.window })
				h.accepted(h.talk("r0", "r", messages))
				<-time.After(h.e.cfg.ResultTimeout + 2*tick)
				synctest.Wait()
				p.mu.Lock()
				away, p.most["r1"], p.under["r1"] = trip, 0, 0 // nobody waits for the first ones any more
				p.mu.Unlock()
				start := time.Now()
				h.e.Registered("sip:r1@x.org")
				<-time.After(2 * messages * trip)
				synctest.Wait()
				trips := p.last("r1").Sub(start).Seconds() / trip.Seconds() / messages
				p.mu.Lock()
				most := p.most["r1"]
				p.mu.Unlock()
				if n := p.heard("r1"); n != messages || most != tt.window {
					t.Errorf("%d of %d messages have arrived, %d copies were under way", n, messages, most)
				}
				if trips > tt.most || trips < 1/float64(tt.window) {
					t.Errorf("%.3f round trips for each message, want %.3f at most", trips, tt.most)
				}
			})
		})
	}
}

// TestMemberWindowLive: a room in which more is said than one message for each round trip.
func TestMemberWindowLive(t *testing.T) {
	const members, messages, trip = 100, 64, 100 * time.Millisecond
	for window, most := range map[int]time.Duration{1: messages * trip, 8: messages/8*trip + 4*trip} {
		synctest.Test(t, func(t *testing.T) {
			p := &phones{bounds: evapi.Bounds{Paced: true}, away: func(string) time.Duration { return trip }}
			h := newTown(t, map[string][]string{"r": people("r", members)}, p, true, func(c *Config) {
				c.MemberWindow, c.MaxDelay = window, 0
			})
			start := time.Now()
			h.accepted(h.talk("r0", "r", messages))
			<-time.After(2 * messages * trip)
			synctest.Wait()
			if n := p.heard("r"); n != messages*(members-1) {
				t.Errorf("window %d: %d copies have arrived", window, n)
			}
			if took := p.last("r").Sub(start); took > most {
				t.Errorf("window %d: took %v, want %v", window, took, most)
			}
		})
	}
}

// A member whose last copy was not answered gets one at a time, whatever the window is.
func TestMemberWindowOfSilent(t *testing.T) {
	tries := func(window int) (n int) {
		synctest.Test(t, func(t *testing.T) {
			p := &phones{away: func(user string) time.Duration {
				if user == "r1" {
					return never
				}
				return 0
			}}
			h := newTown(t, map[string][]string{"r": people("r", 2)}, p, false, func(c *Config) { c.MemberWindow = window })
			h.accepted(h.talk("r0", "r", 50))
			<-time.After(10 * time.Second)
			synctest.Wait()
			p.mu.Lock()
			defer p.mu.Unlock()
			n = p.under["r1"]
		})
		return n
	}
	if one, many := tries(1), tries(16); one != 1 || many != 1 {
		t.Errorf("%d copies were under way to a silent phone, and %d with a window", one, many)
	}
}
