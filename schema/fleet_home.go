package schema

import (
	"slices"
	"time"

	"imcd/engine/store"
)

// Engines are where their Kamailios are (Lease.Home). One that has none (Lease.Ready) gives its shards to one that has.

// unreadyFor is how long an engine keeps shards while it has no Kamailio and another one has.
const unreadyFor = time.Second / 2

// unready is the time for which an engine has had no Kamailio, and another one has had one.
type unready struct{ since time.Time }

// over reports whether that has been so for long enough.
func (u *unready) over(v *view, other bool) bool {
	if !other {
		u.since = time.Time{}
		return false
	}
	if u.since.IsZero() {
		u.since = v.got
	}
	return v.sent.Sub(u.since) >= unreadyFor
}

// ownsAny reports whether an engine owns a shard.
func ownsAny(v *view, engine int64) bool {
	return slices.ContainsFunc(v.shards, func(s shardRow) bool { return s.engine == engine })
}

// elsewhere says which shards engines at other hosts own.
func (m *member) elsewhere(v *view) {
	m.mu.Lock()
	self := m.self.Home
	m.mu.Unlock()
	if m.want.Elsewhere == nil || self == "" {
		return // the Kamailio here has no peers
	}
	homes := make(map[int64]string)
	for _, e := range v.engines {
		if h := decodeHolder(e.process).Home; h != "" && h != self {
			homes[e.id] = h
		}
	}
	where := make(map[string]store.Owned)
	for _, s := range v.shards {
		if home := homes[s.engine]; home != "" {
			o := where[home]
			o.Shards, o.Epochs = append(o.Shards, s.shard), append(o.Epochs, s.epoch)
			where[home] = o
		}
	}
	m.want.Elsewhere(len(v.shards), where)
}
