// Package engine runs chat rooms over SIP MESSAGE: it evaluates commands, relays what members say,
// and delivers messages and notices, in order, to each recipient.
//
// # Owners
//
// A room belongs to the shard that its name hashes to (store.Hash). A shard is one goroutine, and nothing
// else touches its rooms. It reads an inbox: requests, of which a bounded number may wait, and
// results of copies, outcomes of commits and queries, which are never refused: the engine's own
// work bounds them.
//
// A shard evaluates a request in a call: what the request changes and what is said about it. The
// committer, one goroutine, writes the changes of all shards to the Store. While one transaction is
// written, further calls wait, and the next transaction takes all of them. Only then the shard
// answers the sender and tells the members. While a room has a commit under way, all its calls take
// this path, so that effects keep the order of requests.
//
// If the database is away, the committer answers 503, and loads the rooms of the failed calls again
// before they are used. If the database refuses a change, its sender is answered 500, and the room's
// later requests are evaluated again (commit_refused.go, shard_requests.go); all others are stored.
// If it is not known whether a commit was done, the committer repeats it, which has no effect twice,
// until the database says; senders wait as long as Kamailio does (commit_uncertain.go).
//
// # Several engines
//
// Each engine of a fleet has the rooms of some of the fleet's shards, which are other shards than those
// above: hash_size belongs to an engine, the fleet's number to the database. Own loads rooms while the engine
// works, and HandOver gives them away: requests are answered, copies under way may
// arrive, and the last cursors and the change of the owner are one commit. A request for a room that is not
// here goes back to Kamailio, which gives it to the owner, or keeps it until there is one (fleet.go).
//
// # Content and programs
//
// The content of a request (sipmsg.Read) decides: text is a command or a message; other content is a
// message that is passed on unchanged; "is typing" goes once to members that are online
// (delivery_typing.go); a receipt moves the places of its sender (receipt.go); no content is refused.
// The Store keeps entity headers with a message.
//
// Only a text that a person wrote is answered by notices, and notices about refused messages are
// rare (noticed). A request that a program made, or that has passed another room (path), is never a
// command.
//
// # Delivery
//
// An accepted message gets the room's next number and is one row in the Store, which is committed
// before the sender is answered. Every member has a cursor: the number of the last message that
// reached it. One copy for a member is under way at a time. Its final SIP response (judge) moves the
// cursor, or lets the member wait (wait).
//
// Members that keep up follow the room's log, an in-memory tail of the room's messages, with notices
// between them. Members that lag get pages from the Store until the log has the rest. An entry stays
// in the log only until all followers have it.
//
// Cursors are written a moment after they moved (flush): one number per room for all members that
// keep up, and a row for each one that lags. After a crash copies may be sent again, with the same
// Call-ID.
//
// Registrations tell of the devices of users (reports), one row for each. A user with one device gets one copy; with
// several, one copy for each, under way together (fork), and the cursor moves when one device has answered 2xx. One
// that has failed is owed the message: the cursor is not written before that is (written). It gets nothing more until
// it comes back, by a registration or by a try from time to time. If Kamailio cannot address a device of the user
// alone, one copy is for all. A device that was gone, and comes back, is owed what the cursor of
// the user has passed meanwhile: workers (comebacks) find out from which message on in each room, and the shards
// send it to that device alone (backlog), with the same Call-IDs. How far that has come is noted once a second.
//
// A member may have two more places: the last message that its phone took, if later ones were given
// up, and the last message that was displayed, as receipts say. A room has one row for them, which is
// written once a second. A sender whose client uses receipts gets one of each kind for a message
// (openReceipt), except for messages from before a restart.
//
// A room in which people say more than imcd can deliver refuses messages once earlier ones arrive
// isLate (lateness).
//
// Answers to commands and notices to one user have a queue per user (stream), ahead of the logs.
//
// # Group chats
//
// Clients like Linphone know rooms as group chats. Their requests (Request) become the commands that mean the same.
// What has changed in a room is found by a comparison with what its devices heard last (groups): they are invited, get
// a NOTIFY with the difference or the whole state, or a BYE. A device that was not reached is tried again when it
// registers, or sends the list of its rooms. Copies for a user with such a device go to its devices one by one
// (sendTo), messages in CPIM, and count as tries of one copy.
//
// # Flow control
//
// A copy passes three queues. Each is short, and wakes the one before it when it has space again.
//
//	room.ready -- turns, credits --> queue of the connection -- pace --> Kamailio's socket --> phone
//
// Turns: a room sends at most turnCopies, then the next room of its shard does; shards take turns
// with the credits. Answers to commands go ahead of copies of messages in each queue, and so do copies for
// small rooms (smallRoom), as long as other rooms have as many turns. While small rooms speak, large ones
// have a part of the burst (sharedPart): their copies are what the others wait for in Kamailio's socket.
//
// The queue of a connection takes few copies (evapi.Config.QueueCopies), so a small room waits for
// these and for one turn of each other room. When it is full, the copy goes through another Kamailio.
// When all are full, Send returns ErrFull, the shard waits, and Drained wakes the first shard.
//
// The connection sets the pace. By SIP, copies fill at most half of Kamailio's socket. The kernel
// reports the fill level (gauge in evapi); without it, responses show what Kamailio has read
// (evapi/sip_flow.go). In batches to devices, Kamailio reports each batch that it has sent.
//
// Responses of phones come to the same socket and may come all at once. So copies that were sent just
// now and have no answer are bounded, too (credits.burst): 200 in 5 ms, which allows 40,000 a second
// at any distance; silent phones use nothing of it after that time. A copy to a phone that is near, as
// its best answers tell (lastResult), counts until a later copy has an answer, for 250 ms at most: when
// all near phones stop to answer, something between is stuck, and all will answer at once. That ends
// when most answers say that phones are far (allFar). Where copies come back to Kamailio out of batches
// or RPCs, it is 40 in 10 ms. It is fewer for some seconds after the kernel has dropped datagrams.
// max_burst replaces it by a number for 250 ms.
//
// Memory bounds the copies under way: at most max_outstanding fresh ones, or as many as Kamailio's
// shared memory has space for (evapi.Bounds). A copy is fresh for burstTime. After that it waits for a
// device and does not count: neither other rooms nor answers wait for it.
//
// Two smaller bounds exist so that old copies do not grow without end. A member that meets one of
// them steps aside, without delaying its room, until a copy of the same kind has an outcome
// (recipients): copies to suspects, which are members that did not answer the last copy or got none
// yet, are a quarter (suspectsPart); copies to one user are userCopies in a shard. Of the members that
// are tried again after a failure, half may be silent ones (maxSilent).
//
// With a member_window above 1 a member has several copies under way (ahead). Their outcomes count in
// the order of the room, so that a cursor never passes a message that has not arrived. It is the same
// for a device that comes back (backlog). A user with several devices gets one message at a time
// otherwise: each of them may take it.
//
// None of these members makes a room late: only the members that are furthest do (lateness).
//
// # Memory
//
// total_log_bytes bounds the bytes of what people say that imcd holds (held), a sum of five parts:
//
//   - requests, until they are answered;
//   - messages in logs and notices in streams, until the last recipient has them or they leave the
//     log. All copies share one text (evapi.Outgoing);
//   - rows that were read from the Store: pages, which members at the same place share, and messages
//     that somebody asks to see. They have half of the bound;
//   - notices that are kept for users that are offline. They have a quarter; more of them stay in the
//     Store until imcd is started again;
//   - copies under way, with their places in queues of package evapi, and messages that left the log
//     while copies of them were under way.
//
// Above the bound, new requests are answered 503 with Retry-After, and pages wait in the Store; one
// page is always read. Accepted messages are delivered, and each copy that arrives frees memory. A
// repeated request still gets its answer, up to an eighth above the bound. A member of which nothing
// is known is tried with one message; it gets a page of 32 after that, or once it has registered.
//
// Members, cursors, remembered answers (seenTotal) and names grow with rooms and users. They are not
// in the sum; each has a bound in numbers, or the configuration has.
//
// Kamailio needs its shared memory for calls and registrations, and reports the free part with each
// pong. A copy takes nothing of it if it goes by SIP and is forwarded to a next hop, or to a device
// that Kamailio finds (IMC_DIRECT); about 12 KB if it passes the routing once, and 25 KB if it leaves
// Kamailio and comes back, each for 5 s after its end. While a third is free, no copy waits. Below
// that, copies that take memory go at the rate at which they occupy half of the free part. Copies
// that take none are not slowed down; a copy that found no device is charged afterwards. The log says
// once that this has begun, and once that it has ended; meanwhile /readyz and the metrics show it.
package engine
