package store

// Several imcd may share one database. Each start of one is an engine of its own, and rooms belong to
// shards, each of which one engine owns. A fence is what a commit has to prove to be carried out, in the
// same transaction: so an engine that was frozen, or cut off from the database, can write nothing once
// another one has taken over.

// Fence says in whose name a commit is carried out. The zero Fence proves nothing: the Store has one
// engine only, or it belongs to a tool.
type Fence struct {
	// Batch counts the commits of an engine, from 1. A commit is carried out only if its number is above
	// those of all earlier ones, so one that is repeated is carried out once.
	Batch uint64
	// Owned are the shards that the commit is about. All of them must still belong to the engine.
	Owned Owned
}

// Owned are shards of an engine. They are shared, and never changed.
type Owned struct {
	Shards []int64 // sorted
	Epochs []int64 // of each: counts its changes of owner, up to the one that gave it to the engine
}

// Move gives a shard to another engine. Its epoch counts one more then.
type Move struct {
	Shard int64
	To    int64 // the engine
}

// Fleet is what an engine has been given. The zero Fleet is that of an engine that is alone by the nature
// of its Store: it owns everything, and commits without a fence.
type Fleet struct {
	Shards int // of all engines together, a power of two; a room's shard is Hash & (Shards-1)
	Owned  Owned
}
