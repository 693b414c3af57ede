package stack

import (
	"bytes"
	"io"
	"sync"
)

// outputMax bounds the output of a program that is kept, in bytes.
const outputMax = 64 << 10

// output keeps the end of a program's output and notices when the program crashes.
type output struct {
	next io.Writer // gets everything as well; may be nil

	mu    sync.Mutex
	tail  []byte // guarded by mu
	crash string // first line of a panic or data race; guarded by mu
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, word := range []string{"WARNING: DATA RACE", "panic: ", "fatal error: "} {
		if o.crash == "" && bytes.Contains(p, []byte(word)) {
			o.crash = word
		}
	}
	if o.crash == "" || len(o.tail) < outputMax { // a crash's beginning tells most
		o.tail = append(o.tail, p...)
		if over := len(o.tail) - outputMax; over > 0 && o.crash == "" {
			o.tail = append(o.tail[:0], o.tail[over:]...)
		}
	}
	if o.next != nil {
		return o.next.Write(p)
	}
	return len(p), nil
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return string(o.tail)
}

func (o *output) crashed() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.crash
}
