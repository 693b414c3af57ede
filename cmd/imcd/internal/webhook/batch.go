package webhook

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"imcd/engine"
	"imcd/engine/store"
)

// Bounds of one POST.
const (
	batchEvents = 100
	batchBytes  = 1 << 20
	answerBytes = 4 << 10 // of an answer that are read
)

// batch is the content of one POST.
type batch struct {
	id      string // webhook-id: the same for the same events
	payload []byte
	ids     []int64 // of its events
	oldest  time.Time
}

// event is one of them as the receiver gets it.
type event struct {
	ID string `json:"id"`
	engine.EventInfo
}

// payload is the body of a POST.
type payload struct {
	Type      string    `json:"type"`
	Timestamp time.Time `json:"timestamp"` // of its last event
	Data      struct {
		Events []event `json:"events"`
	} `json:"data"`
}

// next makes a batch of the first events behind after; without ids there is none.
func (w *Sender) next(ctx context.Context, part store.Part, after int64) (*batch, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	rows, err := w.store.Events(ctx, part, after, batchEvents)
	if err != nil || len(rows) == 0 {
		return &batch{}, err
	}
	b, p, size := &batch{oldest: rows[0].At}, payload{Type: "imc.events"}, 0
	for i, row := range rows {
		if size += len(row.Event); i > 0 && size > batchBytes {
			break
		}
		ev := event{ID: strconv.FormatInt(row.ID, 10)}
		if err := json.Unmarshal(row.Event, &ev.EventInfo); err != nil {
			return nil, fmt.Errorf("event %d: %w", row.ID, err)
		}
		if err := w.complete(ctx, &ev, row); err != nil {
			return nil, err
		}
		b.ids = append(b.ids, row.ID)
		p.Data.Events = append(p.Data.Events, ev)
		p.Timestamp = row.At.UTC()
	}
	b.id = fmt.Sprintf("imc_%d_%d", b.ids[0], b.ids[len(b.ids)-1])
	b.payload, err = json.Marshal(p)
	return b, err
}

// complete adds the sender of the message that a user has missed, and what was said if that is allowed.
func (w *Sender) complete(ctx context.Context, ev *event, row store.EventRow) error {
	if row.Seq == 0 {
		return nil
	}
	found, err := w.store.Messages(ctx, row.RoomID, row.Seq-1, 1)
	if err != nil || len(found) == 0 || found[0].Seq != row.Seq || found[0].Deleted() {
		return err // it was deleted, perhaps with its room
	}
	m := found[0]
	ev.Sender, ev.Display, ev.ContentType = m.Sender.URI(), m.Display, m.ContentType
	ev.Size = len(m.Body)
	if w.cfg.Bodies {
		ev.BodyInfo = engine.ShowBody(m.Body)
	}
	return nil
}

// errGone: the receiver has answered 410.
var errGone = errors.New("410 Gone")

// post sends b once. pause is what the receiver asks for after a failure; 0: nothing.
func (w *Sender) post(ctx context.Context, b *batch) (pause time.Duration, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, w.cfg.URL, bytes.NewReader(b.payload))
	if err != nil {
		return 0, err
	}
	now := time.Now()
	signature, err := w.sign.Sign(b.id, now, b.payload)
	if err != nil {
		return 0, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "imcd")
	req.Header.Set(standardwebhooks.HeaderWebhookID, b.id)
	req.Header.Set(standardwebhooks.HeaderWebhookTimestamp, strconv.FormatInt(now.Unix(), 10))
	req.Header.Set(standardwebhooks.HeaderWebhookSignature, signature)
	res, err := w.client.Do(req)
	if err != nil {
		w.posts.WithLabelValues(noAnswer).Inc()
		return 0, err
	}
	defer res.Body.Close()
	_, _ = io.CopyN(io.Discard, res.Body, answerBytes) // so that the connection can be used again
	w.took.Observe(time.Since(now).Seconds())
	w.posts.WithLabelValues(strconv.Itoa(res.StatusCode/100) + "xx").Inc()
	switch {
	case res.StatusCode/100 == 2:
		return 0, nil
	case res.StatusCode == http.StatusGone:
		return 0, errGone
	}
	if s, err := strconv.Atoi(res.Header.Get("Retry-After")); err == nil && s > 0 {
		pause = time.Duration(min(s, int(retryMax/time.Second))) * time.Second
	}
	return pause, fmt.Errorf("its answer is %s", res.Status)
}
