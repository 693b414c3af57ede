//go:build unsafe_seen

package engine

// A repetition of a request is carried out as if it were another one.
const recognises = false
