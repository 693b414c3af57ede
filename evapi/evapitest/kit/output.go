package kit

import (
	"strings"
	"sync"
)

// Output collects what a process prints or a logger writes. The zero value is empty.
type Output struct {
	mu   sync.Mutex
	text strings.Builder // guarded by mu
}

// Write implements io.Writer.
func (o *Output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

// String is the text so far.
func (o *Output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// Count is how often part is in the text so far.
func (o *Output) Count(part string) int { return strings.Count(o.String(), part) }
