package e2e

import (
	"slices"
	"testing"

	"imcd/cmd/internal/stack"
	"imcd/engine/store"
	"imcd/evapi/evapitest/kit"
	"imcd/schema"
)

// fleetMoves is how many shards go from one imcd to another under load, as fast as they can.
const fleetMoves = 20

// owners returns the imcd of each shard as f sees it: its number in f and its engine; -1: nobody has it.
func (f *fleet) owners(t *testing.T) (imcd map[int64]int, engines []int64) {
	t.Helper()
	imcd, engines = make(map[int64]int), make([]int64, len(f.imcd))
	var view schema.FleetView
	// On a slow machine one may be replaced, and start again as a spare at this moment.
	kit.Eventually(t, "an imcd says who has which shards", func() bool {
		return slices.ContainsFunc(f.imcd, func(s *stack.Stack) bool {
			return s.ImcdPid() != 0 && s.Call(kit.Context(t), "imc.fleet", nil, &view) == nil
		})
	})
	for _, e := range view.Engines {
		i := slices.IndexFunc(f.imcd, func(s *stack.Stack) bool { return s.ImcdPid() == e.PID })
		if i < 0 {
			continue
		}
		engines[i] = e.Engine
		for _, s := range e.Owns {
			imcd[s.Shard] = i
		}
	}
	return imcd, engines
}

// move gives a shard to an imcd of f, and waits until it is there. On a slow machine an imcd may not be in the fleet
// yet, or be taken for dead and come back as another engine: so each try looks who is there.
func (f *fleet) move(t *testing.T, shard int64, to int) {
	t.Helper()
	first := true
	kit.Eventually(t, "the other imcd can take a shard, and it goes there", func() bool {
		owners, engines := f.owners(t)
		from, is := owners[shard]
		if !is && first {
			t.Fatalf("shard %d belongs to nobody", shard)
		}
		first = false
		if !is || from == to || engines[to] == 0 {
			return is && from == to
		}
		err := f.imcd[from].Call(kit.Context(t), "imc.move", []any{shard, engines[to]}, nil)
		if err != nil {
			t.Log(err)
		}
		return err == nil
	})
}

// shardOf is the shard of a room of a fleet.
func shardOf(room string) int64 {
	return int64(store.Hash(store.Name{User: room, Host: chatHost}.Key()) % 64)
}

// TestFleetMoves: shards go from one of three imcd to another while people talk. Nobody hears anything else than 200.
func TestFleetMoves(t *testing.T) {
	f := startFleet(t, &plain, 3, stack.Options{})
	for i := range fleetMoves {
		shard := shardOf(names("chat-f", fleetRooms)[i%fleetRooms])
		owners, _ := f.owners(t)
		f.move(t, shard, (owners[shard]+1+i%2)%len(f.imcd))
		f.more(t, fleetRate/2)
	}
	f.judgeTakeovers(t)
	f.judgeDrained(t)
}

// TestFleetPartKilled: one of three imcd, which share the rooms, is killed. The webhook gets each message all the same.
func TestFleetPartKilled(t *testing.T) {
	webhook, settings := hearEvents(t, oneOwner)
	f := startFleet(t, &plain, 3, stack.Options{Settings: settings})
	for i, room := range names("chat-f", fleetRooms) {
		f.move(t, shardOf(room), i%len(f.imcd))
	}
	f.more(t, fleetRate)
	if err := f.imcd[0].Kill9(); err != nil {
		t.Fatal(err)
	}
	f.more(t, 3*fleetRate)
	owners, _ := f.owners(t)
	if len(owners) != 64 {
		t.Errorf("%d shards have an owner", len(owners))
	}
	f.judgeTakeovers(t)
	webhook.judge(t, f.evidence(t, f.primary).Stored)
}
