package main

import (
	"context"
	"time"

	sddaemon "github.com/coreos/go-systemd/v22/daemon"
	"github.com/rs/zerolog"
)

// startWatch keeps systemd's watchdog from ending imcd (WatchdogSec), for as long as alive says that it
// should. Without a watchdog it does nothing. end ends that and waits; it may be called twice.
func startWatch(alive func(context.Context) error, log zerolog.Logger) (end func()) {
	limit, err := sddaemon.SdWatchdogEnabled(false)
	if err != nil {
		log.Warn().Err(err).Msg("systemd's watchdog is not understood, and ends imcd")
	}
	if err != nil || limit <= 0 {
		return func() {}
	}
	ctx, cancel := context.WithCancel(context.Background())
	over := make(chan struct{})
	go func() {
		defer close(over)
		watch(ctx, limit/3, alive, tellSystemd, log)
	}()
	return func() {
		cancel()
		<-over
	}
}

// watch tells systemd each time that alive has reported so within every, until ctx ends.
func watch(ctx context.Context, every time.Duration, alive func(context.Context) error, tell func(string),
	log zerolog.Logger) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	silent := false
	for {
		try, cancel := context.WithTimeout(ctx, every)
		err := alive(try)
		cancel()
		switch {
		case ctx.Err() != nil:
			return
		case err == nil:
			tell(sddaemon.SdNotifyWatchdog)
		case !silent:
			log.Error().Err(err).Msg("a part of imcd does not answer: systemd ends it if that lasts")
		}
		silent = err != nil
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}
