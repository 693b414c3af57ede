// Package phones lets user agents that others wrote chat with each other: linphonec,
// baresip, JsSIP and SIP.js, over UDP, TCP, TLS and WebSocket, through the stock
// configuration of Kamailio with passwords, and imcd on SQLite and on PostgreSQL.
package phones
