// Package engine evaluates what users say to chat rooms over SIP MESSAGE: the
// command language of the imc module, the relay of messages to members, and the
// delivery of both, in order, to each recipient.
//
// # Who owns what
//
// A room belongs to the shard that its name hashes to (Hash). A shard is one
// goroutine; nothing else touches its rooms. It reads an inbox: requests, of
// which a bounded number may wait, and what must never be refused (results of
// deliveries, outcomes of commits, queries), which is bounded by what the engine
// itself has under way.
//
// State changes go from the shards to the committer, the one goroutine that
// writes to the Store. It commits what has gathered while the last commit was
// running in one transaction and hands each change back to its shard, which only
// then answers the sender and tells the members. A room with a commit under way
// sends everything after it through the same path, so that effects keep the
// order of the commands.
//
// If a commit fails, its senders are answered 503 and the rooms that it touched
// are taken from the database again before they are used.
//
// # Delivery
//
// A room has a log of what is to go to its members, a member a position in it;
// one copy per member is under way at a time, and its final SIP response moves
// the position. Command answers go through a stream per user, ahead of the logs.
// The number of copies under way is bounded for the whole engine (credits), and
// rooms take turns.
package engine
