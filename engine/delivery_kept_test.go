package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"imcd/engine/store"
	"imcd/evapi"
)

// to lists what a user was sent since everything was taken last.
func (h *house) to(user string) []string {
	var list []string
	for _, c := range h.relay.take() {
		if strings.HasPrefix(c.to, "sip:"+user+"@") {
			list = append(list, strings.TrimPrefix(c.body, "*** "))
		}
	}
	return list
}

func (h *house) wantTo(user string, want ...string) {
	h.t.Helper()
	h.wantTexts(user, h.to(user), want)
}

// wantToSorted is wantTo for texts that come in any order: want is sorted.
func (h *house) wantToSorted(user string, want ...string) {
	h.t.Helper()
	h.wantTexts(user, slices.Sorted(slices.Values(h.to(user))), want)
}

func (h *house) wantTexts(user string, got, want []string) {
	h.t.Helper()
	ok := len(got) == len(want)
	for i := range want {
		ok = ok && i < len(got) && strings.HasPrefix(got[i], want[i])
	}
	if !ok {
		h.t.Errorf("%s was sent %q, want %q", user, got, want)
	}
}

// alice posts a command of alice's and lets everything come to rest.
func (h *house) alice(text string) {
	h.t.Helper()
	h.relay.take()
	h.says(text)
}

// waiting counts what is kept, in memory and in the store.
func (h *house) waiting() (memory, stored int) {
	n, err := gather(context.Background(), h.e, func(s *shard) []int { return []int{s.delivery.kept} })
	if err != nil {
		h.t.Fatal(err)
	}
	for _, k := range n {
		memory += k
	}
	h.store.mu.Lock()
	defer h.store.mu.Unlock()
	return memory, len(h.store.notes)
}

func (h *house) wantWaiting(memory, stored int) {
	h.t.Helper()
	h.pass(time.Second) // what is not needed any more is deleted
	if m, s := h.waiting(); m != memory || s != stored {
		h.t.Errorf("%d are kept and %d stored, want %d and %d", m, s, memory, stored)
	}
}

// ids are the Call-IDs of what a user was sent last, as take would return it.
func (f *fakeRelay) ids(user string) (ids []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, c := range f.copies {
		if strings.HasPrefix(c.to, "sip:"+user+"@") {
			ids = append(ids, c.callID)
		}
	}
	return ids
}

// TestInvitationWaits: who is invited and cannot be reached gets the invitation with the
// next registration, and the inviter hears so once.
func TestInvitationWaits(t *testing.T) {
	for _, code := range []int{404, 480, 477, 408, 486, 503, 0} {
		t.Run(fmt.Sprint(code), func(t *testing.T) {
			bubble(t, nil, func(h *house) {
				h.answers("carol", result(code))
				h.alice("#invite carol")
				h.pass(time.Minute)
				h.wantTo("alice", "carol has been invited", "carol is offline and will get your invitation to room r")
				h.e.Registered("sip:carol@x.org")
				h.pass(20 * time.Second)
				h.wantTo("alice") // it does not hear it again
				h.answers("carol", result(200))
				h.relay.take()
				h.registers("carol")
				h.wantTo("carol", "alice invites you")
				h.registers("carol")
				h.wantTo("carol")
				h.wantWaiting(0, 0)
				if !h.store.rooms["r@x.org"].Members[2].Delivered {
					t.Error("it is not noted")
				}
			})
		})
	}
}

// TestKeptDoesNotGrow: somebody who registers again and again without taking a notice is
// tried once for each registration, and once in offline_retry without, not more.
func TestKeptDoesNotGrow(t *testing.T) {
	bubble(t, func(c *Config) { c.OfflineRetry = 10 * time.Minute }, func(h *house) {
		h.answers("carol", result(480))
		h.alice("#invite carol")
		for range 50 {
			h.pass(time.Second)
			h.e.Registered("sip:carol@x.org")
		}
		h.pass(time.Second)
		h.relay.take()
		h.pass(30 * time.Minute)
		if n := len(h.to("carol")); n < 2 || n > 3 {
			t.Errorf("carol was tried %d times in half an hour, want once in ten minutes", n)
		}
	})
}

// TestInvitationRefused: who declines has answered, and nothing is kept.
func TestInvitationRefused(t *testing.T) {
	for _, code := range []int{603, 607, 415, 488, 606} {
		bubble(t, nil, func(h *house) {
			h.answers("carol", result(code))
			h.alice("#invite carol")
			h.wantTo("alice", "carol has been invited", "carol does not take the invitation to room r")
			h.wantWaiting(0, 0)
		})
	}
}

// TestInvitationTakenBack: an invitation that is taken back, or whose room ends, is not
// sent any more.
func TestInvitationTakenBack(t *testing.T) {
	for _, text := range []string{"#remove carol", "#destroy"} {
		bubble(t, nil, func(h *house) {
			h.answers("carol", result(404))
			h.alice("#invite carol")
			h.alice(text)
			h.answers("carol", result(200))
			h.relay.take()
			h.registers("carol")
			h.wantTo("carol")
			h.wantWaiting(0, 0)
		})
	}
}

// TestNoticesWait: a user who was removed, or whose room was destroyed, hears of it when it is back,
// after a restart, too. An answer to a command is not kept.
func TestNoticesWait(t *testing.T) {
	for _, restart := range []bool{false, true} {
		t.Run(fmt.Sprint(restart), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { noticesWait(t, restart) })
		})
	}
}

func noticesWait(t *testing.T, restart bool) {
	store := newMemStore()
	h := startHouse(t, store, nil)
	h.say("alice", "r", "#create")
	h.say("alice", "r", "#add bob")
	h.say("alice", "r", "#add carol")
	h.answers("bob", result(480))
	h.answers("carol", result(480))
	h.post("bob", "r@x.org", "#list")
	synctest.Wait()
	h.alice("#remove bob")
	h.alice("#destroy")
	first := h.relay.ids("carol")
	h.wantWaiting(2, 2)
	if restart {
		h.close()
		h = startHouse(t, store, func(c *Config) { c.OfflineRetry = time.Hour })
		h.answers("bob", result(480))
		h.answers("carol", result(480))
		h.pass(time.Minute)
		h.wantWaiting(2, 2)
	}
	h.answers("bob", result(200))
	h.answers("carol", result(200))
	h.relay.take()
	h.registers("bob")
	h.wantTo("bob", "You were removed from room r by alice")
	h.registers("carol")
	if again := h.relay.ids("carol"); !slices.Equal(again, first) {
		t.Errorf("sent as %q, which the phone does not know from %q", again, first)
	}
	h.wantTo("carol", "Room r was destroyed by alice")
	h.wantWaiting(0, 0)
	h.close()
	h = startHouse(t, store, nil)
	h.pass(time.Minute)
	if got := h.heard(); len(got) != 0 {
		t.Errorf("heard again: %q", got)
	}
	h.close()
}

// Who is there gets it at once, and nothing is kept.
func TestNoticeArrives(t *testing.T) {
	bubble(t, nil, func(h *house) {
		h.alice("#remove bob")
		h.wantTo("bob", "You were removed")
		h.wantWaiting(0, 0)
	})
}

// TestKeptTries: without a registration it is tried every offline_retry, when the user
// sends something, and after a notice that has arrived.
func TestKeptTries(t *testing.T) {
	bubble(t, func(c *Config) { c.HashSize, c.OfflineRetry = 0, 10*time.Minute }, func(h *house) {
		h.answers("bob", result(480))
		h.alice("#remove bob")
		h.relay.take()
		h.pass(25 * time.Minute)
		h.wantTo("bob", "You were removed", "You were removed")
		h.answers("bob", result(200))
		h.post("bob", "other@x.org", "hello")
		synctest.Wait()
		// The answer, and the notice for which the request is a sign of life.
		h.wantToSorted("bob", "There is no room", "You were removed")
		h.wantWaiting(0, 0)
	})
}

// TestKeptIsBounded: for a user, and for a shard.
func TestKeptIsBounded(t *testing.T) {
	bubble(t, func(c *Config) { c.HashSize = 0 }, func(h *house) {
		h.relay.set(func() {
			h.relay.codes["bob"] = result(480)
			for i := range maxKept {
				h.relay.codes[fmt.Sprint("u", i)] = result(480)
			}
		})
		for range maxKeptUser + 5 {
			h.alice("#remove bob")
			h.alice("#add bob")
		}
		h.pass(time.Second)
		h.wantWaiting(maxKeptUser, maxKeptUser)
		for i := range maxKept {
			h.post("alice", "r@x.org", fmt.Sprint("#invite u", i))
		}
		h.pass(time.Second)
		h.wantWaiting(maxKept, maxKeptUser)
		h.answers("bob", result(200))
		h.relay.take()
		h.registers("bob")
		n := 0
		for _, text := range h.to("bob") {
			if strings.HasPrefix(text, "You were removed") || strings.HasPrefix(text, "alice has added you") {
				n++
			}
		}
		if n != maxKeptUser {
			t.Errorf("bob got %d", n)
		}
		h.wantWaiting(maxKept-maxKeptUser, 0)
		h.quiet()
	})
}

// A user who registers while the notice is under way gets it at once, though its first
// try fails.
func TestKeptUnderWay(t *testing.T) {
	bubble(t, nil, func(h *house) {
		h.answers("bob", evapi.Result{})
		h.alice("#remove bob")
		copies := h.relay.take()
		id := ""
		for _, c := range copies {
			if strings.HasPrefix(c.to, "sip:bob@") {
				id = c.callID
			}
		}
		h.pass(2 * burstTime)
		h.registers("bob")
		h.answers("bob", result(200))
		h.e.Result(evapi.Result{CallID: id, Code: 480})
		h.e.Result(evapi.Result{CallID: id, Code: 480})
		synctest.Wait()
		h.wantTo("bob", "You were removed", "You were removed")
		h.wantWaiting(0, 0)
	})
}

// A notice that has arrived while the database is away is deleted once that is back.
func TestKeptIsDeletedLater(t *testing.T) {
	for name, fail := range map[string]error{"away": store.ErrUnavailable, "error": errors.New("disk full")} {
		t.Run(name, func(t *testing.T) {
			bubble(t, nil, func(h *house) {
				h.answers("bob", result(480))
				h.alice("#remove bob")
				h.wantWaiting(1, 1)
				h.store.set(func([]store.Change) (error, bool) { return fail, false })
				h.answers("bob", result(200))
				h.e.Registered("sip:bob@x.org")
				h.pass(2 * time.Second)
				h.store.set(nil)
				h.pass(10 * time.Second)
				h.wantWaiting(0, 0)
			})
		})
	}
}

// hurry brings forward what is kept, though others were kept before it and sent meanwhile.
func TestKeptIsHurried(t *testing.T) {
	bubble(t, func(c *Config) { c.HashSize, c.OfflineRetry = 0, time.Hour }, func(h *house) {
		h.answers("carol", result(480))
		h.answers("dora", result(480))
		h.alice("#invite carol")
		h.alice("#invite dora")
		h.answers("carol", result(200))
		h.e.Registered("sip:carol@x.org") // its place among what is due stays
		synctest.Wait()
		h.answers("dora", result(200))
		h.relay.take()
		h.e.Wake()
		h.pass(time.Second)
		h.wantTo("dora", "alice invites you")
	})
}
