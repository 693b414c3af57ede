package evapitest

import (
	"io"
	"sync"
)

// tailSize is how much of a process's output is kept, in bytes.
const tailSize = 64 << 10

// tail keeps the end of its input and passes everything on.
type tail struct {
	next io.Writer // may be nil

	mu  sync.Mutex
	buf []byte // guarded by mu
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf = append(t.buf, p...)
	if over := len(t.buf) - tailSize; over > 0 {
		t.buf = append(t.buf[:0], t.buf[over:]...)
	}
	if t.next != nil {
		// A log that cannot be written must not stop the process.
		_, _ = t.next.Write(p)
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.buf)
}
