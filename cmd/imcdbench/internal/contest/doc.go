// Package contest lets Kamailio's imc module, imcd and a bare loop in Kamailio's
// script deliver the same messages to the same members on the same machine, in
// turns, and compares what they did.
//
// All have the same Kamailio configuration around them (kamailio-cfg/bench.cfg),
// the same number of SIP workers, as much shared memory and the same log level,
// and a Kamailio of their own; imcd has a PostgreSQL of its own, too, which waits
// for the disk. Everything is started once and stays, so that an idle contestant
// costs the one that is measured next to nothing.
//
// A room of 100 members is one sender and 100 who get what it writes. In the
// documented set-up everything goes through Kamailio once more, which looks up
// where the member is registered; in the straight one it goes to the sink at once.
package contest
