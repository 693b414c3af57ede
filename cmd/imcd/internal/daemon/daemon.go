// Package daemon puts imcd together, and takes it apart again: the database,
// the rooms, the ports, and the connections to Kamailio.
package daemon

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/rs/zerolog"

	"imcd/cmd/imcd/internal/bus"
	"imcd/cmd/imcd/internal/config"
	"imcd/cmd/imcd/internal/htable"
	"imcd/cmd/imcd/internal/live"
	"imcd/cmd/imcd/internal/relay"
	"imcd/cmd/imcd/internal/rpc"
	"imcd/cmd/imcd/internal/web"
	"imcd/cmd/imcd/internal/webhook"
	"imcd/engine"
	"imcd/engine/store"
	"imcd/evapi"
	"imcd/evapi/jsonrpc"
	"imcd/schema"
)

// How long the parts of starting and stopping may take. The latter together stay
// below the 10 s in which imcd promises to be gone.
const (
	openTimeout   = 15 * time.Second       // opening the database; loading the rooms
	finishTimeout = 4 * time.Second        // requests and copies under way when imcd is stopped
	parkTimeout   = time.Second            // for Kamailio to keep requests, when another imcd takes over
	answerTimeout = time.Second            // requests under way then
	copyTimeout   = 200 * time.Millisecond // copies under way then
	takeTimeout   = time.Second            // for the other imcd to take them, if this one goes on
	flushTimeout  = 500 * time.Millisecond // the last frames to Kamailio
	httpTimeout   = 500 * time.Millisecond // HTTP requests under way after that
)

// Daemon is a running imcd.
type Daemon struct {
	cfg     *config.Config
	version string
	history *History // never nil
	log     zerolog.Logger
	reg     *prometheus.Registry
	relay   *relay.Group
	bots    *live.Bots
	// registrations passes them on; it runs in a fleet only
	registrations *bus.Registrations
	calls         *bus.Calls // of operators; nil without a fleet
	rooms         *engine.Engine
	store         *schema.Store
	webhook       *webhook.Sender
	recent        *live.Recent
	lost          chan error // holds one: see Lost
	rpc           *jsonrpc.Server
	pool          *rpc.Pool

	port *rpc.Listener // nil if there is none
	http *web.Server   // nil if there is none

	stopping   atomic.Bool
	connecting atomic.Bool // relay was started
	drained    atomic.Bool // an operator wants the rooms to go to another imcd
	serving    atomic.Bool // this imcd owns the rooms, and they are loaded
	spare      spare
	share      share
	abandoned  bool     // owned by Abandon
	undo       []func() // ends the parts that were started, the last first; owned by spare until that has ended
}

// History outlives a Daemon, which ends when it is deposed: what has happened to the imcd of this process. Make one
// with NewHistory.
type History struct {
	takeovers, deposed prometheus.Counter
	moves              prometheus.Histogram
	drained            atomic.Bool // an operator has given its rooms to others, which keep them
}

// NewHistory returns that of an imcd to which nothing has happened.
func NewHistory() *History {
	return &History{
		takeovers: prometheus.NewCounter(prometheus.CounterOpts{Name: "imc_takeovers_total",
			Help: "How often this imcd took over the rooms of another one that it took for dead."}),
		deposed: prometheus.NewCounter(prometheus.CounterOpts{Name: "imc_deposed_total",
			Help: "How often another imcd took this one for dead, so that it began again as a spare."}),
		moves: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "imc_moves_seconds",
			Help:    "How long it took to give shards to another imcd, from the moment at which requests waited.",
			Buckets: []float64{.02, .05, .1, .2, .3, .4, .5, .75, 1, 1.5, 2, 5}}),
	}
}

// Start starts imcd. history is that of the process. If Start fails or ctx ends, nothing of it is left. If another
// imcd owns the rooms, it returns once this one waits for them, as a spare; ctx bounds that wait, too.
func Start(
	ctx context.Context, cfg *config.Config, version string, history *History, log zerolog.Logger,
) (*Daemon, error) {
	d := &Daemon{cfg: cfg, version: version, history: history, log: log, reg: prometheus.NewRegistry(),
		lost: make(chan error, 1), share: newShare()}
	if err := d.registerProcess(version); err != nil {
		return nil, fmt.Errorf("registering metrics: %w", err)
	}
	if err := steps(ctx, d.openStore, d.makeRooms, d.startServing); err != nil {
		d.unwind()
		return nil, err
	}
	return d, nil
}

// steps takes one step after the other, until one fails or ctx ends.
func steps(ctx context.Context, all ...func(context.Context) error) error {
	for _, step := range all {
		if err := step(ctx); err != nil {
			return err
		}
		if ctx.Err() != nil {
			return fmt.Errorf("starting: %w", ctx.Err()) // the step did not look
		}
	}
	return nil
}

// Stop finishes requests and copies under way, and ends everything. New messages are refused, or wait in
// Kamailio if another imcd is there to take the rooms over. It takes less than 10 s.
func (d *Daemon) Stop() {
	d.log.Info().Msg("stopping")
	d.stopping.Store(true)
	d.spare.end()
	d.share.end(moveTimeout)
	if d.hasHeir() {
		d.handOver()
	} else {
		d.relay.Refuse(d.cfg.Engine.RetryAfter)
		d.announceEnd()
		ctx, cancel := context.WithTimeout(context.Background(), finishTimeout)
		defer cancel()
		d.rooms.Stop(ctx)
	}
	// The last answers deserve their way out even if the time is up.
	flush, cancelFlush := context.WithTimeout(context.Background(), flushTimeout)
	defer cancelFlush()
	d.relay.Flush(flush)
	d.unwind()
	d.log.Info().Msg("stopped")
}

// Abandon ends everything at once, after an ErrDeposed: nothing is written, nobody gets an answer. What
// the rooms are now, another imcd knows.
func (d *Daemon) Abandon() {
	d.stopping.Store(true)
	d.spare.end()
	d.share.end(0)
	d.abandoned = true
	d.relay.Stop() // frames that are not sent yet are not to be sent
	d.unwind()
}

// Lost gives the error with which imcd cannot go on. After an ErrUnavailable, such as ErrDeposed, it is to
// be abandoned and started again, after ErrDrained stopped and started again, and after any other, which comes
// when a spare is to take the rooms over, stopped.
func (d *Daemon) Lost() <-chan error { return d.lost }

// lose reports an error to Lost; the first one counts.
func (d *Daemon) lose(err error) {
	select {
	case d.lost <- err:
	default:
	}
}

// depose is lose for an engine that was deposed.
func (d *Daemon) depose(err error) {
	d.history.deposed.Inc()
	d.lose(err)
}

// Failed gives the error of a part of imcd that has panicked: the process is to end at once, without Stop.
func (d *Daemon) Failed() <-chan error { return d.rooms.Failed() }

// Alive reports whether the rooms' goroutines all answer until ctx ends. A spare has none.
func (d *Daemon) Alive(ctx context.Context) error {
	if !d.serving.Load() {
		return nil
	}
	return d.rooms.Alive(ctx)
}

// stuckAfter is how long a round of a shard may take before imcd counts as stuck: a spare takes over.
const stuckAfter = time.Second

// moves reports whether the rooms' goroutines do their work.
func (d *Daemon) moves() bool { return !d.serving.Load() || d.rooms.Moves(stuckAfter) }

// isSpare reports whether this imcd wants rooms only if no other one does.
func (d *Daemon) isSpare() bool { return d.cfg.Spare || d.history.drained.Load() }

// whole reports whether a Kamailio gives all requests to one imcd.
func (d *Daemon) whole() bool { return d.connecting.Load() && d.relay.Older() }

// connected reports whether any Kamailio is connected, and its host is in reach.
func (d *Daemon) connected() bool {
	return d.connecting.Load() && slices.ContainsFunc(d.relay.Connections(), (*evapi.Conn).Reached)
}

// announceEnd lets an imcd that is started already wait for this one, which stops.
func (d *Daemon) announceEnd() {
	ctx, cancel := context.WithTimeout(context.Background(), flushTimeout)
	defer cancel()
	if err := d.store.Ending(ctx); err != nil {
		d.log.Debug().Err(err).Msg("another imcd that is started now may refuse to")
	}
}

// RPCAddr is where JSON-RPC in netstrings is served; nil if nowhere.
func (d *Daemon) RPCAddr() net.Addr {
	if d.port == nil {
		return nil
	}
	return d.port.Addr()
}

// HTTPAddr is where HTTP is served; nil if nowhere.
func (d *Daemon) HTTPAddr() net.Addr {
	if d.http == nil {
		return nil
	}
	return d.http.Addr()
}

func (d *Daemon) unwind() {
	d.spare.end()
	d.share.end(0) // it runs still if ctx has ended at the end of Start
	for i := len(d.undo) - 1; i >= 0; i-- {
		d.undo[i]()
	}
	d.undo = nil
}

func (d *Daemon) registerProcess(version string) error {
	info := prometheus.NewGauge(prometheus.GaugeOpts{Name: "imc_build_info", Help: "1, labelled with the version.",
		ConstLabels: prometheus.Labels{"version": version}})
	info.Set(1)
	for _, c := range []prometheus.Collector{info, d.history.takeovers, d.history.deposed, d.history.moves,
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{})} {
		if err := d.reg.Register(c); err != nil {
			return err
		}
	}
	return nil
}

func (d *Daemon) openStore(ctx context.Context) error {
	if d.cfg.DB.InStateDir {
		if err := os.MkdirAll(d.cfg.StateDir, 0o750); err != nil {
			return &config.Error{Key: "state_dir", Err: err}
		}
	}
	ctx, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	store, err := schema.Open(ctx, d.cfg.DB.URL, schema.Options{
		RoomsTable:   d.cfg.DB.RoomsTable,
		MembersTable: d.cfg.DB.MembersTable,
		Lease: &schema.Lease{Listen: d.cfg.HTTP.Listen, Lost: d.depose, Alive: d.moves,
			Plans: true, Marks: d.cfg.Marks, Spare: d.isSpare, Ready: d.connected, Whole: d.whole,
			TookOver: d.history.takeovers.Inc, Home: d.home, Elsewhere: d.elsewhere, Heard: d.heard},
		Log: d.log,
	})
	if err != nil {
		return err // names the key that is wrong
	}
	d.store = store
	d.undo = append(d.undo, func() {
		if err := store.Close(); err != nil {
			d.log.Error().Err(err).Msg("closing the database")
		}
	})
	return nil
}

// makeRooms makes the engine and what carries its copies. Nothing runs yet.
func (d *Daemon) makeRooms(context.Context) error {
	var err error
	kamailios := slices.Clone(d.cfg.Kamailios)
	if id := d.store.EngineID(); id != 0 {
		for i := range kamailios {
			kamailios[i].Engine = strconv.FormatInt(id, 10)
		}
	}
	if d.relay, err = relay.New(kamailios, d.log); err != nil {
		return &config.Error{Key: "evapi", Err: err}
	}
	if d.cfg.LookupDomains {
		d.relay.LookUp(nil)
	}
	d.registrations = bus.NewRegistrations(d.store, d.log)
	if err := d.reg.Register(d.registrations); err != nil {
		return fmt.Errorf("registering the metrics of registrations: %w", err)
	}
	if d.store.EngineID() != 0 {
		d.relay.Join(relay.Others{Gone: d.suspect, Sure: d.store.Sure,
			Registered: d.registrations.Registered, Missed: d.registrations.Missed})
	}
	if err := d.reg.Register(d.relay.Collector()); err != nil {
		return fmt.Errorf("registering the connections' metrics: %w", err)
	}
	carrier := d.carrier()
	if d.rooms, err = engine.New(d.cfg.Engine, d.store, carrier, d.reg, d.log); err != nil {
		return err
	}
	d.relay.Outcomes(d.rooms)
	if err := d.makeWebhook(); err != nil {
		return err
	}
	d.bots.Start(d.rooms)
	health := prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "imc_database_up",
		Help: "1 if the last commit succeeded."},
		func() float64 {
			if d.rooms.Healthy() {
				return 1
			}
			return 0
		})
	owned := prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "imc_shards_owned",
		Help: "Shards, parts of all rooms, that belong to this imcd; 0: it is a spare, or there is no fleet."},
		func() float64 { own, _ := d.store.Owned(); return float64(own) })
	all := prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "imc_fleet_shards",
		Help: "Shards of all imcd that share the database; 0: there is no fleet."},
		func() float64 { _, all := d.store.Owned(); return float64(all) })
	for _, c := range []prometheus.Collector{health, owned, all} {
		if err := d.reg.Register(c); err != nil {
			return fmt.Errorf("registering the database's metrics: %w", err)
		}
	}
	d.rooms.AskContacts(d.relay.Contacts)
	if d.store.EngineID() != 0 {
		d.rooms.PassDevices(d.registrations.Devices)
	}
	d.rpc = jsonrpc.NewServer(d.methods(d.version))
	return nil
}

// suspect takes the name of an engine that has lost its connection to Kamailio.
func (d *Daemon) suspect(engine string) {
	if id, err := strconv.ParseInt(engine, 10, 64); err == nil {
		d.store.Suspect(id)
	}
}

// home says where this imcd is, for those of other hosts (schema.Lease.Home).
func (d *Daemon) home() string {
	if !d.connecting.Load() {
		return ""
	}
	return d.relay.Home()
}

// elsewhere lets Kamailios know which shards engines at other hosts own.
func (d *Daemon) elsewhere(all int, owned map[string]store.Owned) {
	if !d.connecting.Load() {
		return
	}
	shards := make(map[string][]evapi.Shard, len(owned))
	for peer, o := range owned {
		shards[peer] = shardsOf(o)
	}
	d.relay.At(all, shards)
}

// heard takes what another imcd of the fleet has said.
func (d *Daemon) heard(row schema.BusRow) {
	if !d.connecting.Load() {
		return // nobody has asked for anything yet, and rooms will be loaded
	}
	d.calls.Hear(row)
	if d.serving.Load() {
		d.registrations.Hear(row, d.rooms)
	}
}

func (d *Daemon) openRPC(context.Context) error {
	if d.cfg.RPC.Listen == "" {
		return nil
	}
	port, err := rpc.Listen(d.cfg.RPC.Listen, d.cfg.Access.Token, d.cfg.RPC.MaxConns, d.rpc, d.log)
	if err != nil {
		return &config.Error{Key: "rpc_listen", Err: err}
	}
	d.port = port
	port.Start()
	d.undo = append(d.undo, port.Stop)
	return nil
}

// errUnsettled: the database can be reached, and takes no commit all the same.
var errUnsettled = errors.New("what became of the last commit is not known, or its rooms are not loaded again")

// errUnsure: this imcd may have been frozen or cut off for a moment, in which another one took its rooms over.
var errUnsure = errors.New("it has not been seen for a moment that the rooms still belong to this imcd")

// ping reports whether the database can be used now, and the rooms with it.
func (d *Daemon) ping(ctx context.Context) error {
	if err := d.store.Ping(ctx); err != nil {
		return err
	}
	switch {
	case !d.rooms.Healthy():
		return errUnsettled
	case !d.store.Sure():
		return errUnsure
	}
	return nil
}

func (d *Daemon) openHTTP(context.Context) error {
	if d.cfg.HTTP.Listen == "" {
		return nil
	}
	parts := web.Parts{
		RPC:      d.rpc,
		Metrics:  d.reg,
		Access:   web.Access{Token: d.cfg.Access.Token, Origins: d.cfg.Access.Origins, Loopback: config.LoopbackHost},
		Profile:  d.cfg.Access.Token != "" && config.IsLoopback(d.cfg.HTTP.Listen),
		Ping:     d.ping,
		Missing:  d.relay.Missing,
		Warnings: d.warnings,
		Stopping: d.stopping.Load,
		Serving:  d.serving.Load,
		Log:      d.log,
	}
	if err := d.openLive(&parts); err != nil {
		return err
	}
	server, err := web.Listen(d.cfg.HTTP.Listen, parts)
	if err != nil {
		return &config.Error{Key: "http_listen", Err: err}
	}
	d.http = server
	server.Start()
	d.undo = append(d.undo, func() {
		ctx, cancel := context.WithTimeout(context.Background(), httpTimeout)
		defer cancel()
		server.Stop(ctx)
	})
	return nil
}

// connect begins to connect to Kamailio, which learns of this engine before it owns anything.
func (d *Daemon) connect(context.Context) error {
	d.pool = rpc.NewPool(d.rpc, d.log)
	d.pool.Start()
	if d.calls != nil {
		d.registrations.Start()
		d.calls.Start()
		d.undo = append(d.undo, d.registrations.Stop, d.calls.Stop)
	}
	d.relay.Start(d.pool)
	d.connecting.Store(true)
	d.undo = append(d.undo, d.pool.Stop, d.relay.Stop)
	return nil
}

// serveRooms gives the rooms everything that comes from Kamailio.
func (d *Daemon) serveRooms(context.Context) error {
	if len(d.lost) > 0 {
		return fmt.Errorf("%w: while it loaded the rooms", store.ErrDeposed) // Kamailio has the new owner
	}
	d.relay.Serve(d.rooms)
	d.serving.Store(true)
	for _, c := range d.relay.Connections() {
		table := htable.New(d.rooms, c, d.log)
		table.Start()
		d.undo = append(d.undo, table.Stop)
	}
	return nil
}
