package main

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// timeSlice is how long a thread of imcd asks to run at a time. Each step of an
	// answer takes less, and then need not wait until Kamailio or the database,
	// which have no such wish, have used up a slice of theirs: since Linux 6.12 who
	// asks for less is given a processor earlier, for as long in all as without.
	timeSlice = 100 * time.Microsecond
	// slicePasses bounds how often the list of threads is read: until each has what
	// it asked for.
	slicePasses = 10
)

// takeShortSlices asks for timeSlice for all threads of this process, and those that
// are still to come: they inherit it. It does nothing where the kernel has no such
// thing, and leaves alone what somebody has chosen to run in another way.
func takeShortSlices() error {
	for range slicePasses {
		threads, err := os.ReadDir("/proc/self/task")
		if err != nil {
			return fmt.Errorf("list imcd's threads: %w", err)
		}
		asked := false // one that had asked for nothing may have started another, and ended
		for _, thread := range threads {
			tid, err := strconv.Atoi(thread.Name())
			if err != nil {
				return fmt.Errorf("thread %q: %w", thread.Name(), err)
			}
			changed, err := takeShortSlice(tid)
			gone := errors.Is(err, unix.ESRCH)
			if err != nil && !gone {
				return fmt.Errorf("ask for a time slice of %v: %w", timeSlice, err)
			}
			asked = asked || changed || gone
		}
		if !asked {
			break
		}
	}
	return nil
}

func takeShortSlice(tid int) (changed bool, err error) {
	attr, err := unix.SchedGetAttr(tid, 0)
	// Older kernels give 0.
	if err != nil || attr.Policy != unix.SCHED_NORMAL || attr.Runtime <= uint64(timeSlice) {
		return false, err
	}
	attr.Runtime = uint64(timeSlice)
	return true, unix.SchedSetAttr(tid, attr, 0)
}
