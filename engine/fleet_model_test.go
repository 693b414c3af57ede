package engine

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"imcd/engine/store"
)

// TestFleetModel: whatever freezes engines or loses their answers while others take over, or get shards of
// them, what is answered 200 is stored once and reaches each member once, in the order of the room.
func TestFleetModel(t *testing.T) {
	handed := 0
	checkTimed(t, func(r *rapid.T) {
		w := newFleetWorld(r)
		w.takeOver(nil, w.start())
		users, rooms := []string{"alice", "bob", "carol"}, []string{"r", "s", "t"}
		for _, room := range rooms {
			w.must(w.say("alice", room, "#create"))
			for _, user := range users[1:] {
				w.must(w.say(user, room, "#join"))
			}
		}
		w.requests = nil
		said := 0
		any := func() *fleetEngine { return rapid.SampledFrom(w.living()).Draw(r, "engine") }
		r.Repeat(map[string]func(*rapid.T){
			"say": func(*rapid.T) {
				said++
				w.say(rapid.SampledFrom(users).Draw(r, "user"), rapid.SampledFrom(rooms).Draw(r, "room"), fmt.Sprint("m", said))
			},
			"repeat": func(*rapid.T) {
				if len(w.requests) > 0 {
					w.send(rapid.SampledFrom(w.requests).Draw(r, "request"))
				}
			},
			"lose": func(*rapid.T) {
				done, f := rapid.Bool().Draw(r, "done"), any()
				w.fleet.mu.Lock()
				f.store.trouble = append(f.store.trouble, done)
				w.fleet.mu.Unlock()
			},
			"freeze": func(*rapid.T) { w.freeze(any()) },
			"wake":   func(*rapid.T) { w.wake(rapid.SampledFrom(w.engines).Draw(r, "engine")) },
			"start": func(*rapid.T) {
				if len(w.engines) < 6 {
					w.start()
				}
			},
			"takeOver": func(*rapid.T) {
				living := w.living()
				if len(living) < 2 {
					return
				}
				dead := rapid.SampledFrom(living).Draw(r, "dead")
				rest := slices.DeleteFunc(living, func(f *fleetEngine) bool { return f == dead })
				w.takeOver(dead, rest[:rapid.IntRange(1, len(rest)).Draw(r, "takers")]...)
			},
			"handOver": func(*rapid.T) { w.handOver(any(), any(), rapid.Uint64().Draw(r, "shards")) },
			"wait": func(*rapid.T) {
				<-time.After(time.Duration(rapid.IntRange(1, 3000).Draw(r, "ms")) * time.Millisecond)
				w.listen()
			},
		})
		for _, f := range w.engines {
			w.wake(f)
		}
		for _, q := range w.requests {
			if w.listen(); q.code == 0 {
				w.must(q)
			}
		}
		<-time.After(time.Minute) // members that could not be reached are tried again
		w.end()
		w.judge(users, rooms)
		handed += w.handed
	})
	if handed == 0 && !t.Failed() && !testing.Short() { // a few runs may have none
		t.Error("no shard was ever handed over")
	}
}

// handOver lets an engine give some of its shards to another one.
func (w *fleetWorld) handOver(from, to *fleetEngine, some uint64) {
	var moves []store.Move
	for _, s := range w.fleet.owned(from.store.id).Shards {
		if some>>s&1 == 1 {
			moves = append(moves, store.Move{Shard: s, To: to.store.id})
		}
	}
	if from == to || len(moves) == 0 {
		return
	}
	select {
	case from.moves <- handOver{moves, make(chan error, 1)}:
	default: // it has not begun with the last ones
	}
}

// judge counts what was stored and what has arrived.
func (w *fleetWorld) judge(users, rooms []string) {
	stored := map[string]int{}
	numbers := map[string]uint64{}
	for _, room := range rooms {
		for i, m := range w.fleet.said[w.fleet.rooms[room+"@x.org"].Room.ID] {
			stored[string(m.Body)]++
			numbers[string(m.Body)] = m.Seq
			if m.Seq != uint64(i+1) {
				w.t.Errorf("message %d has the number %d", i+1, m.Seq)
			}
		}
	}
	for _, q := range w.requests {
		if n := stored[q.body]; n != 1 || q.code != 200 {
			w.t.Errorf("%s was answered %d and is stored %d times", q.body, q.code, n)
		}
	}
	ids := map[string]string{}    // by member, room and body
	latest := map[string]uint64{} // by member and room
	for _, c := range w.relay.copies {
		user, _, _ := strings.Cut(strings.TrimPrefix(c.to, "sip:"), "@")
		_, rest, _ := strings.Cut(c.from, "<sip:")
		room, _, _ := strings.Cut(rest, "@")
		_, body, _ := strings.Cut(c.body, "]: ")
		if stored[body] == 0 {
			continue // a notice
		}
		key := user + " " + room + " " + body
		if id, again := ids[key]; again {
			if id != c.callID {
				w.t.Errorf("%s: Call-IDs %s and %s", key, id, c.callID)
			}
			continue
		}
		ids[key] = c.callID
		if numbers[body] <= latest[user+" "+room] {
			w.t.Errorf("%s: number %d after %d", key, numbers[body], latest[user+" "+room])
		}
		latest[user+" "+room] = numbers[body]
	}
	for _, q := range w.requests {
		sender := q.msg.Request.From().Address.User
		for _, user := range users {
			if _, has := ids[user+" "+q.room+" "+q.body]; has != (user != sender) {
				w.t.Errorf("%s of %s in %s: %s has it: %t", q.body, sender, q.room, user, has)
			}
		}
	}
	for shard, writes := range w.fleet.writes {
		writers, last := map[string]bool{}, ""
		for _, write := range writes {
			if write != last && writers[write] {
				w.t.Errorf("shard %d: %s writes again after %s", shard, write, last)
			}
			writers[write], last = true, write
		}
	}
	for _, fault := range w.fleet.faults {
		w.t.Error(fault)
	}
}

// TestFenceIsNamed: a commit names the shards of all rooms that it is about, each once.
func TestFenceIsNamed(t *testing.T) {
	for _, shards := range []int{1, 2, 4, 16} {
		e := &Engine{}
		for i := range 4 {
			e.shards = append(e.shards, &shard{index: i})
		}
		var fleet store.Fleet
		fleet.Shards = shards
		for i := range int64(shards) {
			fleet.Owned.Shards = append(fleet.Owned.Shards, i)
			fleet.Owned.Epochs = append(fleet.Owned.Epochs, 100+i)
		}
		c := &committer{fences: e.fencesOf(fleet)}
		all := c.fence([]*call{{shard: e.shards[0]}, {shard: e.shards[1]}, {shard: e.shards[2]}, {shard: e.shards[3]}})
		if !slices.Equal(all.Owned.Shards, fleet.Owned.Shards) || !slices.Equal(all.Owned.Epochs, fleet.Owned.Epochs) ||
			all.Batch != 1 {
			t.Errorf("of %d shards a commit of all names %v", shards, all)
		}
		for hash := range uint32(64) {
			one := c.fence([]*call{{shard: e.shards[hash&3]}})
			if !slices.Contains(one.Owned.Shards, int64(hash)&int64(shards-1)) {
				t.Errorf("of %d shards a commit of a room of hash %d names %v", shards, hash, one)
			}
		}
	}
	e := &Engine{shards: []*shard{{}}}
	c := &committer{fences: e.fencesOf(store.Fleet{Shards: 4, Owned: store.Owned{Shards: []int64{1}, Epochs: []int64{8}}})}
	for _, batch := range [][]*call{{{shard: e.shards[0], proves: store.Owned{Shards: []int64{2}, Epochs: []int64{7}}}},
		{{shard: e.shards[0]}, {shard: e.shards[0], proves: store.Owned{Shards: []int64{2}, Epochs: []int64{7}}}}} {
		if f := c.fence(batch); !slices.Equal(f.Owned.Shards, []int64{1, 2}) || !slices.Equal(f.Owned.Epochs, []int64{8, 7}) {
			t.Errorf("a move names %v", f.Owned)
		}
	}
	if f := (&committer{}).fence(nil); f.Batch != 0 {
		t.Errorf("without a fleet: %v", f)
	}
}
