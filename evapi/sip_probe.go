package evapi

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
)

// probeWaits are the times that each try of a probe may take.
var probeWaits = [...]time.Duration{
	20 * time.Millisecond, 100 * time.Millisecond, 300 * time.Millisecond, 500 * time.Millisecond,
}

// errNoAnswer says that a Kamailio did not answer OPTIONS.
var errNoAnswer = errors.New("no answer")

// probe asks Kamailio whether it takes copies from here: it answers an OPTIONS in a way that
// nobody else does. The first OPTIONS may overtake the frame with the port.
//
// It returns where copies go from there, and gives them the form that is needed for that.
// The error wraps errNoAnswer if there was none.
func (l *sipLink) probe(ctx context.Context, gen int64) (way string, err error) {
	want := fmt.Sprint(knownHere, gen)
	for _, wait := range probeWaits {
		try, cancel := context.WithTimeout(ctx, wait)
		reason, failed := l.probeOnce(try)
		way, ok := strings.CutPrefix(reason, want)
		if failed == nil && ok && (way == toRouting || way == toHop || way == through) {
			cancel()
			l.mu.Lock()
			defer l.mu.Unlock()
			l.way = way
			return way, nil
		}
		<-try.Done()
		cancel()
		if err = failed; err == nil {
			err = fmt.Errorf("the answer is %.64q, not %q", reason, want)
		}
		if ctx.Err() != nil {
			return "", ctx.Err()
		}
	}
	return "", fmt.Errorf("OPTIONS to %v: %w", l.target, err)
}

// probeOnce returns the reason phrase of the answer.
func (l *sipLink) probeOnce(ctx context.Context) (string, error) {
	answer, branch := make(chan string, 1), newBranch()
	l.mu.Lock()
	l.probing, l.probed = branch, answer
	options := l.format.appendOptions(nil, branch)
	l.mu.Unlock()
	if _, err := l.conn.WriteTo(options, l.target); err != nil {
		return "", fmt.Errorf("send: %w", err)
	}
	select {
	case reason := <-answer:
		return reason, nil
	case <-ctx.Done():
		return "", errNoAnswer
	}
}
