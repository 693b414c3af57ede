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
// # One imcd for one database
//
// A Store that is opened with a Lease is the only one with a lease. SQLite has a file
// that is locked as long as the process lives. PostgreSQL has a row with the number of
// this start, which its holder changes twice a second: an imcd that wants the row waits
// until it does not change any more, or the holder's process is seen to be dead. There are no session
// locks, which a pooler in transaction mode loses. Each commit reads the row and locks
// it FOR KEY SHARE: another imcd that takes the row waits for commits under way, and the
// former holder can commit nothing after that.
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
