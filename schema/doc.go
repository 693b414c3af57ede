// Package schema keeps imcd's rooms, members and messages in a database:
// PostgreSQL, or SQLite as the embedded default. It is the engine's Store.
//
// The tables of rooms and members are those of Kamailio's imc module, as its own
// imc-create.sql makes them. Where they exist they are taken over in place, and
// the module can take them back (HandBack). Data that the module does not know is in
// tables of our own, prefixed imcd_.
//
// One body of SQL serves both databases. A list of rows goes to the database as
// parameters of one statement, so a commit of a thousand changes is as many
// statements as a commit of one; how such a list becomes rows is one of the few
// things that a dialect says.
//
// # What stays in the tables but is not a room or member
//
// Load leaves out rows that are marked deleted, members without a room, and rooms or
// members that differ from an older row by case only. They stay in the database. They must
// not come to life when a room of that name is made again, or when the older row is
// deleted: Load remembers them, and Commit deletes them then.
//
// # Order of rows
//
// The module takes the first member that the database happens to return for the
// owner. PostgreSQL returns rows in the order in which they lie in the table,
// which changes with updates and vacuuming. imcd does not care, and reads from the
// flags who may do what. So the order is made once, by HandBack, before the module
// gets the tables back.
//
// # Several imcd
//
// SQLite is for one imcd: a Store that is opened with a Lease locks a file as long as the process
// lives.
//
// On PostgreSQL each start of an imcd is an engine, with a number of its own, and all of them are a
// fleet. Rooms are divided into shards by their names, and imcd_shards says which engine owns each. One
// engine owns all of them, unless some were moved, and the others are spares (Store.Own). Two rules are
// enough for that, and no clock is needed:
//
//   - every commit changes the row of its engine in imcd_fences, and only if that is not gone, and
//     finds that the shards that it is about still belong to the engine (fence.go);
//   - a shard changes its owner only in a commit of the owner (move.go), or where the owner is gone, or
//     there is none.
//
// Whoever sets gone waits for a commit under way, which has locked the row, and the former owner can
// commit nothing after that, whatever has frozen it. There are no session locks, which a pooler in
// transaction mode loses. Time decides only when somebody tries: engines change their rows in imcd_engines
// all the time, and one whose row is seen not to change, or whose process is seen to have ended, is
// deposed (fleet_judge.go).
//
// Commits are numbered, and the row in imcd_fences has the number of the last one: so an engine can ask
// what became of a commit whose answer was lost, and repeats it without doing it twice.
//
// What one engine has to say to others is in imcd_bus for some seconds. All read it with their beats: there is
// no LISTEN, which poolers in transaction mode lose (bus.go).
//
// imcd_lease is for an imcd that knows no fleet. It keeps the database from others as long as it lives, and
// cannot be started again once the tables of the fleet are there.
//
// # Messages
//
// A room has an id of its own in imcd_rooms as long as it lives: its messages
// and cursors go by that, and a room that is destroyed and made again shares
// nothing with the one before. A room that the module made has none before its
// first PutRoom with an id. The row of a room in imcd_rooms also has the totals that Prune
// needs, so that Prune reads messages only where some are over a limit. It is the lock of
// everything that belongs to the room: a transaction that changes several tables begins
// with it. The row is deleted when the room is destroyed, and its id is in imcd_destroyed
// until Prune has deleted the room's messages and cursors, in steps.
//
// imcd_rooms has the names of rooms, not of Kamailio's tables: one database has one set of
// rooms. Load deletes rows of rooms that are not in rooms_table, unless these are the
// majority.
package schema
