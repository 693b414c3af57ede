package live

import (
	"context"
	"encoding/json"
	"sync"
	"time"

	"imcd/engine"
	"imcd/evapi/jsonrpc"
)

// The last minutes are kept, so that who opens the console after an incident sees it.
const (
	recentEvery = 5 * time.Second
	recentFor   = 15 * time.Minute
	// recentEvents bounds the events that are kept; recentQueue and recentBytes those that wait to be.
	recentEvents = 500
	recentQueue  = 4096
	recentBytes  = 1 << 20

	recentSamples = int(recentFor / recentEvery)
)

// recentKinds are the events that are kept: messages are not.
const recentKinds = engine.AllEvents &^ engine.EventMessage

// Recent keeps the last minutes of a Board.
type Recent struct {
	board  *Board
	source Source

	mu      sync.Mutex
	samples []*snapshot        // by mu; oldest first
	events  []engine.EventInfo // by mu; likewise

	cancel context.CancelFunc
	loops  sync.WaitGroup
}

// NewRecent makes a Recent; source is where events come from.
func NewRecent(b *Board, source Source) *Recent { return &Recent{board: b, source: source} }

// Start begins to keep: all that happens after it has returned is kept.
func (r *Recent) Start() {
	ctx, cancel := context.WithCancel(context.Background())
	r.cancel = cancel
	r.loops.Go(func() { r.sample(ctx) })
	first := r.listener()
	r.loops.Go(func() {
		for l := first; ctx.Err() == nil; l = r.listener() {
			r.listen(ctx, l)
		}
	})
}

// Stop ends it.
func (r *Recent) Stop() {
	r.cancel()
	r.loops.Wait()
}

func (r *Recent) sample(ctx context.Context) {
	ticker := time.NewTicker(recentEvery)
	defer ticker.Stop()
	for {
		if s, err := r.board.measures(); err == nil {
			r.keep(s)
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

func (r *Recent) keep(s *snapshot) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.samples = append(r.samples, s)
	if n := len(r.samples) - recentSamples; n > 0 {
		r.samples = r.samples[n:]
	}
}

// listener makes a listener that gets events from now on.
func (r *Recent) listener() *engine.Listener {
	l := r.source.NewListener(recentQueue, recentBytes)
	l.Listen(recentKinds)
	return l
}

// listen keeps the events of l until ctx ends, or some were lost because there were too many.
func (r *Recent) listen(ctx context.Context, l *engine.Listener) {
	defer l.Listen(0)
	for {
		select {
		case <-ctx.Done():
			return
		case <-l.Lost():
			return
		case ev := <-l.Events():
			l.Took(ev)
			r.mu.Lock()
			r.events = append(r.events, ev.Info(false))
			if n := len(r.events) - recentEvents; n > 0 {
				r.events = r.events[n:]
			}
			r.mu.Unlock()
		}
	}
}

// recent is the result of imc.recent.
type recent struct {
	Samples []*snapshot        `json:"samples"` // oldest first
	Events  []engine.EventInfo `json:"events"`  // likewise, not older than the samples can be
}

// Methods are imc.recent.
func (r *Recent) Methods() map[string]jsonrpc.Method {
	return map[string]jsonrpc.Method{"imc.recent": func(_ context.Context, params json.RawMessage) (any, error) {
		if err := decode(params, &struct{}{}); err != nil {
			return nil, err
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		all := recent{Samples: append([]*snapshot{}, r.samples...), Events: []engine.EventInfo{}}
		for _, ev := range r.events {
			if time.Since(ev.Time) < recentFor {
				all.Events = append(all.Events, ev)
			}
		}
		return all, nil
	}}
}
