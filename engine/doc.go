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
// If the database is away, the senders of a commit are answered 503 and the rooms that
// it touched are taken from the database again before they are used. If the database
// refuses what a commit has, the one change at fault is found, its sender is answered
// 500, and the requests of its room that came behind it are evaluated again (refuse.go);
// all others are committed.
//
// # Content and programs
//
// What a request holds (sipmsg.Read) decides what becomes of it: text is a command or a
// message, any other content is a message that goes on as it came, "is typing" goes once
// to members that are online (typing), a receipt moves the places of its sender
// (receipt), and nothing at all is refused. Entity headers are stored with a message.
//
// Only a person's text is answered by notices (person), and those about refused messages
// seldom (noticed). What is marked as made by a program, or has passed a room (path), is
// no command.
//
// # Delivery
//
// An accepted message gets the room's next number and is one row in the Store,
// committed before its sender is answered. Every member has a cursor, the number
// of the last message that reached it. Delivering is moving cursors: one copy per
// member is under way at a time, and its final SIP response (judge) moves the
// cursor, or puts the member off for a while (wait).
//
// Members that keep up follow the room's log, the end of the story in memory,
// where notices stand between the messages. Who does not, because it was offline,
// slow, or the engine was restarted, is behind: it gets pages from the Store until
// the log has the rest. What is in the log is therefore only there for those who
// are about to get it.
//
// Cursors are written a moment after they moved (flush): one number per room for
// all that keep up, and a row for each that does not. After a crash copies may be
// sent again, with the Call-ID that they had.
//
// Beside the cursor a member may have two more places, which only move forward, too:
// the last message that its phone took, if what came after it was given up, and the last
// one that was displayed to it, as the receipts of its client say (receipt). They are
// one row for each room, written once a second where they changed. A sender whose
// client speaks receipts gets one of each kind for a message (openReceipt); after a
// restart there are none for what was said before.
//
// A room in which more is said than can be delivered refuses messages once those
// before them arrive late (lateness).
//
// Command answers go through a stream per user, ahead of the logs. The number of
// copies under way is bounded for the whole engine (credits), and rooms take turns.
package engine
