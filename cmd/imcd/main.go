// Command imcd keeps chat rooms for Kamailio: users send SIP MESSAGE requests to
// Kamailio, which hands those for rooms to imcd and carries its answers and
// copies back to them.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	sddaemon "github.com/coreos/go-systemd/v22/daemon"
	"github.com/mattn/go-isatty"
	"github.com/rs/zerolog"
	"github.com/rs/zerolog/diode"
	"github.com/spf13/pflag"

	"imcd/cmd/imcd/internal/config"
	"imcd/cmd/imcd/internal/daemon"
	"imcd/engine/store"
)

// version is set by the linker (make build).
var version = "dev"

// Exit codes.
const (
	exitOK    = 0
	exitError = 1
	exitUsage = 2
)

func main() { os.Exit(run(os.Args[1:], os.Environ(), os.Stdout, os.Stderr)) }

// options are the flags that are no settings.
type options struct {
	file                        string
	check, version, printConfig bool
}

func run(args, environ []string, stdout io.Writer, stderr *os.File) int {
	var opt options
	flags := newFlags(&opt)
	err := flags.Parse(longFlags(flags, args))
	if err == nil && flags.NArg() > 0 {
		err = fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	switch {
	case errors.Is(err, pflag.ErrHelp):
		fmt.Fprintf(stdout, "Usage: imcd [-c FILE] [-check] [-version] [-print-config] [--KEY VALUE …]\n\n%s",
			flags.FlagUsages())
		return exitOK
	case err != nil:
		fmt.Fprintf(stderr, "imcd: %v (imcd -help lists the flags)\n", err)
		return exitUsage
	case opt.version:
		fmt.Fprintln(stdout, "imcd", version)
		return exitOK
	case opt.printConfig:
		fmt.Fprint(stdout, config.Sample())
		return exitOK
	}
	cfg, err := config.Load(config.Sources{File: opt.file, Environ: environ, Flags: flags})
	if err == nil && opt.check {
		for _, w := range cfg.Warnings {
			fmt.Fprintln(stderr, "imcd: warning:", w)
		}
	}
	if err == nil && !opt.check {
		if err = hideSecrets(flags, environ); err == nil {
			err = serve(cfg, stderr)
		}
	}
	if err != nil {
		fmt.Fprintln(stderr, "imcd:", strings.Join(strings.Fields(err.Error()), " "))
		return exitError
	}
	return exitOK
}

func newFlags(opt *options) *pflag.FlagSet {
	fs := pflag.NewFlagSet("imcd", pflag.ContinueOnError)
	fs.SortFlags = false
	fs.Usage = func() {}
	fs.SetOutput(io.Discard)
	fs.SetNormalizeFunc(func(_ *pflag.FlagSet, name string) pflag.NormalizedName {
		return pflag.NormalizedName(strings.ReplaceAll(name, "-", "_"))
	})
	fs.StringVarP(&opt.file, "config", "c", "", "configuration file (YAML)")
	fs.BoolVar(&opt.check, "check", false, "check the configuration and exit")
	fs.BoolVar(&opt.version, "version", false, "print the version and exit")
	fs.BoolVar(&opt.printConfig, "print-config", false, "print a documented configuration file with all defaults and exit")
	config.AddFlags(fs)
	return fs
}

// longFlags lets -check mean --check, and not -c with the file "heck".
func longFlags(fs *pflag.FlagSet, args []string) []string {
	out := make([]string, 0, len(args))
	for i, a := range args {
		if a == "--" {
			return append(out, args[i:]...)
		}
		name, _, _ := strings.Cut(strings.TrimPrefix(a, "-"), "=")
		if strings.HasPrefix(a, "-") && len(name) > 1 && (name == "help" || fs.Lookup(name) != nil) {
			a = "-" + a
		}
		out = append(out, a)
	}
	return out
}

// serve runs imcd until a signal asks it to stop. A second signal ends the
// process at once.
func serve(cfg *config.Config, stderr *os.File) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	defer signal.Stop(signals)
	// Whoever reads the log may go away; that is no reason to end.
	signal.Ignore(syscall.SIGPIPE)
	go func() {
		<-signals
		cancel()
		<-signals
		os.Exit(exitError)
	}()

	// Close would close stderr, too, were it not hidden.
	out := diode.NewWriter(struct{ io.Writer }{stderr}, 1000, 0, func(lost int) {
		fmt.Fprintf(stderr, `{"level":"warn","lines":%d,"message":"the log is read too slowly, lines are lost"}`+"\n", lost)
	})
	defer func() { _ = out.Close() }()
	log := newLog(cfg.Log, stderr, out)
	for _, w := range cfg.Warnings {
		log.Warn().Msg(w)
	}
	if err := takeShortSlices(); err != nil {
		log.Debug().Err(err).Msg("answers may wait a little longer for a processor")
	}
	history := daemon.NewHistory()
	start := func() (running, error) { return daemon.Start(ctx, cfg, version, history, log) }
	d, err := start()
	if errors.Is(err, store.ErrDeposed) {
		d, err = startAgain(ctx, start, log)
	}
	for err == nil {
		err = attend(ctx, d, log)
		if !errors.Is(err, store.ErrUnavailable) && !errors.Is(err, daemon.ErrDrained) {
			return err
		}
		log.Warn().Err(err).Msg("imcd starts again, as a spare")
		d, err = startAgain(ctx, start, log)
	}
	if ctx.Err() != nil {
		return nil // asked to stop before it was up
	}
	return err
}

// againPause is how long imcd waits before it tries again to start after it was deposed.
const againPause = 500 * time.Millisecond

// startAgain starts imcd after it was deposed, or could not take over. The database may be away at times.
func startAgain(ctx context.Context, start func() (running, error), log zerolog.Logger) (running, error) {
	for {
		d, err := start()
		if err == nil || !errors.Is(err, store.ErrUnavailable) {
			return d, err
		}
		log.Warn().Err(err).Msg("imcd cannot start, again in a moment")
		select {
		case <-time.After(againPause):
		case <-ctx.Done():
			return nil, err
		}
	}
}

// running is an imcd that runs.
type running interface {
	Alive(ctx context.Context) error
	Lost() <-chan error
	Failed() <-chan error
	Stop()
	Abandon()
}

// attend tells systemd how imcd is, and stops it when ctx ends, or when it can do nothing any more.
func attend(ctx context.Context, d running, log zerolog.Logger) (err error) {
	tellSystemd(sddaemon.SdNotifyReady)
	endWatch := startWatch(d.Alive, log)
	defer endWatch()
	select {
	case <-ctx.Done():
	case err = <-d.Lost():
		if errors.Is(err, store.ErrUnavailable) {
			d.Abandon() // what it knows is outdated, or not all
			return err
		}
	case err = <-d.Failed():
		return err // its memory may be wrong, and must not be written
	}
	endWatch()
	if !errors.Is(err, daemon.ErrDrained) { // then it starts again
		tellSystemd(sddaemon.SdNotifyStopping)
	}
	d.Stop()
	return err
}

// tellSystemd says how far imcd is, if systemd started it. If that fails, systemd
// complains: it waits for it.
func tellSystemd(state string) { _, _ = sddaemon.SdNotify(false, state) }

// newLog returns a logger that writes to out, in the form that suits terminal.
// Out never blocks: a reader of the log that is slow must not slow down SIP.
func newLog(cfg config.Log, terminal *os.File, out io.Writer) zerolog.Logger {
	console := cfg.Format == "console" || (cfg.Format == "auto" && isatty.IsTerminal(terminal.Fd()))
	if console {
		out = zerolog.ConsoleWriter{Out: out, NoColor: !isatty.IsTerminal(terminal.Fd())}
	}
	return zerolog.New(out).Level(cfg.Level).With().Timestamp().Logger()
}
