package daemon

import (
	"context"
	"runtime/debug"
	"time"
)

const (
	// manyMembers is from how many members on the memory that loading took, and
	// that nobody needs any more, is worth a garbage collection.
	manyMembers = 10000
	countLimit  = time.Second // for counting them
)

// releaseMemory gives memory back that only loading the rooms needed. The runtime would
// do so, too, but keeps as much again as the rooms take until the heap has grown
// by that, which an idle imcd's never does. It is called last, when requests are
// served already.
func (d *Daemon) releaseMemory(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, countLimit)
	defer cancel()
	if sum, err := d.rooms.Stats(ctx); err == nil && sum.Members >= manyMembers {
		debug.FreeOSMemory()
	}
	return nil
}
