package engine

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"
	"unsafe"

	"imcd/evapi"
)

// TestAsideGoesOn: members of one user that wait until fewer copies are under way to it all
// get their turns, though some of them need no copy any more when theirs comes.
func TestAsideGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const rooms, expiring = 4 * userCopies, 2 * userCopies // the second userCopies of them expire
		towns := map[string][]string{}
		for i := range rooms {
			towns[fmt.Sprint("r", i)] = []string{fmt.Sprint("speaker", i), "slow"}
		}
		h := newTown(t, towns, &phones{bounds: evapi.Bounds{Paced: true}, away: func(string) time.Duration {
			return 5 * time.Second
		}}, true, func(c *Config) { c.HashSize = 0 })
		for i := range rooms {
			var headers []string
			if i >= userCopies && i < expiring {
				headers = []string{"Expires: 2\r\n"}
			}
			m, ch := h.request(fmt.Sprint("speaker", i), fmt.Sprintf("r%d@x.org", i), "hello", headers...),
				make(chan evapi.Answer, 1)
			h.mu.Lock()
			h.phones.answers[m] = ch
			h.mu.Unlock()
			h.e.Message(m)
			h.accepted([]chan evapi.Answer{ch})
		}
		h.pass(time.Minute)
		if n, want := h.phones.heard("slow"), rooms-(expiring-userCopies); n != want {
			t.Errorf("%d copies have arrived, want %d", n, want)
		}
	})
}

// TestManyUsersAreSilent: users that do not answer, in many rooms each, hold up nobody else,
// whatever their number.
func TestManyUsersAreSilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const rooms, silent, others = 2 * userCopies, 1000, 1000
		towns := map[string][]string{"hall": people("other", others)}
		for i := range rooms {
			towns[fmt.Sprint("r", i)] = append(people("silent", silent), fmt.Sprint("speaker", i))
		}
		h := newTown(t, towns, &phones{bounds: evapi.Bounds{Paced: true}, away: func(user string) time.Duration {
			if len(user) > 6 && user[:6] == "silent" {
				return never
			}
			return time.Millisecond
		}}, true, func(c *Config) { c.HashSize = 0 })
		for i := range rooms {
			h.accepted(h.talk(fmt.Sprint("speaker", i), fmt.Sprint("r", i), 1))
		}
		h.pass(3 * time.Second)
		h.accepted(h.talk("other0", "hall", 1))
		h.pass(2 * time.Second)
		if n := h.phones.heard("other"); n != others-1 {
			t.Errorf("%d copies have arrived, want %d", n, others-1)
		}
		h.mu.Lock()
		for user, most := range h.most {
			if most > userCopies {
				t.Errorf("%d copies were under way to %s", most, user)
			}
		}
		h.mu.Unlock()
		h.mu.Lock()
		if n := h.mostAll; n < silent*userCopies/2 {
			t.Errorf("%d copies were under way to the silent", n)
		}
		h.mu.Unlock()
	})
}

// TestAsideHoldsDownNobody: what is stored of others does not wait for a member that stepped
// aside: neither after a moment, nor at the end.
func TestAsideHoldsDownNobody(t *testing.T) {
	for name, wait := range map[string]time.Duration{"after a moment": 6 * time.Second, "at the end": time.Millisecond} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				towns := map[string][]string{}
				for i := range 2 * userCopies {
					towns[fmt.Sprint("r", i)] = []string{fmt.Sprint("speaker", i), "silent", fmt.Sprint("other", i)}
				}
				h := newTown(t, towns, &phones{bounds: evapi.Bounds{Paced: true}, away: func(user string) time.Duration {
					if user == "silent" {
						return never
					}
					return 0
				}}, true, func(c *Config) { c.HashSize = 0 })
				for room, users := range towns {
					h.accepted(h.talk(users[0], room, 2))
				}
				h.pass(wait)
				if name == "at the end" {
					h.close()
				}
				for room, users := range towns {
					h.store.mu.Lock()
					state := h.store.state(room + "@x.org")
					h.store.mu.Unlock()
					at := map[string]uint64{}
					for _, row := range state.Members {
						if at[row.User.User] = state.Room.Done; row.Cursor != nil {
							at[row.User.User] = *row.Cursor
						}
					}
					if at["silent"] != 0 || at[users[2]] != 2 {
						t.Errorf("%s: %v are stored", room, at)
					}
				}
			})
		})
	}
}

// TestSentCopyIsSmall: a hundred thousand may be under way.
func TestSentCopyIsSmall(t *testing.T) {
	if n := unsafe.Sizeof(sentCopy{}); n > 128 {
		t.Errorf("a copy under way takes %d bytes", n)
	}
}
