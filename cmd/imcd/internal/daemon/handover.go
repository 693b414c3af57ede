package daemon

import (
	"context"
	"errors"
	"time"

	"imcd/evapi/jsonrpc"
)

// When imcd is stopped while another one waits as a spare, that one takes the rooms over: nobody is to notice
// more than a moment's silence.

// ErrDrained is the error of Lost when an operator wants the rooms to go to another imcd: this one is to be
// stopped, and started again as a spare.
var ErrDrained = errors.New("an operator has given its rooms to another imcd")

// errNoHeir is the answer to that if they would come back at once.
var errNoHeir = &jsonrpc.Error{Code: codeSpare, Message: "there is no other imcd that could take the rooms over"}

// errUnconnected is the answer if nobody could send anything afterwards.
var errUnconnected = &jsonrpc.Error{Code: codeSpare, Message: "no other imcd is connected to a Kamailio"}

// errSpare is the answer to undrain if the configuration says otherwise.
var errSpare = &jsonrpc.Error{Code: codeSpare, Message: "this imcd is a spare by its configuration (spare: 1)"}

// drain begins to give the rooms to another imcd: see ErrDrained.
func (d *Daemon) drain(ctx context.Context) error {
	heir, equal, err := d.store.Heir(ctx)
	switch {
	case err != nil:
		return err
	case !heir:
		return errNoHeir
	case !equal:
		return errUnconnected
	}
	d.history.drained.Store(true) // else this imcd would get its part back
	d.drained.Store(true)
	d.lose(ErrDrained)
	return nil
}

// undrain makes an imcd that was drained want its part of the rooms again.
func (d *Daemon) undrain(context.Context) error {
	if d.cfg.Spare {
		return errSpare
	}
	d.history.drained.Store(false)
	return nil
}

// hasHeir reports whether this imcd has rooms, and another one waits for them.
func (d *Daemon) hasHeir() bool {
	if !d.serving.Load() {
		return false
	}
	ctx, cancel := context.WithTimeout(context.Background(), flushTimeout)
	defer cancel()
	heir, _, err := d.store.Heir(ctx)
	if err != nil {
		d.log.Debug().Err(err).Msg("whether another imcd would take over is not known")
	}
	return heir
}

// handOver ends the rooms such that another imcd has them soon. Requests wait in Kamailio meanwhile. Those that
// this imcd has are answered; copies that are under way for longer come to their members again, with
// the same Call-IDs.
func (d *Daemon) handOver() {
	began := time.Now()
	d.announceEnd()
	d.within(parkTimeout, func(ctx context.Context) {
		if err := d.relay.Leave(ctx); err != nil {
			d.log.Warn().Err(err).Msg("requests may be refused until another imcd has the rooms")
		}
	})
	d.within(answerTimeout, d.rooms.Finish)
	d.relay.Refuse(d.cfg.Engine.RetryAfter)
	d.within(copyTimeout, d.rooms.Stop)
	d.store.Release()
	if d.drained.Load() { // else this imcd might be the first to take them, when it starts again
		d.within(takeTimeout, func(ctx context.Context) {
			if err := d.store.Given(ctx); err != nil {
				d.log.Warn().Err(err).Msg("the rooms may come back to this imcd")
			}
		})
	}
	d.log.Info().Dur("took", time.Since(began)).Msg("another imcd has the rooms from now on")
}

// within gives f some time.
func (d *Daemon) within(limit time.Duration, f func(context.Context)) {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	f(ctx)
}
