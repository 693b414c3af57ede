package live

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"imcd/cmd/imcd/internal/relay"
	"imcd/engine"
	"imcd/evapi/jsonrpc"
)

// maxRooms bounds the rooms of one overview.
const maxRooms = 500

// overviewAge is how old an overview may be: many consoles cost as much as one.
const overviewAge = 500 * time.Millisecond

// Rooms are the methods that an overview needs; *engine.Engine has them.
type Rooms interface {
	Overview(ctx context.Context) ([]engine.RoomSummary, error)
	Stats(ctx context.Context) (engine.Stats, error)
}

// Board gathers the data of the console (imc.overview).
type Board struct {
	Rooms     Rooms
	Kamailios func() []relay.State
	Metrics   prometheus.Gatherer
	Version   string
	Started   time.Time
	Bodies    bool // events can have message bodies

	mu   sync.Mutex
	last *snapshot // guarded by mu
	at   time.Time // of last; guarded by mu
}

// snapshot is everything but the choice of rooms.
type snapshot struct {
	Version     string             `json:"version"`
	Started     time.Time          `json:"started"`
	Time        time.Time          `json:"time"`
	EventBodies bool               `json:"event_bodies"`
	Stats       engine.Stats       `json:"stats"`
	Kamailios   []relay.State      `json:"kamailios"`
	Messages    float64            `json:"messages"`   // since the start
	Deliveries  map[string]float64 `json:"deliveries"` // since the start, by result
	Requests    map[string]float64 `json:"requests"`   // since the start, by final code
	Dropped     float64            `json:"dropped"`
	Delivery    histogram          `json:"delivery_seconds"`
	Commit      histogram          `json:"commit_seconds"`

	rooms []engine.RoomSummary // by name
}

// histogram is a Prometheus histogram: how many took at most so many seconds.
type histogram struct {
	Count  uint64    `json:"count"`
	Sum    float64   `json:"sum"`
	Bounds []float64 `json:"bounds"`
	Counts []uint64  `json:"counts"` // cumulative
}

// overview is the result of imc.overview.
type overview struct {
	*snapshot
	Rooms []engine.RoomSummary `json:"rooms"`
	Found int                  `json:"found"` // rooms that match, of which Rooms are the first
}

// Methods are imc.overview.
func (b *Board) Methods() map[string]jsonrpc.Method {
	return map[string]jsonrpc.Method{"imc.overview": func(ctx context.Context, params json.RawMessage) (any, error) {
		p, order, err := readOverview(params)
		if err != nil {
			return nil, err
		}
		ctx, cancel := context.WithTimeout(ctx, sayTimeout)
		defer cancel()
		snap, err := b.look(ctx)
		if err != nil {
			return nil, err
		}
		rooms := snap.choose(p.Match, order)
		return overview{snapshot: snap, Rooms: rooms[:min(len(rooms), p.Limit)], Found: len(rooms)}, nil
	}}
}

// wanted are the parameters of imc.overview.
type wanted struct {
	Match string // part of the room's URI
	Sort  string
	Limit int
}

func readOverview(params json.RawMessage) (p wanted, order func(a, b engine.RoomSummary) int, err error) {
	p = wanted{Sort: "room", Limit: maxRooms}
	if err := decode(params, &p); err != nil {
		return p, nil, err
	}
	if order = roomOrder(p.Sort); order == nil {
		return p, nil, invalid("sort: must be room, members, backlog or sequence, is %q", clip(p.Sort))
	}
	if p.Limit < 0 || p.Limit > maxRooms {
		return p, nil, invalid("limit: must be 0 to %d, is %d", maxRooms, p.Limit)
	}
	return p, order, nil
}

// roomOrder is nil for a word that is no order.
func roomOrder(word string) func(a, b engine.RoomSummary) int {
	return map[string]func(a, b engine.RoomSummary) int{
		"room":     func(a, b engine.RoomSummary) int { return strings.Compare(a.Room, b.Room) },
		"members":  func(a, b engine.RoomSummary) int { return cmp.Compare(b.Members, a.Members) },
		"backlog":  func(a, b engine.RoomSummary) int { return cmp.Compare(b.Backlog, a.Backlog) },
		"sequence": func(a, b engine.RoomSummary) int { return cmp.Compare(b.Sequence, a.Sequence) },
	}[word]
}

func (s *snapshot) choose(match string, order func(a, b engine.RoomSummary) int) []engine.RoomSummary {
	match = strings.ToLower(match)
	rooms := make([]engine.RoomSummary, 0, len(s.rooms))
	for _, r := range s.rooms {
		if strings.Contains(strings.ToLower(r.Room), match) {
			rooms = append(rooms, r)
		}
	}
	slices.SortStableFunc(rooms, order)
	return rooms
}

// look returns a snapshot that is not older than overviewAge.
func (b *Board) look(ctx context.Context) (*snapshot, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.last != nil && time.Since(b.at) < overviewAge {
		return b.last, nil
	}
	s, err := b.measures()
	if err != nil {
		return nil, err
	}
	if s.rooms, err = b.Rooms.Overview(ctx); err != nil {
		return nil, err
	}
	slices.SortFunc(s.rooms, roomOrder("room"))
	if s.Stats, err = b.Rooms.Stats(ctx); err != nil {
		return nil, err
	}
	b.last, b.at = s, time.Now()
	return s, nil
}

// measures makes a snapshot without rooms and their Stats.
func (b *Board) measures() (*snapshot, error) {
	s := &snapshot{Version: b.Version, Started: b.Started.UTC(), Time: time.Now().UTC(), EventBodies: b.Bodies,
		Kamailios: b.Kamailios(), Deliveries: map[string]float64{}, Requests: map[string]float64{}}
	families, err := b.Metrics.Gather()
	if err != nil {
		return nil, fmt.Errorf("gathering metrics: %w", err)
	}
	for _, f := range families {
		s.read(f)
	}
	return s, nil
}

// read takes the metrics that are shown.
func (s *snapshot) read(f *dto.MetricFamily) {
	for _, m := range f.GetMetric() {
		switch f.GetName() {
		case "imc_messages_total":
			s.Messages = m.GetCounter().GetValue()
		case "imc_dropped_total":
			s.Dropped = m.GetCounter().GetValue()
		case "imc_deliveries_total":
			s.Deliveries[label(m, "result")] += m.GetCounter().GetValue()
		case "imc_requests_total":
			s.Requests[label(m, "code")] += m.GetCounter().GetValue()
		case "imc_delivery_seconds":
			s.Delivery = readHistogram(m.GetHistogram())
		case "imc_commit_seconds":
			s.Commit = readHistogram(m.GetHistogram())
		}
	}
}

func label(m *dto.Metric, name string) string {
	for _, l := range m.GetLabel() {
		if l.GetName() == name {
			return l.GetValue()
		}
	}
	return ""
}

func readHistogram(h *dto.Histogram) histogram {
	out := histogram{Count: h.GetSampleCount(), Sum: h.GetSampleSum()}
	for _, b := range h.GetBucket() {
		out.Bounds = append(out.Bounds, b.GetUpperBound())
		out.Counts = append(out.Counts, b.GetCumulativeCount())
	}
	return out
}
