//go:build !unsafe_seen

package engine

// recognises is false only in a test that shows that messages come twice if nobody recognises repetitions of a
// request: see cmd/imcd/e2e.
const recognises = true
