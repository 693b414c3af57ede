// Package judge decides whether a system of imcd, Kamailio and PostgreSQL has kept its word. Its
// evidence is the phones' own logs (Log), and the database's own tables and
// triggers (Database). imcd is not asked.
//
// There are seven counts of faults; all of them must be 0:
//
//  1. a message that was answered 2xx and is not stored exactly once;
//  2. a message that is stored more than once, whatever it was answered;
//  3. a gap in the numbers of a room's messages;
//  4. a stored message that a member does not have, or has under two Call-IDs, or a copy of a
//     message that is not stored;
//  5. a message whose first copy reached a member after that of a later one;
//  6. a row that was written by an engine that did not own the room's shard just then, and an
//     epoch of a shard that fell;
//  7. an entry that is left over in a table of requests or announcements.
//
// Phones must say each text once, and repeat a request only with the same Call-ID and CSeq.
package judge
