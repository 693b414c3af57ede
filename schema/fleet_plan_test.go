package schema

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"imcd/engine/store"
)

// sharer is an engine that wants its part.
func sharer(id int64, wants ...int64) planEngine {
	return planEngine{id: id, plans: true, ready: true, wants: wants}
}

// with is e with a change.
func with(e planEngine, change func(e *planEngine)) planEngine {
	change(&e)
	return e
}

// planOf gives so many shards to each engine: to nobody, to engine 1, and so on.
func planOf(engines []planEngine, counts ...int) *plan {
	p := &plan{engines: engines}
	for engine, n := range counts {
		for range n {
			p.shards = append(p.shards, shardRow{shard: int64(len(p.shards)), engine: int64(engine), epoch: 1})
		}
	}
	return p
}

// moved are moves of shards to engines, in turn.
func moved(shardsAndEngines ...int64) (moves []store.Move) {
	for pair := range slices.Chunk(shardsAndEngines, 2) {
		moves = append(moves, store.Move{Shard: pair[0], To: pair[1]})
	}
	return moves
}

// TestPlan: what each engine does next.
func TestPlan(t *testing.T) {
	spare := with(sharer(1), func(e *planEngine) { e.spare = true })
	other := with(sharer(2), func(e *planEngine) { e.spare = true })
	unready := with(sharer(1), func(e *planEngine) { e.ready = false })
	leaves := with(sharer(1), func(e *planEngine) { e.leaves = true })
	older := with(sharer(1), func(e *planEngine) { e.plans = false })
	oldest := with(older, func(e *planEngine) { e.alone = true })
	asked := []planEngine{sharer(1), sharer(2, 2, 3)}
	apart := []planEngine{sharer(1), with(sharer(2, 0), func(e *planEngine) { e.place = "elsewhere" })}
	two, three := []planEngine{sharer(1), sharer(2)}, []planEngine{sharer(1), sharer(2), sharer(3)}
	for what, c := range map[string]struct {
		p     *plan
		me    int64
		takes int
		asks  []int64
		gives []store.Move
	}{
		"alone":                   {planOf(two[:1], 64), 1, 64, nil, nil},
		"one of two takes a part": {planOf(two, 64), 1, takeMost, nil, nil},
		"and not more than that":  {planOf(two, 5, 30, 29), 1, 2, nil, nil},
		"what is left":            {planOf(two, 1, 31, 32), 1, 1, nil, nil},
		"one that has its part":   {planOf(two, 32, 32), 1, 0, nil, nil},
		"the other has all":       {planOf(two, 0, 64), 2, 0, []int64{2, 3}, nil},
		"even":                    {planOf(three, 0, 22, 21, 21), 2, 0, nil, nil},
		"as even as can be":       {planOf(three, 0, 1, 1), 3, 0, nil, nil},
		"one too few":             {planOf(three, 0, 22, 22, 20), 3, 0, []int64{4}, nil},
		"it goes on asking":       {planOf([]planEngine{sharer(1), sharer(2, 7)}, 0, 64), 2, 0, []int64{7, 2}, nil},
		"others ask for these":    {planOf(append(two[:2:2], sharer(3, 2, 3)), 0, 64), 2, 0, []int64{4, 5}, nil},
		"a shard that came":       {planOf(append(two[:1:1], sharer(2, 63)), 0, 63, 1), 2, 0, []int64{2, 3}, nil},
		"it is asked":             {planOf(asked, 0, 64), 1, 0, nil, moved(2, 2, 3, 2)},
		"it keeps its part":       {planOf(asked, 0, 33, 31), 1, 0, nil, moved(2, 2)},
		"asked without reason":    {planOf(asked, 0, 32, 31), 1, 0, nil, nil},
		"the poorer one gets it": {planOf(append(asked[:2:2], sharer(3, 2)), 0, 9, 4, 2),
			1, 0, nil, moved(2, 3, 3, 2)},
		"nobody's first":                  {planOf(two, 1, 63), 2, 1, nil, nil},
		"a spare waits":                   {planOf([]planEngine{spare, sharer(2)}, 64), 1, 0, nil, nil},
		"a spare is not counted":          {planOf([]planEngine{spare, sharer(2)}, 64), 2, 64, nil, nil},
		"a spare gives all back":          {planOf([]planEngine{spare, sharer(2, 0, 1)}, 0, 1, 1), 1, 0, nil, moved(0, 2)},
		"and is asked to":                 {planOf([]planEngine{spare, sharer(2)}, 0, 1, 63), 2, 0, []int64{0}, nil},
		"spares only: one has all":        {planOf([]planEngine{spare, other}, 64), 2, 64, nil, nil},
		"and keeps them":                  {planOf([]planEngine{spare, other}, 0, 64), 2, 0, nil, nil},
		"no Kamailio here":                {planOf([]planEngine{unready, sharer(2)}, 64), 1, 0, nil, nil},
		"no Kamailio there":               {planOf([]planEngine{unready, sharer(2)}, 0, 64), 2, 0, nil, nil},
		"no Kamailio there, nobody has":   {planOf([]planEngine{unready, sharer(2)}, 64), 2, 64, nil, nil},
		"no Kamailio anywhere":            {planOf([]planEngine{unready}, 64), 1, 64, nil, nil},
		"a spare with a Kamailio":         {planOf([]planEngine{unready, other}, 64), 2, 64, nil, nil},
		"one that ends":                   {planOf([]planEngine{leaves, sharer(2)}, 64), 1, 0, nil, nil},
		"one that ends is not counted":    {planOf([]planEngine{leaves, sharer(2)}, 64), 2, 64, nil, nil},
		"a tool":                          {planOf([]planEngine{older, sharer(2)}, 64), 1, 64, nil, nil},
		"an older imcd gives nothing":     {planOf([]planEngine{older, sharer(2)}, 0, 64), 2, 0, nil, nil},
		"the oldest can own all only":     {planOf([]planEngine{oldest, sharer(2), sharer(3)}, 64), 2, 64, nil, nil},
		"beside the oldest nothing moves": {planOf(append(asked[1:2:2], sharer(3), oldest), 0, 0, 0, 64), 3, 0, nil, nil},
		"another host takes all":          {planOf(apart, 64), 2, 64, nil, nil},
		"another host gets nothing":       {planOf(apart, 0, 64), 1, 0, nil, nil},
		"and does not ask":                {planOf(apart, 0, 64), 2, 0, nil, nil},
		"one that is gone":                {planOf(two, 64), 3, 0, nil, nil},
	} {
		if takes := c.p.take(c.me, false); takes != c.takes {
			t.Errorf("%s: it takes %d, want %d", what, takes, c.takes)
		}
		if asks := c.p.ask(c.me); !slices.Equal(asks, c.asks) {
			t.Errorf("%s: it asks for %v, want %v", what, asks, c.asks)
		}
		if gives := c.p.give(c.me); !slices.Equal(gives, c.gives) {
			t.Errorf("%s: it gives %v, want %v", what, gives, c.gives)
		}
	}
	if n := planOf(two, 5, 64).take(1, true); n != takeMost-3 {
		t.Errorf("it takes %d of those that nobody takes", n)
	}
}

// fleetOfPlans are engines that do what the plan says, by what they saw last.
type fleetOfPlans struct {
	now   *plan
	saw   map[int64]*plan   // what each engine saw last
	left  map[int64][]int64 // the engines that have given a shard away
	taken int
}

func (f *fleetOfPlans) look(id int64) {
	p := &plan{shards: slices.Clone(f.now.shards), engines: slices.Clone(f.now.engines)}
	f.saw[id] = p
}

// squares is the less the more even things are; what those have who should have nothing counts more.
func (f *fleetOfPlans) squares() (sum int) {
	heirs, _ := f.now.heirs()
	for id, n := range f.now.count() {
		if sum += n * n; !slices.Contains(heirs, id) {
			sum += n * 10000
		}
	}
	return sum
}

// act lets an engine do what the plan says.
func (f *fleetOfPlans) act(t *rapid.T, id int64) {
	p := f.saw[id]
	if p == nil {
		return
	}
	// The database gives what is nobody's now.
	for i, n := 0, p.take(id, false); i < len(f.now.shards) && n > 0; i++ {
		if s := &f.now.shards[i]; f.now.engine(s.engine) == nil {
			s.engine, s.epoch = id, s.epoch+1
			f.taken++
			n--
		}
	}
	f.now.engine(id).wants = p.ask(id)
	for _, m := range p.give(id) {
		s := &f.now.shards[m.Shard]
		if s.engine != id {
			continue // it was given away since it looked
		}
		s.engine, s.epoch = m.To, s.epoch+1
		f.left[m.Shard] = append(f.left[m.Shard], id)
	}
}

// TestPlanConverges: engines that look and act in any order, each by what it saw last, share the shards evenly, and
// then nothing moves any more. A look that is not outdated never makes things worse.
func TestPlanConverges(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 7).Draw(t, "engines")
		f := &fleetOfPlans{now: &plan{}, saw: map[int64]*plan{}, left: map[int64][]int64{}}
		for id := range int64(n) {
			f.now.engines = append(f.now.engines, with(sharer(id+1), func(e *planEngine) {
				e.spare = rapid.IntRange(0, 4).Draw(t, "spare") == 0
			}))
		}
		for i := range int64(1) << rapid.IntRange(0, 7).Draw(t, "shards") {
			owner := int64(rapid.IntRange(0, n+1).Draw(t, "owner")) // the last one is dead
			f.now.shards = append(f.now.shards, shardRow{shard: i, engine: owner})
		}
		any := func() int64 { return int64(rapid.IntRange(1, n).Draw(t, "engine")) }
		for range rapid.IntRange(0, 50).Draw(t, "steps") { // in any order, with outdated looks
			if id := any(); rapid.Bool().Draw(t, "looks") {
				f.look(id)
			} else {
				f.act(t, id)
			}
		}
		clear(f.left)
		for round := 0; ; round++ {
			before, was := f.squares(), fmt.Sprint(*f.now)
			for id := range int64(n) {
				at, taken := f.squares(), f.taken
				f.look(id + 1)
				f.act(t, id+1)
				if now := f.squares(); now > at && taken == f.taken {
					t.Fatalf("engine %d makes it less even: %d after %d", id+1, now, at)
				}
			}
			if fmt.Sprint(*f.now) == was {
				break
			}
			if round > 10*len(f.now.shards)+10 {
				t.Fatalf("it does not end: %d after %d", f.squares(), before)
			}
		}
		heirs, divide := f.now.heirs()
		owned := f.now.count()
		if owned[0] != 0 {
			t.Fatalf("%d belong to nobody", owned[0])
		}
		if !divide {
			return // whoever took them has them
		}
		var counts []int
		for _, id := range heirs {
			counts = append(counts, owned[id])
		}
		if slices.Max(counts) > slices.Min(counts)+1 {
			t.Fatalf("not even: %v", owned)
		}
		for id, n := range owned {
			if n > 0 && !slices.Contains(heirs, id) {
				t.Fatalf("engine %d keeps %d", id, n)
			}
		}
		for shard, left := range f.left {
			if slices.Contains(left, f.now.shards[shard].engine) {
				t.Fatalf("shard %d has come back to engine %d: %v", shard, f.now.shards[shard].engine, left)
			}
		}
	})
}

// TestPlanner: engines that come and go move nothing until that ends, and shards that nobody takes are taken.
func TestPlanner(t *testing.T) {
	var f planner
	at := func(after time.Duration) *view { return &view{sent: epoch.Add(after)} }
	two := planOf([]planEngine{sharer(1), sharer(2)}, 0, 64)
	three := planOf([]planEngine{sharer(1), sharer(2), sharer(3)}, 0, 64)
	for _, c := range []struct {
		after time.Duration
		p     *plan
		asks  int
	}{{0, two, 0}, {settledAfter - 1, two, 0}, {settledAfter, two, 2}, {settledAfter + 1, three, 0},
		{settledAfter + 2, two, 0}, {2*settledAfter + 1, two, 0}, {2*settledAfter + 2, two, 2}} {
		if asks := f.ask(c.p, 2, at(c.after)); len(asks) != c.asks {
			t.Errorf("after %v it asks for %v", c.after, asks)
		}
	}
	free := planOf([]planEngine{sharer(1)}, 1)
	for _, c := range []struct {
		after time.Duration
		p     *plan
		late  bool
	}{{0, free, false}, {lateAfter - 1, free, false}, {lateAfter, free, true}, {lateAfter, two, false},
		{lateAfter + 1, free, false}} {
		if late := f.late(c.p, at(c.after)); late != c.late {
			t.Errorf("after %v late is %t", c.after, late)
		}
	}
}
