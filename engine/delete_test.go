package engine

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"imcd/engine/store"
)

// TestDelete: who may delete which message, and what each hears.
func TestDelete(t *testing.T) {
	h := newTrio(t, nil)
	for i, from := range []string{"alice", "bob", "carol", "carol"} {
		h.say(from, "r", fmt.Sprint("text ", i+1))
	}
	h.heard()
	runSteps(t, h, []step{
		{"carol", "r", "#delete", 400, -210, []string{"carol<r: *** Argument missing. Usage: #delete n"}},
		{"carol", "r", "#delete x", 400, -210, []string{"carol<r: *** 'x' is not the number of a message. Usage"}},
		{"carol", "r", "#delete 1 2", 400, -210, []string{"carol<r: *** Too many arguments"}},
		{"carol", "r", "#delete 0", 404, -213, []string{"carol<r: *** There is no message 0 in room r; #history shows"}},
		{"carol", "r", "#delete 5", 404, -213, []string{"carol<r: *** There is no message 5 in room r"}},
		{"carol", "r", "#delete 2", 403, -212, []string{"carol<r: *** Only an owner or admin of room r can do that."}},
		{"dora", "r", "#delete 2", 403, -212, []string{"dora<r: *** You are not in room r"}},
		{"dora", "none", "#delete 2", 404, -211, []string{"dora<none: *** There is no room none"}},
		{"carol", "r", "#delete #3", 200, 1, all("*** carol has taken message 3 back, ")},
		{"carol", "r", "#delete 3", 404, -213, []string{"carol<r: *** There is no message 3"}},
		{"bob", "r", "#delete 1", 200, 1, all("*** bob has deleted message 1, of alice, ")},
		{"dora", "r", "#join", 200, 1, []string{"alice<", "bob<", "carol<", "dora<"}},
		{"alice", "r", "#delete 4", 200, 1, all("*** alice has deleted message 4, of carol, ")}, // dora has not got it
		{"alice", "r", "five", 200, 1, []string{"bob<", "carol<", "dora<"}},
	})
	shown := h.shown(t, "carol", "#history 3")
	if len(shown) != 3 || !strings.HasPrefix(shown[1], "2 ") || !strings.HasSuffix(shown[1], " [bob]: text 2") ||
		!strings.HasPrefix(shown[2], "5 ") || !strings.HasSuffix(shown[2], " [alice]: five") {
		t.Errorf("the history is %q", shown)
	}
	o := operator{t, h}
	items, err := h.e.History(o.ctx(), "sip:r@x.org", 2)
	if err != nil || len(items) != 2 || items[0].Seq != 2 || items[1].Seq != 5 {
		t.Errorf("imc.history is %+v, %v", items, err)
	}
	o.want(h.e.DeleteMessage(o.ctx(), "sip:r@x.org", 4), 404)
	o.want(h.e.DeleteMessage(o.ctx(), "sip:r@x.org", 2), nil, "alice<r: *** operator has deleted message 2, of bob, ",
		"bob<", "carol<")
	acts, err := h.e.Acts(o.ctx(), "sip:r@x.org", 3)
	if err != nil || len(acts) != 3 || acts[0].Act != "delete" || acts[0].By != "sip:bob@x.org" ||
		acts[0].User != "sip:alice@x.org" || acts[0].Why != "message 1" || acts[2].By != "" {
		t.Errorf("acts are %+v, %v", acts, err)
	}
	rows := h.store.copy().said[h.roomID("r")]
	if len(rows) != 5 {
		t.Errorf("stored are %d messages", len(rows))
	}
	for _, row := range rows {
		if gone := row.Seq != 5; gone != row.Deleted() || gone && len(row.Body) > 0 {
			t.Errorf("stored is %+v", row)
		}
	}
}

// roomID is the RoomRow.ID of a room.
func (h *house) roomID(room string) (id int64) {
	name, done := store.Name{User: room, Host: "x.org"}, make(chan struct{})
	onShard(h.e.shardOf(name), func(s *shard) {
		id = s.rooms[name.Key()].id
		close(done)
	})
	<-done
	return id
}

// shown are the lines of the answer to a command.
func (h *house) shown(t *testing.T, user, command string) []string {
	t.Helper()
	h.heard()
	h.want(h.say(user, "r", command), 200, 1)
	h.until("lines", func() bool { return len(h.peek()) >= 1 })
	h.quiet()
	return strings.Split(strings.Join(h.heard(), "\n"), "\n")
}

// TestDeleteTooLate: a sender may delete for delete_within, an admin always.
func TestDeleteTooLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newTrio(t, func(c *Config) { c.DeleteWithin = time.Minute })
		h.says("one")
		h.want(<-h.post("carol", "r@x.org", "two"), 200, 1)
		h.pass(61 * time.Second)
		h.heard()
		h.want(<-h.post("carol", "r@x.org", "#delete 2"), 403, -212)
		h.pass(time.Second)
		h.wantHeard("carol<r: *** Message 2 is too old: you can delete what you wrote for 1m.")
		h.want(<-h.post("bob", "r@x.org", "#delete 2"), 200, 1)
		h.pass(time.Second)
		h.wantHeard(all("*** bob has deleted message 2, of carol, ")...)
	})
}

// TestDeletedIsNotOwed: who has not got a message does not get it any more, nor hears of it, whether it waits in
// memory or in the database, and after a restart.
func TestDeletedIsNotOwed(t *testing.T) {
	for _, restart := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			h := newTrio(t, func(c *Config) { c.LogEntries = 2 })
			h.relay.set(func() { h.relay.codes["carol"] = result(404) })
			for i := range 6 {
				h.want(<-h.post("alice", "r@x.org", fmt.Sprint("text ", i+1)), 200, 1)
			}
			h.want(<-h.post("alice", "r@x.org", "\x89PNG\x00", "Content-Type: image/png\r\n"), 200, 1)
			h.pass(time.Second)
			h.heard()
			for _, n := range []int{1, 4, 6, 7} {
				h.want(<-h.post("alice", "r@x.org", fmt.Sprint("#delete ", n)), 200, 1)
			}
			h.pass(time.Second)
			h.heard()
			if restart {
				h.close()
				h = openHouse(t, h.store, func(c *Config) { c.LogEntries = 2 })
			}
			h.relay.set(func() { delete(h.relay.codes, "carol") })
			h.registers("carol")
			h.pass(time.Minute)
			h.wantHeard("carol<r: [alice]: text 2", "carol<r: [alice]: text 3", "carol<r: [alice]: text 5")
			if owed := h.store.owed(); owed != "" {
				t.Errorf("owed: %s", owed)
			}
		})
	}
}

// TestDeletedWhileRead: rows that were read before the message was deleted do not bring it.
func TestDeletedWhileRead(t *testing.T) {
	h := newTrio(t, nil)
	h.say("alice", "r", "one")
	h.say("alice", "r", "two")
	rows := h.store.copy().said[h.roomID("r")]
	h.want(h.say("alice", "r", "#delete 2"), 200, 1)
	done := make(chan struct{})
	onShard(h.e.shardOf(store.Name{User: "r", Host: "x.org"}), func(s *shard) {
		defer close(done)
		items := s.delivery.composeRows(s.rooms["r@x.org"], rows)
		if len(items) != 2 || s.delivery.expired(items[0].expires) || !s.delivery.expired(items[1].expires) {
			t.Errorf("to be delivered: %+v", items)
		}
	})
	<-done
}

// TestDeleteFails: a message whose deletion is not stored is there as before.
func TestDeleteFails(t *testing.T) {
	h := newTrio(t, nil)
	h.relay.set(func() { h.relay.codes["carol"] = result(404) })
	h.say("alice", "r", "one")
	h.heard()
	h.store.set(func(changes []store.Change) (error, bool) {
		for _, c := range changes {
			if c.Op == store.DeleteMessage {
				return store.ErrInvalid, false
			}
		}
		return nil, false
	})
	h.want(h.say("alice", "r", "#delete 1"), 500, -219)
	h.quiet()
	h.heard()
	if shown := h.shown(t, "alice", "#history"); !strings.HasSuffix(shown[len(shown)-1], "[alice]: one") {
		t.Errorf("the history is %q", shown)
	}
	h.relay.set(func() { delete(h.relay.codes, "carol") })
	h.e.Registered("sip:carol@x.org")
	h.until("carol's message", func() bool { return len(h.peek()) > 0 })
	h.wantHeard("carol<r: [alice]: one")
}
