//go:build race

package stack

// Race reports whether this program was built with the race detector.
const Race = true
