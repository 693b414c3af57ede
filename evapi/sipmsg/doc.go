// Package sipmsg reads the content of SIP MESSAGE requests: what kind of content it
// is, what stands in a CPIM wrapper (RFC 3862), in an is-composing document (RFC 3994)
// or in a receipt (RFC 5438), and what text it is, whatever its encoding and charset.
//
// All functions are pure. Their input comes from any SIP client: nothing panics, the
// memory that is used has a bound, and what cannot be read is an error or goes on
// as it came.
package sipmsg
