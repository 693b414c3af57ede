package schema

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/rs/zerolog"
	"pgregory.net/rapid"

	"imcd/engine/store"
	"imcd/schema/schematest"
)

// fleetModel is what the tables of a fleet should be: plain, and by itself.
type fleetModel struct {
	gone  map[int64]bool
	last  map[int64]uint64
	beats map[int64]int64
	owner [modelShards]int64
	epoch [modelShards]int64
	seq   [modelShards]uint64 // of the room of each shard
}

const modelShards = 64

// modelEngine is an engine that does only what it is asked to. What it believes may be outdated.
type modelEngine struct {
	s       *Store
	id      int64
	batch   uint64         // of its last commit
	changes []store.Change // of that
	owned   store.Owned    // as it saw it last
	seen    []engineRow    // likewise
	said    map[int]uint64 // the last number of each room that it knows of
}

func (m *fleetModel) take(me int64, dead []engineRow, most int) (took bool) {
	if m.gone[me] {
		return false
	}
	for _, e := range dead {
		if !m.gone[e.id] && m.beats[e.id] == e.beat {
			m.gone[e.id] = true
		}
	}
	for i, owner := range m.owner {
		if most > 0 && (owner == 0 || m.gone[owner]) {
			most--
			m.owner[i] = me
			m.epoch[i]++
			took = true
		}
	}
	return took
}

// commits reports whether a commit is carried out.
func (m *fleetModel) commits(me int64, f store.Fence) bool {
	if m.gone[me] || f.Batch <= m.last[me] {
		return false
	}
	for i, shard := range f.Owned.Shards {
		if m.owner[shard] != me || m.epoch[shard] != f.Owned.Epochs[i] {
			return false
		}
	}
	return true
}

func putMove(shard, to int64) store.Change {
	return store.Change{Op: store.MoveShard, Move: &store.Move{Shard: shard, To: to}}
}

// TestFleetModel: whatever several engines believe and do, in whatever order, only the owner of a shard
// writes to its room, each batch once.
func TestFleetModel(t *testing.T) {
	t.Parallel()
	plain, err := Open(t.Context(), schematest.NewDatabase(t), Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close() // all is committed
	commit(t, plain, putRoomID("r0", 1), putRoomID("r1", 2), putRoomID("r2", 3))
	rapid.Check(t, func(r *rapid.T) {
		run(t, plain, "TRUNCATE imcd_messages, imcd_seen, imcd_engines, imcd_fences", "UPDATE imcd_rooms SET seq = 0",
			"UPDATE imcd_shards SET engine = NULL, epoch = 0")
		const rooms = 3 // room i belongs to shard i
		model := &fleetModel{gone: map[int64]bool{}, last: map[int64]uint64{}, beats: map[int64]int64{}}
		var engines []*modelEngine
		any := func() *modelEngine { return rapid.SampledFrom(engines).Draw(r, "engine") }
		start := func(*rapid.T) {
			if len(engines) == 4 {
				return
			}
			s := &Store{opts: plain.opts, dialect: plain.dialect, db: plain.db, commits: plain.commits,
				names: plain.names, quick: plain.quick, leftovers: newLeftovers()}
			m, err := register(testContext(t), s.db, Lease{}, &s.durable, zerolog.Nop())
			if err != nil {
				r.Fatal(err)
			}
			s.lease = m
			engines = append(engines, &modelEngine{s: s, id: m.me, said: map[int]uint64{}})
		}
		start(r)
		look := func(*rapid.T) {
			e := any()
			v, err := e.s.lease.(*member).read(testContext(t), &listener{})
			if err != nil {
				r.Fatal(err)
			}
			model.beats[e.id]++
			e.seen, e.owned = nil, store.Owned{}
			for _, other := range v.engines {
				if other.id != e.id {
					e.seen = append(e.seen, other)
				}
			}
			for _, shard := range v.shards {
				if shard.engine == e.id {
					e.owned.Shards = append(e.owned.Shards, shard.shard)
					e.owned.Epochs = append(e.owned.Epochs, shard.epoch)
				}
			}
			for room := range rooms {
				e.said[room] = model.seq[room] // it loads them
			}
		}
		take := func(*rapid.T) {
			e := any()
			var dead []engineRow
			for _, other := range e.seen {
				if rapid.Bool().Draw(r, "dead") {
					dead = append(dead, other)
				}
			}
			most := rapid.SampledFrom([]int{0, 1, takeMost, modelShards}).Draw(r, "most")
			took, err := e.s.lease.(*member).take(testContext(t), dead, most)
			if err != nil {
				r.Fatal(err)
			}
			if want := model.take(e.id, dead, most); took != want {
				r.Fatalf("it took shards: %t, want %t", took, want)
			}
		}
		say := func(*rapid.T) {
			e, room := any(), rapid.IntRange(0, rooms-1).Draw(r, "room")
			f := store.Fence{Batch: e.batch + 1}
			for i, shard := range e.owned.Shards {
				if shard == int64(room) || rapid.Bool().Draw(r, "more") {
					f.Owned.Shards = append(f.Owned.Shards, shard)
					f.Owned.Epochs = append(f.Owned.Epochs, e.owned.Epochs[i])
				}
			}
			if !slices.Contains(f.Owned.Shards, int64(room)) {
				return // nobody writes to what it never owned
			}
			e.batch++
			e.changes = []store.Change{putMessage(int64(room+1), e.said[room]+1, nil), putSeen(byte(e.batch), 200, epoch)}
			if rapid.Bool().Draw(r, "slow") {
				e.changes = append(e.changes, putMember(fmt.Sprint("r", room), "a", 0))
			}
			call := e.s.Commit
			if rapid.Bool().Draw(r, "again") {
				call = e.s.CommitAgain
			}
			want := model.commits(e.id, f)
			for range rapid.IntRange(1, 2).Draw(r, "times") {
				err := call(testContext(t), f, e.changes)
				if (err == nil) != want || !want && !errors.Is(err, ErrDeposed) {
					r.Fatalf("commit %+v by %d: %v, want %t", f, e.id, err, want)
				}
			}
			if want {
				e.said[room]++
				model.seq[room]++
				model.last[e.id] = f.Batch
			}
		}
		move := func(*rapid.T) {
			e, to := any(), any()
			var moves []store.Change
			f := store.Fence{Batch: e.batch + 1, Owned: e.owned}
			for _, shard := range e.owned.Shards {
				if rapid.IntRange(0, 3).Draw(r, "move") == 0 {
					moves = append(moves, putMove(shard, to.id))
				}
			}
			if len(moves) == 0 {
				return
			}
			e.batch++
			room := rapid.IntRange(0, rooms-1).Draw(r, "room")
			says := slices.Contains(e.owned.Shards, int64(room))
			if e.changes = moves; says {
				e.changes = append(e.changes, putMessage(int64(room+1), e.said[room]+1, nil))
			}
			err := e.s.Commit(testContext(t), f, e.changes)
			switch holds := model.commits(e.id, f); {
			case !holds && errors.Is(err, ErrDeposed) || holds && model.gone[to.id] && errors.Is(err, ErrInvalid):
				return
			case !holds || model.gone[to.id] || err != nil:
				r.Fatalf("move %+v by %d to %d: %v", f, e.id, to.id, err)
			}
			model.last[e.id] = f.Batch
			if says {
				e.said[room]++
				model.seq[room]++
			}
			for _, c := range moves {
				model.owner[c.Move.Shard] = to.id
				model.epoch[c.Move.Shard]++
			}
		}
		leave := func(*rapid.T) {
			e := any()
			if _, err := plain.db.ExecContext(testContext(t), sqlLeave, e.id); err != nil {
				r.Fatal(err)
			}
			for i, owner := range model.owner {
				if owner == e.id && !model.gone[e.id] {
					model.owner[i] = 0
					model.epoch[i]++
				}
			}
			model.gone[e.id] = true
		}
		check := func(*rapid.T) {
			v, err := engines[0].s.lease.(*member).read(testContext(t), &listener{})
			if err != nil {
				r.Fatal(err)
			}
			model.beats[engines[0].id]++
			for _, shard := range v.shards {
				if model.owner[shard.shard] != shard.engine || model.epoch[shard.shard] != shard.epoch {
					r.Fatalf("shard %+v, want %d %d", shard, model.owner[shard.shard], model.epoch[shard.shard])
				}
			}
			for room := range rooms {
				want := make([]uint64, 0, model.seq[room])
				for seq := range model.seq[room] {
					want = append(want, seq+1)
				}
				if got := seqs(t, plain, int64(room+1)); !slices.Equal(got, want) {
					r.Fatalf("room %d has %v, want %v", room, got, want)
				}
			}
		}
		r.Repeat(map[string]func(*rapid.T){"start": start, "look": look, "take": take, "say": say,
			"move": move, "leave": leave,
			"": check})
	})
}
