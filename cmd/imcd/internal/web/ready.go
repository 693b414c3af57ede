package web

import (
	"context"
	"encoding/json"
	"net/http"
	"sync"
	"time"

	"github.com/rs/zerolog"
)

const (
	// pingTime is the deadline of asking the database.
	pingTime = 2 * time.Second
	// pingAge is how old its answer may be. A client may ask for /readyz as often as it likes,
	// and takes nothing from commits.
	pingAge = time.Second
)

// database knows whether the database can be used.
type database struct {
	ping func(ctx context.Context) error
	log  zerolog.Logger

	mu  sync.Mutex // held while the database is asked: others want the same answer
	err error      // guarded by mu
	at  time.Time  // guarded by mu; when err was learnt; zero: not yet
}

// down reports whether it could not be used a second ago, or now.
func (d *database) down() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.at.IsZero() && time.Since(d.at) < pingAge {
		return d.err != nil
	}
	// Not the request's context: one client that hangs up must not decide for the others.
	ctx, cancel := context.WithTimeout(context.Background(), pingTime)
	defer cancel()
	if d.err = d.ping(ctx); d.err != nil {
		d.log.Debug().Err(d.err).Msg("database is not ready")
	}
	d.at = time.Now()
	return d.err != nil
}

// readiness is the body of /readyz.
type readiness struct {
	Ready    bool     `json:"ready"`
	Missing  []string `json:"missing"`  // reasons why imcd is not ready; empty: none
	Kamailio []string `json:"kamailio"` // Kamailios that are not connected
	Warnings []string `json:"warnings"` // see Parts
}

func (p *Parts) ready(w http.ResponseWriter, db *database) {
	names, connected := p.Missing()
	state := readiness{Missing: []string{}, Kamailio: append([]string{}, names...),
		Warnings: append([]string{}, p.Warnings()...)}
	if !connected {
		state.Missing = append(state.Missing, "kamailio")
	}
	if db.down() {
		state.Missing = append(state.Missing, "database")
	}
	if !p.Serving() {
		state.Missing = append(state.Missing, "rooms")
	}
	if p.Stopping() {
		state.Missing = append(state.Missing, "stopping")
	}
	state.Ready = len(state.Missing) == 0
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	if !state.Ready {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	_ = json.NewEncoder(w).Encode(state)
}
