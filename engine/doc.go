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
// all others are committed. If it is not known whether a commit was done, the committer
// carries it out again, which does so at most once, until the database says what became
// of it; senders wait for that as long as Kamailio does (uncertain.go).
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
// Command answers go through a stream per user, ahead of the logs.
//
// # Flow control
//
// A copy passes three queues. Each is short, and says to the one before it when it has
// space again.
//
//	room.ready -- turns, credits --> queue of the connection -- pace --> Kamailio's socket --> phone
//
// Turns: a room sends at most turnCopies in its turn, then the next room of its shard does;
// shards take turns with the credits. Answers to commands go ahead of all copies of
// messages, in each of these queues.
//
// The queue of a connection takes few copies (evapi.Config.QueueCopies): a small room that
// comes later waits for no more than these, and for one turn of each other. When it is
// full, the copy goes through another Kamailio; when all are, Send returns ErrFull, the shard
// waits, and Drained wakes who is first. No clock is looked at.
//
// The pace is the connection's: by SIP, no more lies in Kamailio's socket than half of what
// it holds. The kernel tells what does (gauge in evapi); where it does not, responses tell
// what Kamailio has read, or requests that it answers by itself (sipPace). In batches to
// devices, Kamailio says of each batch that it was sent.
//
// The responses of phones come to the same socket, and may come all at once. So the copies
// that were sent just now and have no answer are bounded, too (credits.burst): 256 in 6 ms.
// That makes 40,000 a second, however far phones are, and silent ones take nothing of it
// after that time. A copy to a phone that used to answer within 10 ms counts until something that
// was sent later has an answer, for 250 ms at most: when all near phones stop to answer, something
// between is stuck, and all will answer at once. Where copies come back to Kamailio out of batches or RPCs, it works more
// slowly, and nobody tells what it has read: 200 in 50 ms. It is fewer for some seconds after the kernel has
// said that datagrams did not fit. max_burst is a number instead of that, for 250 ms.
//
// What is under way is bounded by memory: max_outstanding fresh copies, or as many as
// Kamailio's shared memory has space for (evapi.Bounds). A copy is fresh for burstTime.
// After that it waits for a device, and counts no more: neither other rooms nor answers
// wait for it. It holds some hundred bytes, its member's turn in its room, and what
// Kamailio needs for its transaction, where there is one.
//
// So that this does not grow without bounds either, two things have a smaller bound, and
// who meets it steps aside until one of the same kind is answered or given up, without
// holding up its room (recipients): copies to suspects, members that did not answer the
// last one or were sent none yet, are a quarter (suspectsPart) of what may be under way;
// and those to one user are userCopies in a shard. Of the members that are tried again
// after they have failed, half may be such that did not answer (maxSilent): the other
// places are for those who come back.
//
// One copy to a member of a room is under way at a time, which keeps the order. With a
// member_window above 1 there are more (ahead): their outcomes count in the order of the
// room, so that a cursor passes nothing that has not arrived.
//
// Nobody is refused because of them: only the members that are furthest tell that a room
// is late (lateness), and a member that stepped aside tells nothing.
//
// # Memory
//
// Two memories are finite: that of imcd, and the shared memory of Kamailio.
//
// What imcd holds of what people say is counted in bytes (held), and total_log_bytes bounds
// the sum of five parts:
//
//   - requests, from the moment they are read until they are answered. Meanwhile the row
//     for the Store shares their body.
//   - what waits: messages in the rooms' logs and notices in the streams, from the moment at
//     which they are made until the last recipient has them, or they leave the log. All copies
//     of one share its text (evapi.Outgoing), which is charged with the forms it may need.
//   - what is read from the Store: pages of members that lag, shared by those at the same
//     place, and messages that somebody asks to see. It has half of the bound.
//   - what is kept: notices for users that are offline. They have a quarter, and the
//     others stay in the Store until imcd is started again.
//   - copies under way, with their places in the queues of package evapi, and the messages
//     that left the log before these had an outcome.
//
// When the sum is above the bound, a new request is answered 503 with Retry-After, and what
// members have missed waits in the Store: one page is always read, so that it never ends.
// What was accepted goes on, and each copy that arrives makes space. A request that repeats
// another gets that one's answer all the same; only an eighth above the bound nothing is
// looked at any more. A member of whom nothing is known is tried with one message; the
// page of 32 comes when it has taken that, or has registered.
//
// What grows with rooms, members and users, and not with what is said, is not in the sum:
// members, cursors, the answers that are remembered (seenTotal), names. Each has a bound in
// numbers of its own, or the configuration's; so have replies that wait to be written
// (evapi.Config.QueueFrames).
//
// Kamailio needs its shared memory for calls and registrations, and says with each pong how
// much is left. What a copy takes of it depends on its way: nothing if it goes by SIP and is
// forwarded to a next hop, or to a device that Kamailio finds (IMC_DIRECT); about 12 KB if it
// takes the routing once, and 25 KB if it leaves Kamailio and comes back, each for the 5 s
// after its end. As long as a third is left, nothing is held. Below that, copies that take
// any go at the rate at which they occupy half of what is left: it falls with what calls
// leave, and rises with it, and is never nothing as long as anything is left. Whatever the
// calls leave, copies settle at a third of it. Copies that take none are not slowed down; a
// copy that was to find a device and found none is paid for afterwards. That it has begun
// and ended is logged once each, and /readyz and the metrics say so meanwhile.
package engine
