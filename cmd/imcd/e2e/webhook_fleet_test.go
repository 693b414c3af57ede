package e2e

import (
	"encoding/base64"
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"

	"imcd/cmd/internal/judge"
	"imcd/evapi/evapitest/kit"
)

// heardEvents is a receiver of webhooks. It takes what it gets, and cuts every fourth connection instead of an answer.
type heardEvents struct {
	server *httptest.Server

	mu     sync.Mutex
	posts  int                // guarded by mu
	events int                // guarded by mu: repeated ones, too
	rooms  map[string][]int64 // guarded by mu: numbers of messages by room, as they came first
	known  map[string]bool    // guarded by mu: ids of events
}

// hearEvents starts one. settings are further settings of each imcd; they get those of the webhook.
func hearEvents(t *testing.T, settings map[string]string) (h *heardEvents, all map[string]string) {
	t.Helper()
	h = &heardEvents{rooms: map[string][]int64{}, known: map[string]bool{}}
	h.server = httptest.NewServer(h)
	t.Cleanup(h.server.Close)
	all = maps.Clone(settings)
	all["webhook_url"], all["webhook_events"] = h.server.URL, "message"
	all["webhook_secret"] = base64.StdEncoding.EncodeToString(make([]byte, 32))
	return h, all
}

func (h *heardEvents) ServeHTTP(_ http.ResponseWriter, r *http.Request) {
	var b struct {
		Data struct {
			Events []struct {
				ID, Room string
				Seq      int64
			}
		}
	}
	if json.NewDecoder(r.Body).Decode(&b) != nil {
		return // its imcd was killed
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.posts++
	for _, ev := range b.Data.Events {
		if h.events++; !h.known[ev.ID] {
			h.known[ev.ID] = true
			h.rooms[ev.Room] = append(h.rooms[ev.Room], ev.Seq)
		}
	}
	if h.posts%4 == 0 {
		panic(http.ErrAbortHandler)
	}
}

// judge waits until each stored message has come, and wants each once by its id, and those of a room in their order.
func (h *heardEvents) judge(t *testing.T, stored []judge.Row) {
	t.Helper()
	want := make(map[string][]int64)
	for _, row := range stored {
		want[row.Room] = append(want[row.Room], row.Seq)
	}
	kit.Until(t, kit.Within(t, fleetTime), "the webhook has each message", func() bool {
		h.mu.Lock()
		defer h.mu.Unlock()
		return len(h.known) >= len(stored)
	})
	h.mu.Lock()
	defer h.mu.Unlock()
	for room, seqs := range want {
		if !slices.Equal(h.rooms[room], seqs) {
			t.Errorf("%s: the webhook has %v; stored are %v", room, h.rooms[room], seqs)
		}
	}
	t.Logf("the webhook has %d messages of %d rooms, by %d events in %d POSTs", len(stored), len(want), h.events, h.posts)
}
