package daemon

import (
	"fmt"
	"io"
	"sync/atomic"
	"testing"

	"github.com/rs/zerolog"

	"imcd/cmd/imcd/internal/config"
	"imcd/evapi"
	"imcd/evapi/evapitest"
	"imcd/evapi/evapitest/kit"
	"imcd/schema/schematest"
)

// lines counts what an imcd logs, and tells when it has logged so much.
type lines struct {
	left  atomic.Int64
	there chan struct{} // closed then
}

func after(n int64) *lines {
	l := &lines{there: make(chan struct{})}
	l.left.Store(n)
	return l
}

// Run implements zerolog.Hook.
func (l *lines) Run(*zerolog.Event, zerolog.Level, string) {
	if l.left.Add(-1) == 0 {
		close(l.there)
	}
}

func (l *lines) log() zerolog.Logger { return zerolog.New(io.Discard).Level(zerolog.InfoLevel).Hook(l) }

// awaitOr waits for the lines, or for something else, and reports whether there are so many.
func (l *lines) awaitOr(t *testing.T, what string, other func() bool) (said bool) {
	t.Helper()
	kit.Eventually(t, "a line of the log, or "+what, func() bool {
		select {
		case <-l.there:
			said = true
		default:
		}
		return said || other()
	})
	return said
}

// fleetPlace is where several imcd run: a database and a Kamailio.
type fleetPlace struct {
	config func(t *testing.T) *config.Config
}

func newFleetPlace(t *testing.T) *fleetPlace {
	k, url := kit.Kamailio(t, evapitest.Options{}), schematest.NewDatabase(t)
	return &fleetPlace{func(t *testing.T) *config.Config {
		cfg := testConfig(t)
		cfg.DB.URL, cfg.DB.InStateDir = url, false
		cfg.Kamailios = []evapi.Config{cfg.Kamailios[0]}
		cfg.Kamailios[0].Addr, cfg.Kamailios[0].Secret = k.EvapiAddr(), k.Secret()
		return cfg
	}}
}

func (p *fleetPlace) start(t *testing.T, log zerolog.Logger) *Daemon {
	t.Helper()
	d, err := Start(kit.Context(t), p.config(t), "test", NewHistory(), log)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// ends lets an imcd stop, and waits until it has.
func ends(t *testing.T, what string, d *Daemon) {
	t.Helper()
	done := make(chan struct{})
	go func() { d.Stop(); close(done) }()
	kit.Await(t, what, done)
}

func (d *Daemon) hasAll() bool { own, all := d.store.Owned(); return own > 0 && own == all }

// TestInterruptedMove: whichever of two imcd is asked to stop, after some line of its log while shards go from one to
// the other, ends. The one that is left has all rooms.
func TestInterruptedMove(t *testing.T) {
	for name, meet := range map[string]func(t *testing.T, p *fleetPlace, l *lines) (stops, stays *Daemon){
		"gives": func(t *testing.T, p *fleetPlace, l *lines) (_, _ *Daemon) {
			a := p.start(t, l.log())
			return a, p.start(t, zerolog.Nop())
		},
		"takes": func(t *testing.T, p *fleetPlace, l *lines) (_, _ *Daemon) {
			a := p.start(t, zerolog.Nop())
			return p.start(t, l.log()), a
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newFleetPlace(t)
			for n := int64(1); ; n += 1 + n/2 {
				l := after(n)
				stops, stays := meet(t, p, l)
				shared := func() bool { own, all := stays.store.Owned(); return own > 0 && own == all/2 }
				said := l.awaitOr(t, "the end of the moves", shared)
				ends(t, fmt.Sprint("the end after line ", n), stops)
				kit.Eventually(t, fmt.Sprint("all rooms, after line ", n), stays.hasAll)
				ends(t, "the end of the other one", stays)
				if !said {
					return
				}
			}
		})
	}
}

// TestInterruptedTakeover: an imcd that is asked to stop after any line of its log while it takes the rooms of another
// one ends, and leaves them to the next one.
func TestInterruptedTakeover(t *testing.T) {
	p := newFleetPlace(t)
	for n := int64(1); ; n++ {
		first, l := p.start(t, zerolog.Nop()), after(n)
		cfg := p.config(t)
		cfg.Spare = true
		spare, err := Start(kit.Context(t), cfg, "test", NewHistory(), l.log())
		if err != nil {
			t.Fatal(err)
		}
		stopped := make(chan struct{})
		go func() { first.Stop(); close(stopped) }()
		said := l.awaitOr(t, "all rooms", spare.hasAll)
		ends(t, fmt.Sprint("the end of the spare after line ", n), spare)
		kit.Await(t, "the end of the first", stopped)
		next := p.start(t, zerolog.Nop())
		kit.Eventually(t, "all rooms", next.hasAll)
		ends(t, "the end of the next", next)
		if !said {
			break
		}
	}
}
