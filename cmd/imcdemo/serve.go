package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"imcd/cmd/internal/stack"
)

// Limits of starting and ending.
const (
	startTimeout = 30 * time.Second
	// imcd promises to be gone within 10 s.
	stopGrace     = 12 * time.Second
	kamailioGrace = 4 * time.Second
	// askedTimeout is how long imcd has to show that it was asked to stop by
	// somebody else.
	askedTimeout = 500 * time.Millisecond
)

// service is what -run keeps running.
type service struct {
	set      *settings
	dir      string // absolute STATE_DIR
	kamailio *stack.Child
	imcd     *stack.Child
}

// serve runs Kamailio and imcd until ctx ends or one of them does.
func serve(ctx context.Context, set *settings, out io.Writer) error {
	for _, p := range set.ports() {
		*p.value = cmp.Or(*p.value, p.standard)
	}
	dir, err := filepath.Abs(cmp.Or(set.stateDir, "run"))
	if err != nil {
		return fmt.Errorf("STATE_DIR: %w", err)
	}
	if err := os.MkdirAll(filepath.Join(dir, "kamailio"), 0o700); err != nil {
		return fmt.Errorf("STATE_DIR: %w", err)
	}
	if err := set.checkPorts(); err != nil {
		return err
	}
	s := &service{set: set, dir: dir}
	err = s.start(ctx)
	if err == nil {
		s.announce(out)
		err = s.wait(ctx)
	} else if ctx.Err() != nil {
		err = nil // asked to stop before it was up
	}
	return errors.Join(err, s.stop())
}

func (s *service) start(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	err := s.writeConfig()
	if err != nil {
		return err
	}
	if s.kamailio, err = s.launch("kamailio", nil, "kamailio", kamailioArgs(s.configDir())...); err != nil {
		return err
	}
	for _, port := range []int{s.set.sip, s.set.evapi} {
		if err := s.await(ctx, func(ctx context.Context) error { return dial(ctx, port) }); err != nil {
			return fmt.Errorf("starting Kamailio: %w\n%s", err, s.tail("kamailio"))
		}
	}
	if s.imcd, err = s.launch("imcd", imcdEnv(), s.set.imcd, "-c", s.imcdConfig()); err != nil {
		return err
	}
	if err := s.await(ctx, s.imcdReady); err != nil {
		return fmt.Errorf("starting imcd: %w\n%s", err, s.tail("imcd"))
	}
	return nil
}

// launch starts a program in our own process group, its output going to a file.
func (s *service) launch(name string, env []string, path string, args ...string) (*stack.Child, error) {
	log, err := os.OpenFile(s.logFile(name), os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, fmt.Errorf("log of %s: %w", name, err)
	}
	defer log.Close() // the child has its own
	return stack.StartChild(stack.Command{Path: path, Args: args, Env: env, Out: log, SameGroup: true})
}

// imcdEnv is our environment without what this program has decided. Other settings of
// the user's own (IMCD_…) stay in force.
func imcdEnv() []string {
	decided := []string{"EVAPI_PORT", "RPC_PORT", "HTTP_PORT", "DB_URL", "STATE_DIR", "IMCD_EVAPI", "IMCD_EVAPI_SECRET",
		"IMCD_RPC_LISTEN", "IMCD_HTTP_LISTEN", "IMCD_DB_URL", "IMCD_STATE_DIR"}
	return slices.DeleteFunc(os.Environ(), func(kv string) bool {
		name, _, _ := strings.Cut(kv, "=")
		return slices.Contains(decided, name)
	})
}

// wait returns when ctx ends, or with an error when a child does.
func (s *service) wait(ctx context.Context) error {
	var ended string
	select {
	case <-ctx.Done():
		return nil
	case <-s.kamailio.Done():
		ended = "kamailio"
	case <-s.imcd.Done():
		ended = "imcd"
	}
	// Ctrl-C reaches all of us, and they may be faster.
	if stack.Pause(ctx, askedTimeout) != nil {
		return nil
	}
	return fmt.Errorf("%s has ended by itself\n%s", ended, s.tail(ended))
}

// stop ends imcd first, so that it can finish what is under way.
func (s *service) stop() error {
	var errs []error
	if s.imcd != nil {
		errs = append(errs, s.stopImcd())
	}
	if s.kamailio != nil {
		errs = append(errs, s.stopKamailio())
	}
	return errors.Join(errs...)
}

// stopKamailio ends Kamailio. It sometimes hangs at its end when its processes
// have to stop all at once, as by Ctrl-C; it has nothing to lose then.
func (s *service) stopKamailio() error {
	if err := s.kamailio.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	select {
	case <-s.kamailio.Done():
		return nil
	case <-time.After(kamailioGrace):
		return s.kamailio.Kill()
	}
}

// stopImcd ends imcd. A Ctrl-C, or a signal to our process group, reaches imcd as
// well, and a second signal makes it end at once: so it has a moment to show
// that it is stopping already.
func (s *service) stopImcd() error {
	ctx, cancel := context.WithTimeout(context.Background(), askedTimeout)
	defer cancel()
	for !s.imcdStopping(ctx) {
		if stack.Pause(ctx, poll) != nil {
			return s.imcd.Stop(stopGrace)
		}
	}
	select {
	case <-s.imcd.Done():
		return s.imcd.Err()
	case <-time.After(stopGrace):
		return errors.Join(errors.New("imcd does not end"), s.imcd.Kill())
	}
}
