package engine

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash/maphash"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"imcd/engine/store"
	"imcd/evapi"
	"imcd/evapi/sipmsg"
)

// Engine runs the rooms. Make one with New; its methods are safe for concurrent
// use.
type Engine struct {
	cfg       Config
	store     store.Store
	relay     Relay
	log       zerolog.Logger
	metrics   *metrics
	language  language
	notices   notices
	lineMarks lineMarks
	usesNames bool           // display names are shown
	headers   []evapi.Header // extra_hdrs

	shards    []*shard
	committer *committer
	lister    *lister
	loader    *loader // for members that are behind
	reads     *reads  // for who asks to see what was said
	credits   *credits
	senders   *senders // nil if no rate of senders is limited
	speakers  *speakers
	ledger    *ledger
	signs     *signs
	creators  creators
	traced    bool // requests and deliveries are logged
	events    feed
	noticed   *noticed
	texts     atomic.Uint64 // of the engine's own, for their marks
	seed      maphash.Seed  // of recipients
	tag       string        // distinguishes this run's Call-IDs from those of another

	typingID string // begins Call-IDs behind the shard's prefix: their outcomes are ignored

	welcomedMu sync.Mutex
	welcomed   map[string]evapi.Welcome // guarded by welcomedMu: the last of each Kamailio, by its name
	served     atomic.Pointer[served]   // made of these; never nil
	users      *users

	requests atomic.Int64 // accepted and not answered yet
	held     held
	stopping atomic.Bool
	idle     chan struct{} // closed once stopping and nothing is under way
	idleOnce sync.Once
	failed   chan error // holds one: see Failed

	cancel context.CancelFunc // nil before Start
	loops  sync.WaitGroup
	stop   sync.Once
}

// New makes an engine that keeps its rooms in store and speaks through relay.
// Its metrics are registered with reg.
func New(cfg Config, store store.Store, relay Relay, reg prometheus.Registerer, log zerolog.Logger) (*Engine, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	e := &Engine{cfg: cfg, store: store, relay: relay, log: log, language: newLanguage(),
		credits: &credits{limit: cfg.MaxOutstanding, most: cfg.MaxBurst}, tag: randomTag(), idle: make(chan struct{}),
		failed: make(chan error, 1), seed: maphash.MakeSeed(),
		welcomed: make(map[string]evapi.Welcome), users: newUsers(maxUsers), signs: newSigns()}
	e.held.limit = int64(cfg.TotalBytes)
	e.credits.soon.Store(int64(burstTime))
	e.served.Store(&served{silent: true, any: true})
	e.typingID = e.tag + typingID
	var err error
	if e.notices, err = newNotices(cfg.Notices); err != nil {
		return nil, err
	}
	e.lineMarks = newLineMarks(cfg.MessageFormat)
	e.usesNames = cfg.ShowNames != ShowUser || strings.Contains(cfg.MessageFormat, "{display}")
	if e.creators, err = newCreators(cfg.CreateAllow); err != nil {
		return nil, fmt.Errorf("create_allow: %w", err)
	}
	e.ledger = newLedger(cfg.MaxRooms)
	e.speakers = newSpeakers(speakersHalf)
	e.noticed = newNoticed(cfg.NoticeRepeat, maxNoticed)
	if cfg.RateSenderMessages.limits() || cfg.RateSenderCommands.limits() {
		e.senders = newSenders(maxSenders)
	}
	e.traced = cfg.LogRequests || log.GetLevel() <= zerolog.DebugLevel
	if e.headers, err = parseExtraHeaders(cfg.ExtraHeaders); err != nil {
		return nil, fmt.Errorf("extra_hdrs: %w", err)
	}
	if e.metrics, err = newMetrics(reg, e); err != nil {
		return nil, fmt.Errorf("registering metrics: %w", err)
	}
	e.committer = newCommitter(store, cfg, log, e.metrics)
	e.lister = newLister(e)
	e.loader, e.reads = newLoader(store, &e.held, log), newReads(newLoader(store, &e.held, log))
	for i := range 1 << cfg.HashSize {
		e.shards = append(e.shards, newShard(e, i))
	}
	return e, nil
}

// loadAhead is how many rooms may have been loaded and not yet been installed.
const loadAhead = 64

// Start loads the rooms and begins to serve. ctx bounds the loading only.
func (e *Engine) Start(ctx context.Context) error {
	if err := e.loadRooms(ctx); err != nil {
		return fmt.Errorf("loading rooms: %w", err)
	}
	if err := e.loadSeen(ctx); err != nil {
		return fmt.Errorf("loading answers: %w", err)
	}
	if err := e.loadNotes(ctx); err != nil {
		return err
	}
	run, cancel := context.WithCancel(context.Background())
	e.cancel = cancel
	e.loop("committer", func() { e.committer.run(run) })
	e.loop("lister", func() { e.lister.run(run) })
	e.loop("pruner", func() { e.prune(run) })
	for range loaders {
		e.loop("loader", func() { e.loader.run(run) })
	}
	e.loop("reads", func() { e.reads.run(run) })
	for _, s := range e.shards {
		e.loop("shard "+strconv.Itoa(s.index), func() { s.run(run) })
	}
	return nil
}

// loadRooms lets one goroutine make what the store hands on while another, who
// owns all shards until they run, installs it.
func (e *Engine) loadRooms(ctx context.Context) error {
	loaded := make(chan store.RoomState, loadAhead)
	var installing sync.WaitGroup
	installing.Go(func() {
		for state := range loaded {
			e.shardOf(state.Room.Name).install(state)
		}
	})
	err := e.store.Load(ctx, func(state store.RoomState) error {
		loaded <- state
		return nil
	})
	close(loaded)
	installing.Wait()
	return err
}

// lastFlush is how long Stop waits for the cursors to be written when its time is
// over.
const lastFlush = time.Second

// Stop refuses new requests, waits until what is under way is done or ctx ends,
// and ends all loops. It may be called twice, and before Start.
func (e *Engine) Stop(ctx context.Context) {
	e.stop.Do(func() {
		e.stopping.Store(true)
		if e.cancel == nil {
			return
		}
		for _, s := range e.shards {
			s.inbox.ring() // may be idle already
		}
		select {
		case <-e.idle:
		case <-ctx.Done():
		}
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastFlush)
		defer cancel()
		e.flush(last)
		e.cancel()
		e.loops.Wait()
	})
}

// checkIdle is called by shards after each round.
func (e *Engine) checkIdle() {
	if e.stopping.Load() && e.requests.Load() == 0 && e.held.waiting.Load() == 0 &&
		e.credits.inUse() == 0 && e.committer.idle() {
		e.idleOnce.Do(func() { close(e.idle) })
	}
}

// Message evaluates a MESSAGE request; its answer goes to the Relay. It never
// blocks: what cannot wait is answered 503.
func (e *Engine) Message(m *evapi.Message) {
	req := e.newRequest(m)
	e.opened(req)
	e.heard(req.from)
	switch {
	case req.refused == nil && req.content.Kind == sipmsg.Receipt:
		e.answerReceipt(req)
		return
	case e.stopping.Load():
		e.turnAway(req, "Shutting down")
		return
	case req.late(m.Received):
		e.turnAway(req, "Too late")
		return
	case e.held.crowded():
		e.turnAway(req, "Overloaded")
		return
	}
	if req.refused == nil && req.cmd != nil && req.cmd.is("rooms") {
		req.refused = e.refuseForeign(req, nil)
	}
	if req.refused == nil && req.cmd != nil && req.cmd.is("rooms") && e.listRooms(req) {
		return
	}
	if !e.shardOfKey(req.roomKey()).inbox.request(req) {
		e.turnAway(req, "Overloaded")
	}
}

// answerReceipt answers a receipt that came in the ordinary way, as in CPIM. It ends here,
// whoever sent it.
func (e *Engine) answerReceipt(req *request) {
	e.settle(req, e.accepted())
	if req.content.IMDN == nil {
		e.metrics.receipt(receiptIgnored)
		return
	}
	e.noteReceipt(receipt{room: req.target, from: req.from, imdn: *req.content.IMDN})
}

// listRooms hands req to the lister; false: it is refused like any other.
func (e *Engine) listRooms(req *request) bool {
	if req.refused = e.limitedSender(req, time.Now()); req.refused != nil {
		req.metered = true
		return false
	}
	if !e.lister.put(req) {
		e.turnAway(req, "Overloaded")
	}
	return true
}

// turnAway answers 503 without a notice: notices would add to the load.
func (e *Engine) turnAway(req *request, why string) {
	a := evapi.Answer{Code: 503, Reason: why, RC: req.base() - rcUnavailable, RetryAfter: e.cfg.RetryAfter}
	if req.refused == nil && req.content.Kind == sipmsg.Typing {
		a = e.accepted() // nobody misses it
	}
	e.settle(req, a)
}

// settle answers a request that no shard has.
func (e *Engine) settle(req *request, a evapi.Answer) {
	e.relay.Reply(req.msg, a)
	e.metrics.request(req, a)
	e.logRequest(req, a, false)
	e.closed(req)
}

// Result takes the outcome of a copy that the Relay was given. It never blocks.
func (e *Engine) Result(r evapi.Result) {
	if len(r.CallID) > 3 && r.CallID[3] == '-' {
		if strings.HasPrefix(r.CallID[4:], e.typingID) {
			return
		}
		if i, err := strconv.ParseUint(r.CallID[:3], 16, 16); err == nil && int(i) < len(e.shards) {
			e.shards[i].inbox.result(r)
			return
		}
	}
	e.metrics.delivery("stray")
}

// Wake makes the engine try again to send what it could not: a Kamailio is
// connected. Who registered before that has not been heard of.
func (e *Engine) Wake() {
	for _, s := range e.shards {
		s.inbox.post((*shard).hurry)
	}
}

// Drained says that copies can be sent again after evapi.ErrFull. It never blocks.
func (e *Engine) Drained() { e.credits.drain() }

// Lost says that copies which went through c and have no Result will get none:
// the Kamailio was restarted. They are sent again.
func (e *Engine) Lost(c *evapi.Conn) {
	now := time.Now()
	for _, s := range e.shards {
		s.inbox.post(func(s *shard) { s.lost(c, now) })
	}
}

// shardOf returns the shard that owns a room.
func (e *Engine) shardOf(room store.Name) *shard { return e.shardOfKey(room.Key()) }

func (e *Engine) shardOfKey(roomKey string) *shard {
	return e.shards[Hash(roomKey)&uint32(len(e.shards)-1)]
}

// newRoomID names an incarnation of a room for ever.
func newRoomID() int64 {
	var b [8]byte
	rand.Read(b[:]) // never fails
	return int64(binary.BigEndian.Uint64(b[:])>>2) | 1
}

func randomTag() string {
	b := make([]byte, 5)
	rand.Read(b) // never fails
	return hex.EncodeToString(b)
}
