package main

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"

	"imcd/cmd/imcd/imcdtest"
)

// TestTimeSlice: all threads of imcd have its time slice, if they may.
func TestTimeSlice(t *testing.T) {
	granted := make(chan uint64)
	go func() {
		runtime.LockOSThread() // for good: the thread ends with this goroutine
		if _, err := takeShortSlice(0); err != nil && !errors.Is(err, unix.EPERM) {
			t.Error(err)
		}
		attr, err := unix.SchedGetAttr(0, 0)
		if err != nil {
			t.Error(err)
			attr = &unix.SchedAttr{}
		}
		granted <- attr.Runtime
	}()
	want := <-granted
	i := startImcd(t, imcdtest.Options{Evapi: "127.0.0.1:1", Secret: "x"})
	threads, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", i.Pid()))
	if err != nil {
		t.Fatal(err)
	}
	for _, thread := range threads {
		tid, err := strconv.Atoi(thread.Name())
		if err != nil {
			t.Fatal(err)
		}
		attr, err := unix.SchedGetAttr(tid, 0)
		if err != nil {
			t.Fatal(err) // Go keeps its threads
		}
		if attr.Runtime != want {
			t.Errorf("thread %d has %d ns of %d threads, want %d", tid, attr.Runtime, len(threads), want)
		}
	}
	t.Logf("%d ns, %d threads", want, len(threads))
}
