// Package evapitest is the rig on which imcd is tried: a real Kamailio on free
// ports of 127.0.0.1, and SIP user agents that speak UDP, TCP, TLS or WebSocket to it:
// good ones (UA) and bad ones (Phone). Nothing in it needs the testing package, so
// that a demonstration can use it as well.
package evapitest
