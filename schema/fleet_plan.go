package schema

import (
	"cmp"
	"slices"

	"imcd/engine/store"
)

// Engines share the shards by themselves. Each computes from the same rows what it does next: whether it takes shards
// of nobody, for which others it asks (holder.Wants), and which of its own it gives to those who ask. Nobody leads.

const (
	// takeMost is how many shards of nobody an engine takes at a time, so that others get theirs, and the first
	// rooms answer before all are loaded.
	takeMost = 8
	// maxWants bounds the shards for which an engine asks at a time.
	maxWants = 2
)

// plan is the fleet as the decision sees it.
type plan struct {
	shards  []shardRow   // by number
	engines []planEngine // those that are not taken for dead, by id
}

// planEngine is an engine in a plan.
type planEngine struct {
	id     int64
	plans  bool    // it follows a plan, as tools and older imcd do not
	alone  bool    // it can own all shards only: a still older imcd, or one with an older Kamailio
	place  string  // a request that came to an engine can go to those of the same place
	ready  bool    // it is connected to a Kamailio
	spare  bool    // it wants shards only if nobody else does
	leaves bool    // it ends, or shows no sign of life at the moment
	wants  []int64 // the shards for which it asks
}

// rank says how much better it is if others than e get shards; 0: it is best.
func (e *planEngine) rank() (r int) {
	if !e.ready { // nobody can send anything there
		r += 2
	}
	if e.spare {
		r++
	}
	return r
}

// heirs are the engines to which shards go. divide: each gets its part; else one has all, and the others wait.
func (p *plan) heirs() (ids []int64, divide bool) {
	best, alone, place := 0, false, ""
	for _, e := range p.engines {
		alone = alone || e.alone
		switch r := e.rank(); {
		case !e.plans || e.leaves:
		case len(ids) == 0 || r < best:
			ids, best, place = []int64{e.id}, r, e.place
			divide = true
		case r == best:
			ids = append(ids, e.id)
			divide = divide && e.place == place
		}
	}
	return ids, divide && !alone && best&1 == 0
}

// engine returns an engine of the plan; nil: it is dead, or gone.
func (p *plan) engine(id int64) *planEngine {
	i := slices.IndexFunc(p.engines, func(e planEngine) bool { return e.id == id })
	if i < 0 {
		return nil
	}
	return &p.engines[i]
}

// count returns how many shards each engine has; that of 0 are those of nobody who lives.
func (p *plan) count() map[int64]int {
	owned := make(map[int64]int)
	for _, s := range p.shards {
		if p.engine(s.engine) == nil {
			s.engine = 0
		}
		owned[s.engine]++
	}
	return owned
}

// target is how many shards each of n heirs has at most.
func (p *plan) target(n int, divide bool) int {
	if !divide || n == 0 {
		return len(p.shards)
	}
	return (len(p.shards) + n - 1) / n
}

// take returns how many shards of nobody the engine me may take now. late: they have been nobody's for some time, so
// those who should take them do not.
func (p *plan) take(me int64, late bool) int {
	self := p.engine(me)
	if self == nil {
		return 0
	}
	if !self.plans {
		return len(p.shards)
	}
	heirs, divide := p.heirs()
	target, owned := p.target(len(heirs), divide), p.count()
	switch is := slices.Contains(heirs, me); {
	case late && !self.leaves:
		target = len(p.shards)
	case !is:
		return 0
	}
	most := max(0, min(target-owned[me], owned[0]))
	if len(heirs) > 1 && divide {
		most = min(most, takeMost)
	}
	return most
}

// ask returns the shards for which the engine me asks others, once the heirs have been the same for some time. It goes
// on asking for those for which it does, as they may be on their way.
func (p *plan) ask(me int64) (wants []int64) {
	heirs, divide := p.heirs()
	place, self := slices.Index(heirs, me), p.engine(me)
	owned := p.count()
	if place < 0 || !divide || !self.ready || owned[0] > 0 {
		return nil
	}
	target := p.target(len(heirs), divide)
	taken := make(map[int64]bool) // others ask for these
	for _, e := range p.engines {
		for _, s := range e.wants {
			taken[s] = taken[s] || e.id != me
		}
	}
	left := func(id int64) int { // what an engine will have
		n := owned[id]
		for _, s := range p.shards {
			if s.engine == id && (taken[s.shard] || slices.Contains(wants, s.shard)) {
				n--
			}
		}
		return n
	}
	outside := func(e *planEngine) bool { return !slices.Contains(heirs, e.id) }
	may := func(e *planEngine, n int) bool { // ask e, which will have n shards, for one
		has := owned[me] + len(wants)
		return e != nil && e.id != me && e.plans && e.ready && n > 0 && has < target && (outside(e) || n > has+1)
	}
	for _, w := range self.wants {
		i := slices.IndexFunc(p.shards, func(s shardRow) bool { return s.shard == w })
		if i >= 0 && len(wants) < maxWants && may(p.engine(p.shards[i].engine), owned[p.shards[i].engine]) {
			wants = append(wants, w)
		}
	}
	for len(wants) < maxWants {
		var from *planEngine
		for i := range p.engines {
			e := &p.engines[i]
			if n := left(e.id); may(e, n) && (from == nil || !outside(from) && (outside(e) || n > left(from.id))) {
				from = e
			}
		}
		if from == nil {
			return wants
		}
		var free []shardRow
		for _, s := range p.shards {
			if s.engine == from.id && !taken[s.shard] && !slices.Contains(wants, s.shard) {
				free = append(free, s)
			}
		}
		// Those that have moved least, so that what an operator has moved stays; and not the same as others that
		// ask at this moment.
		slices.SortStableFunc(free, func(a, b shardRow) int { return cmp.Compare(a.epoch, b.epoch) })
		wants = append(wants, free[place*maxWants%len(free)].shard)
	}
	return wants
}

// give returns which shards the engine me gives to others that ask for them.
func (p *plan) give(me int64) (moves []store.Move) {
	heirs, divide := p.heirs()
	if self := p.engine(me); self == nil || !self.plans || !divide {
		return nil
	}
	target, owned, inside := p.target(len(heirs), divide), p.count(), slices.Contains(heirs, me)
	for _, s := range p.shards {
		if s.engine != me {
			continue
		}
		to := int64(0)
		for _, e := range p.engines {
			asks := e.id != me && e.ready && slices.Contains(heirs, e.id) && slices.Contains(e.wants, s.shard)
			// After the move nobody has reason to ask for the reverse.
			may := inside && owned[me] > owned[e.id]+1 || !inside && owned[e.id] < target
			if asks && may && (to == 0 || owned[e.id] < owned[to]) {
				to = e.id
			}
		}
		if to != 0 {
			moves = append(moves, store.Move{Shard: s.shard, To: to})
			owned[me]--
			owned[to]++
		}
	}
	return moves
}
