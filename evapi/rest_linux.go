package evapi

import (
	"time"

	"golang.org/x/sys/unix"
)

// rest waits for d. Go's own timers would make a millisecond of less than one.
func rest(d time.Duration) {
	ts := unix.NsecToTimespec(int64(d))
	_ = unix.Nanosleep(&ts, nil) // a signal may end it early: no harm
}
