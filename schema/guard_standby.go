//go:build !unsafe_standby

package schema

// confirmed is false only in a test that shows that messages are lost if nobody waits for the standby: see
// cmd/imcd/e2e.
const confirmed = true
