// Package stack runs a whole system for demonstrations and tests: a real
// Kamailio and the real imcd, each a child process, on free ports of 127.0.0.1.
// Nothing in it needs the testing package.
package stack
