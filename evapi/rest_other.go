//go:build !linux

package evapi

import "time"

// rest waits for d.
func rest(d time.Duration) { time.Sleep(d) }
