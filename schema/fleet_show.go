package schema

import (
	"context"
	"time"
)

// FleetView is what one engine sees of its fleet (RPC imc.fleet).
type FleetView struct {
	Engine  int64        `json:"engine"`  // the one that was asked; 0: there is no fleet, as on SQLite
	Shards  int          `json:"shards"`  // of all engines together
	Unowned int          `json:"unowned"` // shards that belong to nobody who lives
	Engines []EngineView `json:"engines"` // by their ids; not nil
}

// EngineView is an engine that is not gone.
type EngineView struct {
	Engine int64     `json:"engine"`
	Host   string    `json:"host"`
	PID    int       `json:"pid"`
	Since  time.Time `json:"since"`
	HTTP   string    `json:"http,omitempty"` // its http_listen
	// Silent is for how many seconds the engine that was asked has seen no beat of this one. Beats come each
	// 0.15 s.
	Silent float64 `json:"silent"`
	Ready  bool    `json:"ready"`  // it is connected to a Kamailio
	Ending bool    `json:"ending"` // it is being stopped
	Spare  bool    `json:"spare"`  // it wants shards only if nobody else does: by its configuration, or drained
	Wants  []int64 `json:"wants"`  // shards for which it asks their owners; not nil
	// Marks are short sums of the settings that all engines should have in common, by name; those at their defaults
	// have none.
	Marks map[string]string `json:"marks,omitempty"`
	Batch int64             `json:"batch"` // the number of its last commit
	Owns  []ShardView       `json:"owns"`  // by their numbers; not nil
}

// ShardView is a shard and how often its owner has changed.
type ShardView struct {
	Shard int64 `json:"shard"`
	Epoch int64 `json:"epoch"`
}

// Fleet asks the database for the engines and what they own. Without a fleet there are none.
func (s *Store) Fleet(ctx context.Context) (FleetView, error) {
	m, ok := s.lease.(*member)
	if !ok {
		return FleetView{Engines: []EngineView{}}, nil
	}
	v, err := m.ask(ctx, sqlLook)
	if err != nil {
		return FleetView{}, wrap(ctx, "look at the fleet", err)
	}
	return m.show(&v), nil
}

// show makes v readable.
func (m *member) show(v *view) FleetView {
	heard := m.look().heard
	f := FleetView{Engine: m.me, Shards: len(v.shards), Unowned: len(v.shards),
		Engines: make([]EngineView, len(v.engines))}
	for i, e := range v.engines {
		h := decodeHolder(e.process)
		one := EngineView{Engine: e.id, Host: h.Host, PID: h.PID, Since: h.Since, HTTP: h.Listen,
			Ending: h.Ending, Ready: h.Ready, Spare: h.Spare, Marks: h.Marks, Wants: append([]int64{}, h.Wants...),
			Batch: e.last, Owns: []ShardView{}}
		if at, known := heard[e.id]; known && at.beat == e.beat {
			one.Silent = max(0, v.sent.Sub(at.since).Seconds())
		}
		for _, s := range v.shards {
			if s.engine == e.id {
				one.Owns = append(one.Owns, ShardView{Shard: s.shard, Epoch: s.epoch})
				f.Unowned--
			}
		}
		f.Engines[i] = one
	}
	return f
}

// Owned counts the shards that this engine owned when it looked last, and those of all engines together; both
// are 0 without a fleet.
func (s *Store) Owned() (own, all int) {
	if m, ok := s.lease.(*member); ok {
		now := m.look()
		return len(now.owned.Shards), now.shards
	}
	return 0, 0
}
