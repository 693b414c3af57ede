package engine

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"hash/maphash"
	"runtime/debug"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"imcd/engine/store"
	"imcd/evapi"
)

// New makes an engine that keeps its rooms in store and speaks through relay.
// Its metrics are registered with reg.
func New(cfg Config, store store.Store, relay Relay, reg prometheus.Registerer, log zerolog.Logger) (*Engine, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	e := &Engine{cfg: cfg, store: store, relay: relay, log: log, language: newLanguage(),
		credits: &credits{limit: cfg.MaxOutstanding, most: cfg.MaxBurst}, tag: randomTag(), idle: make(chan struct{}),
		failed: make(chan error, 1), seed: maphash.MakeSeed(),
		welcomed: make(map[string]evapi.Welcome), users: newUsers(maxUsers), arrivals: newArrivals(settleFor),
		signs: newSigns(), devices: newUserDevices()}
	e.natives = newNativeDevices(e.devices)
	e.held.limit = int64(cfg.TotalBytes)
	e.credits.soon.Store(int64(burstTime))
	e.served.Store(&served{silent: true, any: true})
	e.typingID = e.tag + typingMark
	e.groupID = e.tag + groupMark
	var err error
	if e.notices, err = newNotices(cfg.Notices); err != nil {
		return nil, err
	}
	e.lineMarks = newLineMarks(cfg.MessageFormat)
	e.usesNames = cfg.ShowNames != ShowUser || strings.Contains(cfg.MessageFormat, "{display}")
	if e.creators, err = newCreators(cfg.CreateAllow); err != nil {
		return nil, fmt.Errorf("create_allow: %w", err)
	}
	if e.admins, err = newServiceAdmins(cfg.ServiceAdmins); err != nil {
		return nil, fmt.Errorf("service_admins: %w", err)
	}
	e.ledger = newLedger(cfg.MaxRooms)
	e.speakers = newSpeakers(speakersHalf)
	e.noticed = newNoticed(cfg.NoticeRepeat, maxNoticed)
	e.senders = newSenders(maxSenders)
	e.traced = cfg.LogRequests || log.GetLevel() <= zerolog.DebugLevel
	if e.headers, err = parseExtraHeaders(cfg.ExtraHeaders); err != nil {
		return nil, fmt.Errorf("extra_hdrs: %w", err)
	}
	if e.metrics, err = newMetrics(reg, e.credits, &e.held); err != nil {
		return nil, fmt.Errorf("registering metrics: %w", err)
	}
	e.webhook = newWebhook(&cfg, e.metrics.webhookDropped)
	e.comebacks = newComebacks(e)
	e.reports = newReports(store, cfg, log, e.metrics.unreported)
	e.locator = newLocator(e.devices, log)
	e.reports.devices, e.reports.back, e.reports.replaced = e.devices, e.comebacks.add, e.replaced
	e.reports.several = e.locator.ask
	e.committer = newCommitter(store, cfg, log, e.metrics)
	e.lister, e.keys = newLister(e), newKeys()
	e.loader, e.reads = newLoader(store, &e.held, log), newReads(newLoader(store, &e.held, log))
	for i := range 1 << cfg.HashSize {
		e.shards = append(e.shards, newShard(e, i))
	}
	return e, nil
}

// Start begins to serve. Without a fleet it loads all rooms first, else those of the shards that fleet has
// for this engine; Own and HandOver change them. ctx bounds the loading only.
func (e *Engine) Start(ctx context.Context, fleet store.Fleet) error {
	if fleet.Shards > 0 {
		e.ownership.mask = uint32(fleet.Shards - 1)
		e.ownership.loaded = make([]atomic.Bool, fleet.Shards)
		e.ownership.owned = make(map[int64]int64)
		e.committer.prove(e.fencesOf(store.Fleet{Shards: fleet.Shards}))
	}
	run, cancel := context.WithCancel(context.Background())
	e.cancel, e.ended = cancel, run.Done()
	e.loop("committer", func() { e.committer.run(run) })
	listers := 1
	if e.others != nil {
		listers = listWorkers
	}
	for range listers {
		e.loop("lister", func() { e.lister.run(run) })
	}
	e.loop("pruner", func() { e.prune(run) })
	e.loop("devices", func() { e.reports.run(run) })
	e.loop("locator", func() { e.locator.run(run) })
	for range loaders {
		e.loop("loader", func() { e.loader.run(run) })
	}
	e.loop("keys", func() { e.keys.run(run) })
	e.loop("reads", func() { e.reads.run(run) })
	for _, s := range e.shards {
		e.loop("shard "+strconv.Itoa(s.index), func() { s.run(run) })
	}
	load := func() error { return e.loadWithDevices(ctx, store.Part{}) }
	if fleet.Shards > 0 {
		load = func() error { return e.Own(ctx, fleet.Owned) }
	}
	if err := load(); err != nil {
		e.cancel()
		e.loops.Wait()
		e.cancel = nil
		return err
	}
	for range comebackWorkers { // they look for rooms
		e.loop("comebacks", func() { e.comebacks.run(run) })
	}
	return nil
}

// lastFlush is how long Stop waits for the cursors to be written after ctx has ended.
const lastFlush = time.Second

// finishPoll is how often Finish and quiet look.
const finishPoll = 5 * time.Millisecond

// Finish waits until all requests are answered, or ctx ends. Nobody gives the engine new ones by now: Stop,
// which follows, refuses those that it has.
func (e *Engine) Finish(ctx context.Context) {
	poll(ctx, func() bool { return e.requests.Load() == 0 })
}

// poll waits until done, or ctx ends.
func poll(ctx context.Context, done func() bool) {
	ticker := time.NewTicker(finishPoll)
	defer ticker.Stop()
	for !done() {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// Stop refuses new requests, waits until nothing is under way or ctx ends, and ends all goroutines. It
// may be called twice, and before Start.
func (e *Engine) Stop(ctx context.Context) {
	e.stop.Do(func() {
		e.stopping.Store(true)
		if e.cancel == nil {
			return
		}
		for _, s := range e.shards {
			s.inbox.signal() // the engine may be idle already
		}
		select {
		case <-e.idle: // but what is being loaded for members would be sent soon
		case <-ctx.Done():
		}
		e.quiet()
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastFlush)
		defer cancel()
		e.flush(last)
		e.cancel()
		e.loops.Wait()
	})
}

// outcomeTime is how long outcomes of the last copies may take, after which their members get them again.
const outcomeTime = 100 * time.Millisecond

// quiet sends no more copies of messages, and waits for the outcomes of those that were sent just now.
func (e *Engine) quiet() {
	ctx, cancel := context.WithTimeout(context.Background(), outcomeTime)
	defer cancel()
	_, _ = gather(ctx, e, func(s *shard) []struct{} { // a shard that is stuck sends nothing either
		s.delivery.ending = true
		return nil
	})
	poll(ctx, func() bool { return e.credits.inUse() == 0 })
}

// Abandon ends all goroutines of an engine that was deposed, and writes nothing. Nobody gets an answer. It
// takes the place of Stop.
func (e *Engine) Abandon() {
	e.stop.Do(func() {
		e.stopping.Store(true)
		if e.cancel == nil {
			return
		}
		e.cancel()
		e.loops.Wait()
	})
}

func randomTag() string {
	b := make([]byte, 5)
	rand.Read(b) // never fails
	return hex.EncodeToString(b)
}

// flush writes what devices are owed, and then all cursors, and waits for that until ctx ends. A cursor passes nothing
// of which the database does not know who is owed it, and more may arrive meanwhile.
func (e *Engine) flush(ctx context.Context) {
	done := make(chan struct{}, len(e.shards))
	written := make([]bool, len(e.shards)) // each is of its shard
	half, cancel := context.WithTimeout(ctx, lastFlush/2)
	defer cancel()
	for wait := true; ; {
		if err := e.reports.flush(half); err != nil {
			e.log.Warn().Err(err).Msg("devices are not noted in the database")
			wait = false
		}
		owing, err := gather(ctx, e, func(s *shard) []*shard {
			switch d := s.delivery; {
			case written[s.index]:
			case d.oweAll() && wait:
				return []*shard{s}
			default:
				written[s.index] = true
				d.flush(func(error) { done <- struct{}{} })
			}
			return nil
		})
		if len(owing) == 0 || err != nil {
			break
		}
	}
	for range e.shards {
		select {
		case <-done:
		case <-ctx.Done():
			return
		}
	}
}

// loop runs one of the engine's goroutines until it ends. After a panic its data cannot be relied on, and
// nobody else has it: see Failed.
func (e *Engine) loop(name string, run func()) {
	e.loops.Go(func() {
		defer func() {
			p := recover()
			if p == nil {
				return
			}
			e.log.Error().Str("loop", name).Str("panic", fmt.Sprint(p)).Bytes("stack", debug.Stack()).
				Msg("a fault in imcd: it ends, and delivers after the next start what it has taken")
			select {
			case e.failed <- fmt.Errorf("%s: panic: %v", name, p):
			default: // the first counts
			}
		}()
		run()
	})
}

// Failed gives the error of a goroutine of the engine that has panicked. The process must end then,
// without Stop, which would write data from memory. Messages that were answered 200 are in the database,
// and are delivered after the next start.
func (e *Engine) Failed() <-chan error { return e.failed }

func newShard(e *Engine, index int) *shard {
	s := &shard{engine: e, index: index, inbox: newInbox(e.cfg.MailboxSize), now: time.Now(),
		rooms: make(map[string]*room), stale: make(map[string]*room)}
	s.dedupe = dedupe{reply: func(req *request, a evapi.Answer) { s.replyAs(req, req.withHeaders(a), true) },
		most: seenTotal / (1 << e.cfg.HashSize), window: e.cfg.DuplicateWindow,
		known: make(map[seenKey]*seenRequest)}
	s.delivery = newDelivery(e, index, s, s.inbox, s.rooms, s.stale)
	s.groups, s.idle = newGroups(s), idleRooms{shard: s}
	return s
}

func newCommitter(store store.Store, cfg Config, log zerolog.Logger, m *metrics) *committer {
	return &committer{store: store, timeout: cfg.CommitTimeout, linger: cfg.CursorFlush / 2, limit: cfg.CommitQueue,
		tryTime: firstTry, log: log, metrics: m, wake: make(chan struct{}, 1), gone: make(chan struct{}),
		minEpoch: make(map[*shard]map[string]uint64), suspended: make(map[*shard]map[string]struct{})}
}
