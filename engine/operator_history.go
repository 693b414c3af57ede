package engine

import (
	"context"
	"encoding/base64"
	"fmt"
	"strconv"
	"time"
	"unicode/utf8"

	"imcd/engine/store"
)

// HistoryItem is one message of a room, as RPC imc.history shows it.
type HistoryItem struct {
	Seq         uint64    `json:"seq"`
	Time        time.Time `json:"time"`
	From        string    `json:"from"`              // SIP URI; the room's own if the service said it
	Display     string    `json:"display,omitempty"` // the sender's display name
	ContentType string    `json:"content_type"`      // empty if there was none
	Body        string    `json:"body"`
	Base64      bool      `json:"base64,omitempty"` // Body is not UTF-8 and stands in base64
}

// History returns the last n messages of a room, the oldest first; n 0 means as
// many as the command history shows, and history_max is the most. ErrBadName,
// ErrNoRoom, *Refused.
func (e *Engine) History(ctx context.Context, uri string, n int) ([]HistoryItem, error) {
	if n == 0 {
		n = historyDefault
	}
	if n < 1 || n > e.cfg.HistoryMax {
		return nil, &Refused{Code: 400, Reason: fmt.Sprintf("n: must be 1 to %d (history_max), is %d", e.cfg.HistoryMax, n)}
	}
	type place struct {
		id   int64
		last uint64
	}
	at, err := ask(ctx, e, uri, func(r *room) place { return place{r.id, r.last} })
	if err != nil {
		return nil, err
	}
	type answer struct {
		rows []store.MessageRow
		err  error
	}
	answers := make(chan answer, 1)
	if e.reads.begin(operators) != nil {
		return nil, &Refused{Code: 503, Reason: "too much is being read, try again"}
	}
	e.reads.put(operators, query{room: at.id, upto: at.last, limit: n,
		answer: func(rows []store.MessageRow, err error) {
			e.held.pages.Add(-rowsSize(rows)) // an operator's from here on
			answers <- answer{rows, err}
		}})
	select {
	case a := <-answers:
		if a.err != nil {
			return nil, &Refused{Code: 503, Reason: "the database does not answer, try again"}
		}
		return historyItems(a.rows), nil
	case <-ctx.Done():
		return nil, fmt.Errorf("reading the history of a room: %w", ctx.Err())
	}
}

// DeleteMessage deletes a message of a room and informs the members that have it. ErrBadName, ErrNoRoom, *Refused:
// there is none of that number.
func (e *Engine) DeleteMessage(ctx context.Context, room string, seq int) error {
	return e.do(ctx, room, actDelete, strconv.Itoa(seq))
}

func historyItems(rows []store.MessageRow) []HistoryItem {
	items := make([]HistoryItem, 0, len(rows))
	for i := range rows {
		row := &rows[i]
		item := HistoryItem{Seq: row.Seq, Time: row.At.UTC(), From: row.Sender.URI(), Display: row.Display,
			ContentType: row.ContentType, Body: string(row.Body)}
		if !utf8.Valid(row.Body) {
			item.Body, item.Base64 = base64.StdEncoding.EncodeToString(row.Body), true
		}
		items = append(items, item)
	}
	return items
}
