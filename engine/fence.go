package engine

import (
	"cmp"
	"slices"

	"imcd/engine/store"
)

// fencesOf gives each shard those of the fleet's shards whose rooms it may have. There are as many shards
// here as hash_size says, and as many in the fleet as the database says; each is a part of a room's hash.
// nil: the fleet is the zero Fleet.
func (e *Engine) fencesOf(fleet store.Fleet) map[*shard]store.Owned {
	if fleet.Shards == 0 {
		return nil
	}
	common := int64(min(fleet.Shards, len(e.shards)) - 1)
	fences := make(map[*shard]store.Owned, len(e.shards))
	for _, s := range e.shards {
		var of store.Owned
		for i, n := range fleet.Owned.Shards {
			if n&common == int64(s.index)&common {
				of.Shards, of.Epochs = append(of.Shards, n), append(of.Epochs, fleet.Owned.Epochs[i])
			}
		}
		fences[s] = of
	}
	return fences
}

// prove says what commits have to prove from now on.
func (c *committer) prove(fences map[*shard]store.Owned) {
	c.mu.Lock()
	c.fences = fences
	c.mu.Unlock()
}

// fence is what the next commit, of batch, has to prove.
func (c *committer) fence(batch []*call) store.Fence {
	c.mu.Lock()
	fences := c.fences
	c.mu.Unlock()
	if fences == nil {
		return store.Fence{}
	}
	c.batches++
	f := store.Fence{Batch: c.batches}
	if len(batch) == 0 {
		return f
	}
	f.Owned = fences[batch[0].shard]
	one := true
	for _, t := range batch {
		one = one && t.shard == batch[0].shard && t.proves.Shards == nil
	}
	if !one {
		f.Owned = joint(fences, batch)
	}
	return f
}

// joint joins what the calls of a batch prove.
func joint(fences map[*shard]store.Owned, batch []*call) store.Owned {
	type owned struct{ shard, epoch int64 }
	var all []owned
	done := make(map[*shard]struct{})
	for _, t := range batch {
		for i, s := range t.proves.Shards {
			all = append(all, owned{s, t.proves.Epochs[i]})
		}
		if _, is := done[t.shard]; is {
			continue
		}
		done[t.shard] = struct{}{}
		of := fences[t.shard]
		for i := range of.Shards {
			all = append(all, owned{of.Shards[i], of.Epochs[i]})
		}
	}
	slices.SortFunc(all, func(a, b owned) int { return cmp.Compare(a.shard, b.shard) })
	all = slices.Compact(all)
	joint := store.Owned{Shards: make([]int64, len(all)), Epochs: make([]int64, len(all))}
	for i, o := range all {
		joint.Shards[i], joint.Epochs[i] = o.shard, o.epoch
	}
	return joint
}
