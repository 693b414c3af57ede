// Package schema keeps imcd's rooms, members and messages in a database:
// PostgreSQL, or SQLite as the embedded default. It is the engine's Store.
//
// The tables of rooms and members are those of Kamailio's imc module, as its own
// imc-create.sql makes them. Where they exist they are taken over in place, and
// the module can take them back: it reads what this package wrote. What the
// module does not know lives in tables of our own, prefixed imcd_.
//
// One body of SQL serves both databases. A list of rows goes to the database as
// parameters of one statement, so a commit of a thousand changes is as many
// statements as a commit of one; how such a list becomes rows is one of the few
// things that a dialect says.
//
// # What stays in the tables but is not a room or member
//
// Rows that are marked deleted, members without a room, and rooms or members
// that differ from an older row by case only are left out by Load and left alone
// in the database. They must not come to life when a room of that name is made
// anew or when the row that hides them is deleted: Load remembers them, and
// Commit deletes them then.
//
// # Order of rows
//
// The module takes the first member that the database happens to return for the
// owner. PostgreSQL returns rows in the order in which they lie in the table,
// which changes with updates and vacuuming. So the members of a room are written
// again, owner first, when the store is closed, where the order got lost. It is the
// only thing that the module needs the order for; who may do what it reads from the
// flags. After a crash the order is that of the rows until an imcd, which finds it
// lost when it loads the rooms, is stopped.
//
// # One imcd for one database
//
// A Store that is opened with a Lease is the only one with a lease. SQLite has a file
// that is locked as long as the process lives. PostgreSQL has a row with the number of
// this start, which is changed twice a second: an imcd that wants it looks whether it
// changes, or whether the process is dead where that can be seen. There are no session
// locks, which a pooler in transaction mode loses. Each commit reads the row and locks
// it FOR KEY SHARE, so that whoever takes the row waits for commits that are under way,
// and none is done after that.
//
// # Messages
//
// A room has an id of its own in imcd_rooms as long as it lives: its messages
// and cursors go by that, and a room that is destroyed and made again shares
// nothing with the one before. A room that the module made has none before its
// first PutRoom with an id. The row of a room in imcd_rooms also says what Prune
// must know, so that Prune looks at messages only where some are over a limit,
// and it is the lock of everything that belongs to the room: whoever changes
// several tables begins with it. The row goes when the room is destroyed, and its id
// stands in imcd_destroyed until Prune has deleted, in steps, what it leaves.
//
// imcd_rooms goes by the room's name, not by the name of Kamailio's tables. What
// it has of rooms that are not in rooms_table is deleted by Load, unless they are
// the majority; one database is that of one set of rooms.
package schema
