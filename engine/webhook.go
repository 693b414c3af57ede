package engine

import (
	"encoding/json"
	"errors"
	"slices"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"imcd/engine/store"
)

// Events for a webhook are stored in the commit of what they are about (store.PutEvent), so that none is lost;
// package webhook sends them. Nothing here waits for the receiver.

// Words of webhook_events.
var webhookWords = []struct {
	word  string
	kinds EventKind
}{
	{"missed", EventMissed}, {"message", EventMessage}, {"join", EventJoin}, {"leave", EventLeave}, {"role", EventRole},
	{"act", EventAct}, {"failure", EventFailure}, {"room", EventCreated | EventDestroyed},
}

// ParseWebhookEvent returns the kinds of events that a word of webhook_events means; false: there is no such word.
func ParseWebhookEvent(word string) (EventKind, bool) {
	for _, w := range webhookWords {
		if w.word == word {
			return w.kinds, true
		}
	}
	return 0, false
}

// WebhookWords lists the words of webhook_events.
func WebhookWords() []string {
	var all []string
	for _, w := range webhookWords {
		all = append(all, w.word)
	}
	return all
}

// webhook says which events are stored.
type webhook struct {
	kinds   atomic.Uint32 // EventKind; 0: none
	bodies  bool
	quiet   time.Duration
	stored  chan struct{} // capacity 1: there are new ones
	dropped prometheus.Counter
}

func newWebhook(cfg *Config, dropped prometheus.Counter) *webhook {
	w := &webhook{bodies: cfg.WebhookBodies, quiet: cfg.WebhookQuiet, stored: make(chan struct{}, 1), dropped: dropped}
	w.kinds.Store(uint32(cfg.WebhookEvents))
	return w
}

// StopWebhook ends the storing of events: nobody wants them any more.
func (e *Engine) StopWebhook() { e.webhook.kinds.Store(0) }

// WebhookEvents receives when events were stored.
func (e *Engine) WebhookEvents() <-chan struct{} { return e.webhook.stored }

func (w *webhook) wants(k EventKind) bool { return EventKind(w.kinds.Load())&k != 0 }

// signal says that there are new events.
func (w *webhook) signal() {
	select {
	case w.stored <- struct{}{}:
	default:
	}
}

// put is the change that stores ev. room is the RoomRow.ID if ev has the number of a message.
func (w *webhook) put(ev *Event, room int64) store.Change {
	row := &store.EventRow{Room: ev.Room, At: ev.Time, Event: ev.Info(w.bodies).encode()}
	if ev.Kind == EventMissed {
		row.RoomID, row.Seq = room, ev.Seq
	}
	return store.Change{Op: store.PutEvent, Event: row}
}

func (i EventInfo) encode() []byte {
	b, err := json.Marshal(i)
	if err != nil { // only a time outside of the years 0 to 9999 cannot be marshalled
		return []byte(`{}`)
	}
	return b
}

// raise gives ev to listeners and to the webhook, once this call is durable.
func (c *call) raise(ev *Event) {
	e := c.shard.engine
	if e.events.wants(ev.Kind) {
		c.events = append(c.events, ev)
	}
	if e.webhook.wants(ev.Kind) {
		c.changes = append(c.changes, e.webhook.put(ev, c.room.id))
	}
}

// wants reports whether anybody has to learn of events of a kind.
func (e *Engine) wants(k EventKind) bool { return e.events.wants(k) || e.webhook.wants(k) }

// hasEvent reports whether changes are known to the webhook.
func hasEvent(changes []store.Change) bool {
	return slices.ContainsFunc(changes, func(c store.Change) bool { return c.Op == store.PutEvent })
}

const (
	// maxRaised bounds the events of a shard that wait to be stored while the database is away; more are dropped.
	maxRaised = 10000
	// raisedAtOnce is how many of them one commit takes: others wait for it.
	raisedAtOnce = 200
)

// raise stores ev for the webhook, a moment later.
func (d *delivery) raise(ev *Event, r *room) {
	if len(d.raised) >= maxRaised {
		d.engine.webhook.dropped.Inc()
		return
	}
	d.raised = append(d.raised, d.engine.webhook.put(ev, r.id))
}

// storeRaised stores the next of the raised events. If the database is away it is called again after the next tick.
func (d *delivery) storeRaised() {
	if len(d.raised) == 0 || d.raising > 0 || d.raiseLater {
		return
	}
	if d.raising = min(len(d.raised), raisedAtOnce); d.ending {
		d.raising = len(d.raised)
	}
	d.owner.store(slices.Clone(d.raised[:d.raising]), true, func(err error) {
		n := d.raising
		d.raising = 0
		refused := new(refusedChanges)
		switch {
		case err == nil:
		case errors.As(err, &refused):
			d.engine.webhook.dropped.Add(float64(len(refused.changes)))
		case errors.Is(err, store.ErrUnavailable):
			d.raiseLater = true
			return
		default:
			d.engine.webhook.dropped.Add(float64(n))
		}
		d.engine.webhook.signal()
		d.raised = slices.Delete(d.raised, 0, n)
	})
}

// unreachable reports whether m has no device that answers.
func (m *member) unreachable() bool {
	return m.wait != nil && (m.wait.why == offline || m.wait.why == gone || m.wait.why == silent)
}

// sayMissed says that m has something to get, if it was not said a moment ago.
func (d *delivery) sayMissed(r *room, m *member) {
	if !m.unreachable() || !d.engine.webhook.wants(EventMissed) || d.pushed[m] || r.lag(m) == 0 {
		return
	}
	if d.pushed == nil {
		d.pushed = make(map[*member]bool)
	}
	d.pushed[m] = true
	d.pushes = append(d.pushes, push{r, m, d.now, r.last})
	d.raise(&Event{Kind: EventMissed, Time: d.now, Room: r.name, User: m.name(), Title: r.title(), Seq: r.last,
		Count: r.lag(m), Code: m.last.code()}, r)
}

// missedBy says that members of r who are away have something to get: there is a new message.
func (d *delivery) missedBy(r *room, author string) {
	if !d.engine.webhook.wants(EventMissed) {
		return
	}
	for _, m := range r.order {
		if m.key != author {
			d.sayMissed(r, m)
		}
	}
}

// missedAgain looks again at members who were said to have missed something webhook_quiet ago.
func (d *delivery) missedAgain() {
	for len(d.pushes) > 0 && d.now.Sub(d.pushes[0].at) >= d.engine.webhook.quiet {
		p := d.pushes[0]
		d.pushes = d.pushes[1:]
		delete(d.pushed, p.member)
		if p.member.live && p.room.last > p.seq {
			d.sayMissed(p.room, p.member)
		}
	}
}
