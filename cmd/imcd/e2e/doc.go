// Package e2e tests the whole system from outside: SIP user agents speak to a
// real Kamailio, behind it the real imcd, on SQLite and on PostgreSQL.
package e2e
