package daemon

import (
	"context"
	"os"
	"slices"
	"sync"

	"imcd/cmd/imcd/internal/config"
	"imcd/engine/store"
	"imcd/evapi"
)

// Several imcd may share a PostgreSQL. One owns the rooms. The others are spares: their ports are open, they
// are registered in the database and connected to Kamailio, and one of them takes over.

// spare is the goroutine that waits for the rooms and loads them.
type spare struct {
	cancel context.CancelFunc // nil: it was never started
	loop   sync.WaitGroup
}

// end ends the wait for the rooms, or their loading. It may be called more than once.
func (s *spare) end() {
	if s.cancel != nil {
		s.cancel()
		s.loop.Wait()
	}
}

// startServing begins to serve, and returns when imcd does, or when it has to wait as a spare.
func (d *Daemon) startServing(ctx context.Context) error {
	ctx, d.spare.cancel = context.WithCancel(ctx)
	waiting, done := make(chan struct{}), make(chan error, 1)
	d.spare.loop.Go(func() {
		err := d.serve(ctx, func() { close(waiting) })
		select {
		case <-waiting:
			if err != nil && ctx.Err() == nil {
				d.lose(err)
			}
		default:
			done <- err
		}
	})
	select {
	case <-waiting:
		return nil
	case err := <-done:
		return err
	}
}

// serve waits until this imcd owns the rooms, and makes them available. spares is called if another one
// owns them.
func (d *Daemon) serve(ctx context.Context, spares func()) error {
	doors := []func(context.Context) error{d.openRPC, d.openHTTP}
	early, late := []func(context.Context) error{d.connect}, []func(context.Context) error(nil)
	if d.store.EngineID() == 0 {
		early, late = nil, early // Kamailio gives everything to an imcd without a name at once
	}
	var failed error // of them
	fleet, err := d.store.Own(ctx, func(other string) error {
		d.log.Info().Str("other", other).Str("rpc", d.cfg.RPC.Listen).Str("http", d.cfg.HTTP.Listen).
			Msg("another imcd has the rooms, this one takes over when that ends")
		if failed = steps(ctx, slices.Concat(doors, early)...); failed == nil {
			doors, early = nil, nil
			spares()
		}
		return failed
	})
	switch {
	case failed != nil:
		return failed
	case err != nil:
		return &config.Error{Key: "db_url", Err: err}
	}
	d.undo = append(d.undo, d.share.loop.Wait) // after the rooms, for whose commits it may wait
	load := []func(context.Context) error{func(ctx context.Context) error { return d.startRooms(ctx, fleet) }}
	serve := []func(context.Context) error{d.startWebhook, d.serveRooms}
	if err := steps(ctx, slices.Concat(early, load, doors, serve, late)...); err != nil {
		return err
	}
	d.announce(fleet)
	d.startSharing(ctx)
	if err := steps(ctx, d.releaseMemory); err != nil {
		return err
	}
	d.log.Info().Str("version", d.version).Int("pid", os.Getpid()).
		Str("rpc", d.cfg.RPC.Listen).Str("http", d.cfg.HTTP.Listen).Msg("imcd is running")
	return nil
}

// announce lets Kamailios know what this engine owns, once they are connected. Without a fleet there is
// nothing to know.
func (d *Daemon) announce(fleet store.Fleet) {
	if fleet.Shards == 0 {
		return
	}
	d.relay.Shards(fleet.Shards)
	d.relay.Own(shardsOf(fleet.Owned))
}

func shardsOf(o store.Owned) []evapi.Shard {
	shards := make([]evapi.Shard, len(o.Shards))
	for i, s := range o.Shards {
		shards[i] = evapi.Shard{Shard: int(s), Epoch: int(o.Epochs[i])}
	}
	return shards
}

// startRooms loads the rooms.
func (d *Daemon) startRooms(ctx context.Context, fleet store.Fleet) error {
	ctx, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	if err := d.rooms.Start(ctx, fleet); err != nil {
		return &config.Error{Key: "db_url", Err: err}
	}
	d.undo = append(d.undo, func() {
		if d.abandoned {
			d.rooms.Abandon()
			return
		}
		// Stop has waited for copies under way; a failed start has none.
		done, cancel := context.WithCancel(context.Background())
		cancel()
		d.rooms.Stop(done)
	})
	return nil
}
