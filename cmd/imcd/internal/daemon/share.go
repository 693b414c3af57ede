package daemon

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"imcd/engine/store"
	"imcd/schema"
)

// An imcd that has rooms gets shards of others, and gives some of its own away, while it works: by the plan that all
// of them follow, or because an operator wants it.

const (
	// moveTimeout is for the end of a move, when imcd is stopped.
	moveTimeout = 2 * time.Second
	// sayTimeout is for a word to the other imcd: that a move begins, or is over.
	sayTimeout = 500 * time.Millisecond
)

// share is the goroutine that takes shards and gives them away, one after the other.
type share struct {
	moves  chan moveOrder
	cancel context.CancelFunc // nil: it was not started; owned by spare until that has ended
	ended  chan struct{}      // closed when it has ended
	loop   sync.WaitGroup
}

// moveOrder asks to give a shard to an engine.
type moveOrder struct {
	store.Move
	done chan error // takes the outcome
}

func newShare() share { return share{moves: make(chan moveOrder), ended: make(chan struct{})} }

// end ends the goroutine, and waits for a move that is under way for as long as limit.
func (s *share) end(limit time.Duration) {
	if s.cancel == nil {
		return
	}
	s.cancel()
	select {
	case <-s.ended:
	case <-time.After(limit):
	}
}

// startSharing begins to follow what the database gives this imcd, if there is a fleet.
func (d *Daemon) startSharing(ctx context.Context) {
	news := d.store.News()
	if news == nil {
		return
	}
	ctx, d.share.cancel = context.WithCancel(context.WithoutCancel(ctx))
	d.share.loop.Go(func() {
		defer close(d.share.ended)
		follow := follower{given: make(map[int64]time.Time)}
		for {
			select {
			case <-ctx.Done():
				return
			case <-news:
				d.follow(ctx, &follow)
				d.giveAsked(ctx, &follow)
			case m := <-d.share.moves:
				m.done <- d.giveShards(ctx, &follow, []store.Move{m.Move})
			}
		}
	})
}

// follower is what the goroutine of share knows.
type follower struct {
	given  map[int64]time.Time // by shard: looks at the database before that may still show it as this engine's
	failed bool                // the last try to load rooms, which was logged
	rests  time.Time           // until then nothing is given away by the plan
}

// follow takes the shards that the database has given to this engine.
func (d *Daemon) follow(ctx context.Context, f *follower) {
	fleet, at := d.store.Owns()
	fresh := f.after(at, beside(fleet.Owned, d.rooms.Owned()))
	if len(fresh.Shards) == 0 {
		return
	}
	began := time.Now()
	ctx, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	err := d.store.Confirm(ctx)
	if err == nil {
		err = d.rooms.Own(ctx, fresh)
	}
	if err != nil {
		if !f.failed && ctx.Err() == nil {
			d.log.Error().Err(err).Ints64("shards", fresh.Shards).Msg("rooms cannot be loaded, again in a moment")
		}
		f.failed = true
		return
	}
	f.failed = false
	d.relay.Own(shardsOf(fresh))
	d.log.Info().Ints64("shards", fresh.Shards).Dur("took", time.Since(began)).Msg("this imcd has more rooms from now on")
}

// after leaves out shards that were given away since a look.
func (f *follower) after(look time.Time, fresh store.Owned) (rest store.Owned) {
	for i, s := range fresh.Shards {
		if look.After(f.given[s]) {
			rest.Shards, rest.Epochs = append(rest.Shards, s), append(rest.Epochs, fresh.Epochs[i])
		}
	}
	return rest
}

// beside returns the shards of all that are not in some.
func beside(all, some store.Owned) (rest store.Owned) {
	has := make(map[int64]bool, len(some.Shards))
	for _, s := range some.Shards {
		has[s] = true
	}
	for i, s := range all.Shards {
		if !has[s] {
			rest.Shards, rest.Epochs = append(rest.Shards, s), append(rest.Epochs, all.Epochs[i])
		}
	}
	return rest
}

// move gives a shard to another engine: schema.ErrNoMove, ErrUnavailable.
func (d *Daemon) move(ctx context.Context, shard, to int64) error {
	if d.store.News() == nil {
		return d.store.CheckMove(ctx, shard, to)
	}
	order := moveOrder{store.Move{Shard: shard, To: to}, make(chan error, 1)}
	select {
	case d.share.moves <- order:
	case <-d.share.ended:
		return fmt.Errorf("%w: this imcd is being stopped", schema.ErrNoMove)
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case err := <-order.done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// restAfter is how long an imcd waits after a move by the plan that failed.
const restAfter = time.Second

// giveAsked gives other engines what they ask for, as the plan says.
func (d *Daemon) giveAsked(ctx context.Context, f *follower) {
	asked, at := d.store.Asked()
	if len(asked) == 0 || time.Now().Before(f.rests) || !d.relay.Keeps() {
		return
	}
	var moves []store.Move
	for _, m := range asked {
		if at.After(f.given[m.Shard]) && len(only(d.rooms.Owned(), m.Shard).Shards) > 0 {
			moves = append(moves, m)
		}
	}
	if len(moves) > 0 && d.giveShards(ctx, f, moves) != nil {
		f.rests = time.Now().Add(restAfter)
	}
}

// giveShards lets requests for shards wait, and gives them to other engines.
func (d *Daemon) giveShards(ctx context.Context, f *follower, moves []store.Move) error {
	if err := d.mayGive(ctx, moves); err != nil {
		return err
	}
	var had store.Owned
	var shards []int
	for _, m := range moves {
		one := only(d.rooms.Owned(), m.Shard)
		had.Shards, had.Epochs = append(had.Shards, one.Shards...), append(had.Epochs, one.Epochs...)
		shards = append(shards, int(m.Shard))
	}
	if len(had.Shards) < len(moves) {
		return fmt.Errorf("%w: its rooms are not loaded yet", schema.ErrNoMove)
	}
	d.sayMoving(ctx, true) // else the other one sees it a little later
	defer d.sayMoving(context.WithoutCancel(ctx), false)
	began := time.Now()
	err := d.park(ctx, shards)
	if err == nil {
		err = d.rooms.HandOver(ctx, moves)
	}
	took := time.Since(began)
	d.history.moves.Observe(took.Seconds())
	for _, m := range moves {
		f.given[m.Shard] = time.Now()
	}
	if err == nil {
		for _, m := range moves {
			d.log.Info().Int64("shard", m.Shard).Int64("engine", m.To).Dur("took", took).
				Msg("another imcd has these rooms from now on")
		}
		return nil
	}
	if !errors.Is(err, store.ErrDeposed) {
		d.relay.Own(shardsOf(beside(had, beside(had, d.rooms.Owned())))) // follow loads the rooms of others
	}
	d.log.Warn().Err(err).Ints("shards", shards).Msg("shards were not given to another imcd")
	return err
}

// mayGive reports why shards cannot be given away now.
func (d *Daemon) mayGive(ctx context.Context, moves []store.Move) error {
	for _, m := range moves {
		if err := d.store.CheckMove(ctx, m.Shard, m.To); err != nil {
			return err
		}
	}
	if !d.relay.Keeps() {
		return fmt.Errorf("%w: requests cannot wait in a Kamailio with an older imc.cfg, or with none", schema.ErrNoMove)
	}
	return nil
}

// only returns one shard, if it is among owned.
func only(owned store.Owned, shard int64) (one store.Owned) {
	for i, s := range owned.Shards {
		if s == shard {
			one.Shards, one.Epochs = []int64{s}, []int64{owned.Epochs[i]}
		}
	}
	return one
}

func (d *Daemon) park(ctx context.Context, shards []int) error {
	ctx, cancel := context.WithTimeout(ctx, parkTimeout)
	defer cancel()
	return d.relay.Park(ctx, shards)
}

// sayMoving lets the other imcd look more often, or not any more.
func (d *Daemon) sayMoving(ctx context.Context, is bool) {
	ctx, cancel := context.WithTimeout(ctx, sayTimeout)
	defer cancel()
	if err := d.store.Moving(ctx, is); err != nil {
		d.log.Debug().Err(err).Msg("other imcd see a move a little later")
	}
}
