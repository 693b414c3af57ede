// Package load makes SIP traffic and takes it in, over UDP on the loopback
// interface, at a cost per message that is small beside what is measured: no SIP
// library, messages in few pieces, many datagrams with one system call.
//
// A Sink stands for all members of all rooms: it answers 200 to every MESSAGE
// and notes which member has it. A Client stands for one sender per room. Each
// message carries a mark in its body, Call-ID and branch that names the run and
// the message, so that a Sink knows what it got whoever wrote the SIP around it.
package load
