package live

import (
	"encoding/json"
	"slices"

	"imcd/cmd/imcd/internal/rpc"
	"imcd/engine"
)

// Joins makes one overview of those of several imcd (rpc.Join).
func Joins() map[string]rpc.Join {
	return map[string]rpc.Join{"imc.overview": joinOverviews}
}

// readable is an overview as encoding/json can read it.
type readable struct {
	snapshot
	Rooms []engine.RoomSummary `json:"rooms"`
	Found int                  `json:"found"`
}

func joinOverviews(params json.RawMessage, parts []json.RawMessage) (any, error) {
	p, order, err := readOverview(params)
	if err != nil {
		return nil, err
	}
	all, err := rpc.Parts[readable](parts)
	if err != nil {
		return nil, err
	}
	sum := overview{snapshot: &all[0].snapshot, Rooms: all[0].Rooms, Found: all[0].Found}
	stats := []engine.Stats{sum.Stats}
	for i := range all[1:] {
		o := &all[1+i]
		stats = append(stats, o.Stats)
		sum.add(&o.snapshot)
		sum.Rooms, sum.Found = append(sum.Rooms, o.Rooms...), sum.Found+o.Found
	}
	sum.Stats = engine.SumStats(stats)
	slices.SortStableFunc(sum.Rooms, order)
	sum.Rooms = sum.Rooms[:min(len(sum.Rooms), p.Limit)]
	return sum, nil
}

// add adds what another imcd has counted.
func (s *snapshot) add(o *snapshot) {
	if o.Started.Before(s.Started) {
		s.Started = o.Started
	}
	s.Kamailios = append(s.Kamailios, o.Kamailios...)
	s.Messages += o.Messages
	s.Dropped += o.Dropped
	for sum, more := range map[*map[string]float64]map[string]float64{&s.Deliveries: o.Deliveries,
		&s.Requests: o.Requests} {
		if *sum == nil {
			*sum = make(map[string]float64)
		}
		for word, n := range more {
			(*sum)[word] += n
		}
	}
	s.Delivery.add(o.Delivery)
	s.Commit.add(o.Commit)
}

// add adds a histogram with the same bounds, or any to an empty one.
func (h *histogram) add(o histogram) {
	switch {
	case len(h.Counts) == 0:
		*h = o
		return
	case !slices.Equal(h.Bounds, o.Bounds):
		return // the imcd are of different versions
	}
	h.Count += o.Count
	h.Sum += o.Sum
	for i, n := range o.Counts {
		h.Counts[i] += n
	}
}
