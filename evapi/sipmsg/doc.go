// Package sipmsg reads SIP MESSAGE requests (ParseRequest) and their content: its kind,
// a CPIM wrapper (RFC 3862), an is-composing document (RFC 3994) or a receipt (RFC 5438),
// and text in whatever encoding and charset.
//
// All functions are pure. Their input comes from any SIP client: nothing panics, the
// memory used has a bound, and unreadable input is an error or goes on as it came.
package sipmsg
