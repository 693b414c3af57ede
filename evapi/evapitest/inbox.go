package evapitest

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/emiago/sipgo/sip"
)

// Received is a request that a UA has received.
type Received struct {
	Method      string
	FromName    string // display name, unquoted
	From        string // URI without parameters
	To          string // URI without parameters
	CallID      string
	CSeq        uint32
	ContentType string
	Body        []byte
	At          time.Time
	Request     *sip.Request
}

func newReceived(req *sip.Request, at time.Time) Received {
	r := Received{
		Method:  string(req.Method),
		CallID:  req.CallID().Value(),
		CSeq:    req.CSeq().SeqNo,
		Body:    slices.Clone(req.Body()),
		At:      at,
		Request: req,
	}
	if h := req.From(); h != nil {
		r.FromName, r.From = unquote(h.DisplayName), h.Address.Addr()
	}
	if h := req.To(); h != nil {
		r.To = h.Address.Addr()
	}
	if h := req.ContentType(); h != nil {
		r.ContentType = h.Value()
	}
	return r
}

// Header is the value of the named header field; empty if there is none.
func (r Received) Header(name string) string {
	if h := r.Request.GetHeader(name); h != nil {
		return h.Value()
	}
	return ""
}

// Text is the body as a string.
func (r Received) Text() string { return string(r.Body) }

// inbox keeps the requests that a UA has received, in order.
type inbox struct {
	max int

	mu     sync.Mutex
	all    []Received    // guarded by mu
	next   int           // of Next; guarded by mu
	shut   bool          // guarded by mu
	change chan struct{} // closed and replaced when something changes; guarded by mu
}

func newInbox(limit int) *inbox {
	return &inbox{max: limit, change: make(chan struct{})}
}

func (b *inbox) add(r Received) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.all) >= b.max {
		return false
	}
	b.all = append(b.all, r)
	b.wake()
	return true
}

func (b *inbox) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.shut = true
	b.wake()
}

// wake ends all waits. The caller holds mu.
func (b *inbox) wake() {
	close(b.change)
	b.change = make(chan struct{})
}

// Received returns all requests that have arrived since NewUA or Clear, in order,
// retransmissions left out.
func (u *UA) Received() []Received {
	b := u.inbox
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.all)
}

// Clear forgets the requests that have arrived.
func (u *UA) Clear() {
	b := u.inbox
	b.mu.Lock()
	defer b.mu.Unlock()
	b.all, b.next = nil, 0
}

// Wait waits until pred holds for all that has arrived, and returns that. The
// error is ctx's or ErrClosed; the requests that have arrived are returned with it.
func (u *UA) Wait(ctx context.Context, pred func(all []Received) bool) ([]Received, error) {
	b := u.inbox
	for {
		b.mu.Lock()
		all, change, shut := slices.Clone(b.all), b.change, b.shut
		b.mu.Unlock()
		if pred(all) {
			return all, nil
		}
		if err := waitChange(ctx, change, shut); err != nil {
			return all, fmt.Errorf("%s waits, has %d requests: %w", u.cfg.User, len(all), err)
		}
	}
}

// WaitN waits until n requests have arrived since NewUA or Clear.
func (u *UA) WaitN(ctx context.Context, n int) ([]Received, error) {
	return u.Wait(ctx, func(all []Received) bool { return len(all) >= n })
}

// Next returns the first request that Next has not returned yet; it waits for it.
func (u *UA) Next(ctx context.Context) (Received, error) {
	b := u.inbox
	for {
		b.mu.Lock()
		if b.next < len(b.all) {
			r := b.all[b.next]
			b.next++
			b.mu.Unlock()
			return r, nil
		}
		change, shut := b.change, b.shut
		b.mu.Unlock()
		if err := waitChange(ctx, change, shut); err != nil {
			return Received{}, fmt.Errorf("%s waits for its next request: %w", u.cfg.User, err)
		}
	}
}

func waitChange(ctx context.Context, change <-chan struct{}, shut bool) error {
	if shut {
		return ErrClosed
	}
	select {
	case <-change:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
