package engine

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"imcd/engine/store"
	"imcd/evapi"
)

func TestCreateAllow(t *testing.T) {
	for allow, may := range map[string]map[string]bool{
		"":              {"alice@x.org": true, "eve@y.org": true},
		CreateOperators: {"alice@x.org": false},
		`sip:.*@x[.]org`: {"alice@x.org": true, "Alice@X.ORG": true, "alice@xaorg": false, "a@x.org.evil": false,
			"sip:x@x.org": true},
		`sip:alice@x.org|sip:bo`: {"alice@x.org": true, "bob@x.org": false, "malice@x.org": false},
	} {
		c, err := newCreators(allow)
		if err != nil {
			t.Fatal(err)
		}
		for user, want := range may {
			n, err := ParseName(user, "")
			if err != nil {
				t.Fatal(err)
			}
			if got := c.allow(n); got != want {
				t.Errorf("%q: %s may create: %v", allow, user, got)
			}
		}
	}
}

// TestWhoMayCreate: who may not hears so, by create and by join; what exists is
// open to all, and operators are not bound.
func TestWhoMayCreate(t *testing.T) {
	h := newHouse(t, func(c *Config) { c.CreateAllow = "sip:alice@.*" })
	runSteps(t, h, []step{
		{"alice", "r", "#create", 200, 1, []string{"alice<r: *** Room r"}},
		{"bob", "r", "#create", 200, 1, []string{"alice<r: *** bob has", "bob<r: *** You are in r"}},
		{"bob", "r2", "#create", 403, -32, []string{"bob<r2: *** There is no room r2, and you may not"}},
		{"bob", "r", "#create r2 private", 403, -32, []string{"bob<r: *** There is no room r2, and you may not"}},
		{"bob", "r2", "#join", 403, -42, []string{"bob<r2: *** There is no room r2"}},
		{"alice", "r2", "#join", 200, 1, []string{"alice<r2: *** Room r2"}},
	})
	if err := h.e.CreateRoom(context.Background(), "sip:r3@x.org", false, "sip:bob@x.org"); err != nil {
		t.Errorf("an operator creates for bob: %v", err)
	}
}

// TestRoomsPerUser: nobody owns more rooms than the limit, by whatever way, and
// whoever gives one back may have another, after a restart as well.
func TestRoomsPerUser(t *testing.T) {
	limit := func(c *Config) { c.MaxRooms, c.OwnerLeave = 2, OwnerLeaveTransfer }
	h := startHouse(t, newMemStore(), limit)
	runSteps(t, h, []step{
		{"alice", "r1", "#create", 200, 1, []string{"alice<r1"}},
		{"alice", "r2", "#join", 200, 1, []string{"alice<r2"}},
		{"Alice", "r3", "#create", 403, -36, []string{"Alice<r3: *** You own as many"}},
		{"alice", "r3", "#join", 403, -46, []string{"alice<r3: *** You own as many"}},
		{"bob", "r3", "#create", 200, 1, []string{"bob<r3"}},
		{"alice", "r3", "#join", 200, 1, []string{"alice<r3", "bob<r3"}},
		{"bob", "r3", "#modify alice owner", 403, -126, []string{"bob<r3: *** alice owns as many"}},
		{"bob", "r3", "#modify alice admin", 200, 1, []string{"alice<r3", "bob<r3"}},
		{"alice", "r2", "#destroy", 200, 1, []string{"alice<r2"}},
		{"bob", "r3", "#modify alice owner", 200, 1, []string{"alice<r3", "bob<r3"}},
		{"alice", "r4", "#create", 403, -36, []string{"alice<r4"}},
	})
	h.close()
	h = openHouse(t, h.store, limit)
	h.want(h.say("alice", "r4", "#create"), 403, -36)
	h.want(h.say("alice", "r3", "#leave"), 200, 1)
	h.want(h.say("alice", "r4", "#create"), 200, 1)
	if err := h.e.CreateRoom(context.Background(), "sip:r5@x.org", false, "sip:alice@x.org"); err != nil {
		t.Errorf("an operator creates one more: %v", err)
	}
	h.quiet()
	h.want(h.say("alice", "r5", "#destroy"), 200, 1)
	h.want(h.say("alice", "r6", "#create"), 403, -36)
}

// TestManyCreatesAtOnce: rooms of many shards that are created at the same time
// are counted together, and what the database did not take is not counted.
func TestManyCreatesAtOnce(t *testing.T) {
	kept := newMemStore()
	h := openHouse(t, kept, func(c *Config) { c.HashSize, c.MaxRooms = 6, 7 })
	flood := func() (created int) {
		var answers []chan evapi.Answer
		for i := range 200 {
			answers = append(answers, h.post("alice", fmt.Sprintf("r%d@x.org", i), "#create"))
		}
		for _, a := range answers {
			if a := <-a; a.Code == 200 {
				created++
			}
		}
		h.quiet()
		return created
	}
	kept.set(func([]store.Change) (error, bool) { return errors.New("no"), false })
	if n := flood(); n != 0 {
		t.Errorf("%d rooms were created without the database", n)
	}
	kept.set(nil)
	if n := flood(); n != 7 {
		t.Errorf("%d rooms were created, 7 are possible", n)
	}
}

// TestLedger: whatever users do and whichever commits fail, the engine has the rooms
// that are stored, and the ledger says what the rooms say.
func TestLedger(t *testing.T) {
	checkTimed(t, checkLedger)
}

func checkLedger(rt *rapid.T) {
	words := []string{"#create", "#create", "#join", "#join", "#exit", "#destroy", "#modify u1 owner", "#modify u2 owner",
		"#modify u1 member", "#remove u2", "#add u1"}
	outcomes := []struct {
		err     error
		applied bool
	}{{errRefused, false}, {store.ErrUnavailable, false}, {store.ErrUnavailable, true}}
	h := startHouse(rt, newMemStore(), func(c *Config) { c.MaxRooms, c.OwnerLeave = 3, OwnerLeaveTransfer })
	defer h.close()
	for range rapid.IntRange(1, 12).Draw(rt, "rounds") {
		fails := rapid.SliceOfN(rapid.IntRange(0, 3), 0, 6).Draw(rt, "commits")
		h.store.set(func([]store.Change) (error, bool) {
			if len(fails) == 0 {
				return nil, false
			}
			next := fails[0]
			if fails = fails[1:]; next >= len(outcomes) {
				return nil, false
			}
			return outcomes[next].err, outcomes[next].applied
		})
		release := h.store.hold() // what is said while a commit waits becomes one batch
		for range rapid.IntRange(2, 12).Draw(rt, "requests") {
			user, room := rapid.IntRange(0, 2).Draw(rt, "user"), rapid.IntRange(0, 1).Draw(rt, "room")
			h.post(fmt.Sprintf("u%d", user), fmt.Sprintf("r%d@x.org", room), rapid.SampledFrom(words).Draw(rt, "word"))
			synctest.Wait()
		}
		release()
		<-time.After(10 * time.Second)
		synctest.Wait()
		if has, stored := h.roster(rt), h.store.dump(); has != stored {
			rt.Fatalf("the engine has\n%sand stored is\n%s", has, stored)
		}
		h.checkLedger(rt)
	}
}

// A room that is created behind a #destroy that fails builds on it like any other change,
// though no room object is common to the two.
func TestCreatedBehindAFailure(t *testing.T) {
	for name, outcomes := range map[string][]error{
		"in the other half of a batch": {nil, errRefused, store.ErrUnavailable},
		"in the same batch":            {nil, store.ErrUnavailable},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := startHouse(t, newMemStore(), nil)
				defer h.close()
				h.want(<-h.post("alice", "r@x.org", "#create"), 200, 1)
				h.store.set(func([]store.Change) (err error, applied bool) {
					if len(outcomes) > 0 {
						err, outcomes = outcomes[0], outcomes[1:]
					}
					return err, false
				})
				release := h.store.hold()
				first := h.post("alice", "s@x.org", "#create")
				synctest.Wait()
				destroyed := h.post("alice", "r@x.org", "#destroy")
				synctest.Wait()
				created := h.post("bob", "r@x.org", "#create")
				synctest.Wait()
				release()
				h.want(<-first, 200, 1)
				h.want(<-destroyed, 503, -119)
				h.want(<-created, 503, -39)
				<-time.After(2 * reloadBackoffMax)
				if has, stored := h.roster(t), h.store.dump(); has != stored {
					t.Errorf("the engine has\n%sand stored is\n%s", has, stored)
				}
				h.want(<-h.post("alice", "r@x.org", "still there"), 200, 1)
			})
		})
	}
}

// roster shows what the engine has, as memStore.dump does.
func (h *house) roster(t rapid.TB) string {
	parts, err := gather(context.Background(), h.e, func(s *shard) (lines []string) {
		for key, r := range s.rooms {
			line := key + " 0:"
			if r.private {
				line = key + " 1:"
			}
			for _, m := range r.order {
				line += fmt.Sprintf(" %s/%d", m.name().User, m.flag)
			}
			lines = append(lines, line+"\n")
		}
		return lines
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(parts)
	return strings.Join(parts, "")
}

func (h *house) checkLedger(t rapid.TB) {
	owned := map[string]int{}
	h.store.mu.Lock()
	for _, r := range h.store.rooms {
		for _, m := range r.Members {
			if m.Flag&store.MemberOwner != 0 {
				owned[m.User.Key()]++
			}
		}
	}
	h.store.mu.Unlock()
	h.e.ledger.mu.Lock()
	defer h.e.ledger.mu.Unlock()
	if !maps.Equal(owned, h.e.ledger.owned) {
		t.Fatalf("the ledger has %v, the rooms have %v", h.e.ledger.owned, owned)
	}
}

// TestFullRoom: nobody gets into a full room by any way, not even by an operator,
// and not with many at once.
func TestFullRoom(t *testing.T) {
	h := newHouse(t, func(c *Config) { c.MaxMembers = 3 })
	h.say("alice", "r", "#create")
	h.say("alice", "r", "#invite guest")
	var answers []chan evapi.Answer
	for i := range 50 {
		answers = append(answers, h.post(fmt.Sprintf("u%d", i), "r@x.org", "#join"))
	}
	in := 0
	for _, a := range answers {
		if a := <-a; a.Code == 200 {
			in++
		} else if a.Code != 403 || a.RC != -46 {
			t.Errorf("answered %d rc %d", a.Code, a.RC)
		}
	}
	if h.quiet(); in != 2 {
		t.Errorf("%d joined, there was room for 2", in)
	}
	h.want(h.say("guest", "r", "#accept"), 403, -66)
	h.want(h.say("alice", "r", "#add bob"), 403, -56)
	h.want(h.say("alice", "r", "#invite bob"), 403, -56)
	if err := h.e.AddMember(context.Background(), "sip:r@x.org", "sip:bob@x.org", ""); err == nil {
		t.Error("an operator got somebody into a full room")
	}
	h.want(h.say("u99", "r", "#create r2 private"), 200, 1)
	for i, code := range []int{200, 200, 200, 403} {
		if a := h.say("u99", "r2", fmt.Sprintf("#invite guest%d", i)); a.Code != code {
			t.Errorf("invitation %d: %d", i, a.Code)
		}
	}
}
