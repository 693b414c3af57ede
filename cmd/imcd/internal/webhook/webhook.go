// Package webhook sends what has happened in rooms to a program of the operator: POSTs of JSON batches after
// the Standard Webhooks specification (id, timestamp, HMAC-SHA256).
//
// The engine stores events in the commit of what they are about (engine.EventInfo, imcd_events). A Sender reads
// them in order, and deletes them once the receiver has answered 2xx: each event is sent at least once, in order
// per room, whoever is restarted. Events have ids that count up, so that a receiver recognises those that come
// again. In a fleet each imcd sends those of its own rooms. No room waits for the receiver.
package webhook

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"reflect"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"imcd/engine/store"
)

// Config says where events go. The names in the comments are the keys of imcd.yaml.
type Config struct {
	URL    string        // webhook_url; empty: there is no receiver, and old events are deleted
	Secret string        // webhook_secret: base64, perhaps with whsec_ before it
	Keep   time.Duration // webhook_keep: events that could not be sent are deleted at this age
	Bodies bool          // webhook_bodies: with what was said
	Events string        // webhook_events, for the decision of a 410 only
}

// Store is what a Sender needs of the database; *schema.Store has it.
type Store interface {
	Events(ctx context.Context, part store.Part, after int64, limit int) ([]store.EventRow, error)
	Messages(ctx context.Context, room int64, after uint64, limit int) ([]store.MessageRow, error)
	DropEvents(ctx context.Context, ids []int64) error
	DropOldEvents(ctx context.Context, before time.Time) (int64, error)
	DropAllEvents(ctx context.Context) (int64, error)
	CountEvents(ctx context.Context, most int) (n int, oldest time.Time, err error)
	WebhookGone(ctx context.Context, target string) (time.Time, error)
	PutWebhookGone(ctx context.Context, target string, at time.Time) error
}

// Rooms is what a Sender needs of the engine; *engine.Engine has it.
type Rooms interface {
	WebhookEvents() <-chan struct{} // receives when events were stored
	StopWebhook()                   // no more are to be stored
}

// How long things take.
const (
	callTimeout = 5 * time.Second  // one call of the database
	postTimeout = 10 * time.Second // one POST with its answer
	retryMin    = time.Second
	retryMax    = 5 * time.Minute
	lookEvery   = 5 * time.Second // for events that nobody has announced: those of a former owner of rooms
	cleanEvery  = 15 * time.Second
)

// Sender sends events. Make one with New.
type Sender struct {
	cfg    Config
	store  Store
	rooms  Rooms
	part   func() store.Part
	sign   *standardwebhooks.Webhook // nil: there is no receiver
	client *http.Client
	log    zerolog.Logger
	metrics
	retry time.Duration // the first wait after a failure; tests shorten it

	down atomic.Int64 // Unix ms since when the receiver does not take events; 0: it does
	gone atomic.Int64 // Unix ms of its 410; 0: there was none

	cancel context.CancelFunc
	loops  sync.WaitGroup
	stop   sync.Once
}

// New makes a Sender. part says for which rooms; it may change.
func New(cfg Config, s Store, rooms Rooms, part func() store.Part, reg prometheus.Registerer, log zerolog.Logger,
) (*Sender, error) {
	w := &Sender{cfg: cfg, store: s, rooms: rooms, part: part, log: log, retry: retryMin,
		client: &http.Client{Timeout: postTimeout,
			// Another address is the operator's to write down.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}
	if cfg.URL != "" {
		var err error
		if w.sign, err = standardwebhooks.NewWebhook(cfg.Secret); err != nil {
			return nil, errors.New("webhook_secret is not base64")
		}
	}
	return w, w.metrics.register(reg, w)
}

// Start begins to send. ctx bounds the start only.
func (w *Sender) Start(ctx context.Context) error {
	if w.sign != nil {
		ctx, cancel := context.WithTimeout(ctx, callTimeout)
		defer cancel()
		at, err := w.store.WebhookGone(ctx, w.target())
		if err != nil {
			return err
		}
		if !at.IsZero() {
			w.isGone(at)
		}
	}
	run, cancel := context.WithCancel(context.Background())
	w.cancel = cancel
	w.loops.Go(func() { w.clean(run) })
	if w.sign != nil {
		w.loops.Go(func() { w.run(run) })
	}
	return nil
}

// Stop ends it, and a POST under way. It may be called twice, and before Start.
func (w *Sender) Stop() {
	w.stop.Do(func() {
		if w.cancel != nil {
			w.cancel()
			w.loops.Wait()
		}
	})
}

// Warning says what is wrong with the receiver; empty: nothing.
func (w *Sender) Warning() string {
	if at := w.gone.Load(); at > 0 {
		return "the webhook is switched off since " + clock(at) + ": its receiver answered 410"
	}
	if at := w.down.Load(); at > 0 {
		return "the webhook's receiver does not take events since " + clock(at)
	}
	return ""
}

func clock(ms int64) string { return time.UnixMilli(ms).Format("2006-01-02 15:04:05") }

// target names the receiver without showing its secrets. A 410 holds for it.
func (w *Sender) target() string {
	sum := sha256.Sum256([]byte(w.cfg.URL + "\n" + w.cfg.Secret + "\n" + w.cfg.Events))
	return hex.EncodeToString(sum[:])
}

// shown is the address of the receiver for the log.
func (w *Sender) shown() string {
	u, err := url.Parse(w.cfg.URL)
	if err != nil {
		return ""
	}
	u.RawQuery = ""
	return u.Redacted()
}

// isGone switches off: the receiver has answered 410.
func (w *Sender) isGone(at time.Time) {
	w.gone.Store(at.UnixMilli())
	w.rooms.StopWebhook()
	w.log.Error().Str("url", w.shown()).Time("since", at).
		Msg("the webhook is switched off: its receiver answered 410")
}

// run sends until ctx ends or the receiver is gone.
func (w *Sender) run(ctx context.Context) {
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	part, after := w.part(), int64(0)
	for w.gone.Load() == 0 {
		if now := w.part(); !reflect.DeepEqual(part, now) {
			part, after = now, 0 // other rooms may have older events
		}
		b, err := w.next(ctx, part, after)
		switch {
		case ctx.Err() != nil:
			return
		case err == nil && len(b.ids) > 0:
			if w.deliver(ctx, b, part) {
				after = b.ids[len(b.ids)-1]
			}
			continue
		case err != nil:
			w.log.Warn().Err(err).Msg("events for the webhook cannot be read, again in a moment")
		}
		select {
		case <-ctx.Done():
			return
		case <-w.rooms.WebhookEvents():
		case <-look.C:
			after = 0 // of what was sent and could not be deleted
		}
	}
}

// deliver sends b until the receiver takes it, and reports whether it did. It gives up if the events are too old, or
// belong to another imcd by now.
func (w *Sender) deliver(ctx context.Context, b *batch, part store.Part) bool {
	wait := w.retry
	for {
		pause, err := w.post(ctx, b)
		switch {
		case ctx.Err() != nil:
			return false
		case err == nil:
			w.up()
			w.sent.Add(float64(len(b.ids)))
			w.drop(ctx, b.ids)
			return true
		case errors.Is(err, errGone):
			w.switchOff(ctx)
			return false
		}
		w.failed(err)
		select {
		case <-ctx.Done():
			return false
		case <-time.After(max(min(pause, retryMax), wait/2+rand.N(wait/2+1))):
		}
		if time.Since(b.oldest) > w.cfg.Keep || !reflect.DeepEqual(part, w.part()) {
			return false // the next batch has the rest
		}
		wait = min(2*wait, retryMax)
	}
}

// up notes that the receiver takes events.
func (w *Sender) up() {
	if at := w.down.Swap(0); at > 0 {
		w.log.Info().Str("url", w.shown()).Time("since", time.UnixMilli(at)).Msg("the webhook's receiver takes events again")
	}
}

// failed notes that it does not.
func (w *Sender) failed(err error) {
	if w.down.CompareAndSwap(0, time.Now().UnixMilli()) {
		w.log.Warn().Err(err).Str("url", w.shown()).
			Msg("the webhook's receiver does not take events: they are kept and sent later")
	}
}

// switchOff ends all after a 410, also after the next start.
func (w *Sender) switchOff(ctx context.Context) {
	now := time.Now()
	w.isGone(now)
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	if err := w.store.PutWebhookGone(ctx, w.target(), now); err != nil {
		w.log.Warn().Err(err).Msg("that the webhook is switched off is not stored: the next imcd asks its receiver again")
	}
}

// drop deletes events that were sent. Those that stay are sent again.
func (w *Sender) drop(ctx context.Context, ids []int64) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	if err := w.store.DropEvents(ctx, ids); err != nil && ctx.Err() == nil {
		w.log.Warn().Err(err).Msg("events were sent and cannot be deleted: they may be sent again")
	}
}

// clean deletes old events, or all if nobody wants them, and counts the others.
func (w *Sender) clean(ctx context.Context) {
	ticker := time.NewTicker(cleanEvery)
	defer ticker.Stop()
	for {
		if err := w.cleanOnce(ctx); err != nil && ctx.Err() == nil {
			w.log.Debug().Err(err).Msg("events for the webhook were not cleaned up")
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

func (w *Sender) cleanOnce(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	why, drop := "old", func() (int64, error) { return w.store.DropOldEvents(ctx, time.Now().Add(-w.cfg.Keep)) }
	if w.gone.Load() > 0 {
		why, drop = "gone", func() (int64, error) { return w.store.DropAllEvents(ctx) }
	}
	n, err := drop()
	w.dropped.WithLabelValues(why).Add(float64(n))
	if err != nil {
		return err
	}
	if n > 0 {
		w.log.Warn().Int64("events", n).Str("reason", why).Msg("events for the webhook were deleted without being sent")
	}
	waiting, oldest, err := w.store.CountEvents(ctx, mostCounted)
	if err != nil {
		return fmt.Errorf("counting events: %w", err)
	}
	w.waiting.Set(float64(waiting))
	if w.oldest.Set(0); !oldest.IsZero() {
		w.oldest.Set(time.Since(oldest).Seconds())
	}
	return nil
}
