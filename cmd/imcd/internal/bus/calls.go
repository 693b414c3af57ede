package bus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"imcd/evapi/jsonrpc"
	"imcd/schema"
)

// An operator may ask any imcd of a fleet: one that has not got the room passes the request on to the one that has,
// and the answer back.

// Kinds of rows.
const (
	kindCall   = "call"   // the body is a call
	kindAnswer = "answer" // the body is an answer
)

const (
	// callTimeout is how long an answer may take at most. The way there and back takes 0.3 s.
	callTimeout = 27 * time.Second
	// writeTimeout is how long a request may wait for the database: later nobody waits for its answer.
	writeTimeout = 2 * time.Second
	// aliveEvery is how often the asking imcd looks whether the other one lives.
	aliveEvery = 500 * time.Millisecond
	// maxCalls bounds the requests of this imcd that have no answer, and those of others that wait here.
	maxCalls = 64
	// callWorkers answer requests of others.
	callWorkers = 4
	// maxAnswer bounds an answer, in bytes.
	maxAnswer = 1 << 20
)

// codeNotNow is the error code of a request that could not be passed on or was not answered.
const codeNotNow = -32000

// call is a request on its way to another imcd.
type call struct {
	ID     uint64          `json:"id"` // of the imcd that asks
	Method string          `json:"method"`
	Params json.RawMessage `json:"params,omitempty"`
}

// answer is what became of it.
type answer struct {
	ID     uint64          `json:"id"`
	Result json.RawMessage `json:"result,omitempty"`
	Error  *jsonrpc.Error  `json:"error,omitempty"`
}

// Fleet is a Store that knows which engines live; *schema.Store is one.
type Fleet interface {
	Store
	Lives(engine int64) bool
}

// Calls passes requests on, and answers those of others. Make one with NewCalls.
type Calls struct {
	store   Fleet
	methods map[string]jsonrpc.Method // that others may call; immutable
	log     zerolog.Logger
	queue   chan received // of Hear, for the workers
	done    sync.WaitGroup
	stop    context.CancelFunc // ends the workers; set by Start

	mu   sync.Mutex
	last uint64                 // by mu: of ids
	open map[uint64]chan answer // by mu: requests without an answer; each channel holds one
}

// received is a request of another imcd.
type received struct {
	from int64
	call call
}

// NewCalls returns one that answers others with methods once it is started.
func NewCalls(store Fleet, methods map[string]jsonrpc.Method, log zerolog.Logger) *Calls {
	return &Calls{store: store, methods: methods, log: log, queue: make(chan received, maxCalls),
		open: make(map[uint64]chan answer)}
}

// Start begins to answer.
func (c *Calls) Start() {
	ctx, cancel := context.WithCancel(context.Background())
	c.stop = cancel
	for range callWorkers {
		c.done.Go(func() { c.work(ctx) })
	}
}

// Stop ends the requests under way. It is called once, after Start.
func (c *Calls) Stop() {
	c.stop()
	c.done.Wait()
}

// refused makes an error that the caller gets to see.
func refused(format string, args ...any) error {
	return &jsonrpc.Error{Code: codeNotNow, Message: fmt.Sprintf(format, args...)}
}

// Ask lets another engine answer a request, and returns its result or its error.
func (c *Calls) Ask(ctx context.Context, engine int64, method string, params json.RawMessage) (json.RawMessage, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	id, came, err := c.begin()
	if err != nil {
		return nil, err
	}
	defer c.end(id)
	if err := c.publish(engine, kindCall, call{ID: id, Method: method, Params: params}); err != nil {
		return nil, err
	}
	tick := time.NewTicker(aliveEvery)
	defer tick.Stop()
	for {
		select {
		case a := <-came:
			if a.Error != nil {
				return nil, a.Error
			}
			return a.Result, nil
		case <-ctx.Done():
			return nil, refused("imcd %d, which has the room, has not answered in time: what became of the request is not known",
				engine)
		case <-tick.C:
			if !c.store.Lives(engine) {
				return nil, refused("imcd %d, which had the room, has ended: what became of the request is not known", engine)
			}
		}
	}
}

func (c *Calls) begin() (id uint64, came chan answer, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.open) >= maxCalls {
		return 0, nil, refused("too many requests wait for other imcd")
	}
	c.last++
	came = make(chan answer, 1)
	c.open[c.last] = came
	return c.last, came, nil
}

func (c *Calls) end(id uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.open, id)
}

// publish sends a call or an answer.
func (c *Calls) publish(to int64, kind string, what any) error {
	body, err := json.Marshal(what)
	if err != nil {
		return fmt.Errorf("a %s for imcd %d: %w", kind, to, err)
	}
	// What is not UTF-8 is refused by PostgreSQL, and NUL stands as an escape.
	row := schema.BusRow{To: to, Kind: kind, Body: strings.ToValidUTF8(string(body), "\ufffd"), Within: writeTimeout}
	if err := c.store.Publish(row); err != nil {
		return refused("%v", err)
	}
	return nil
}

// Hear takes what another imcd has published. It does not block.
func (c *Calls) Hear(row schema.BusRow) {
	switch row.Kind {
	case kindCall:
		var r received
		if err := json.Unmarshal([]byte(row.Body), &r.call); err != nil {
			c.log.Warn().Err(err).Int64("engine", row.From).Msg("a request of another imcd cannot be read")
			return
		}
		r.from = row.From
		select {
		case c.queue <- r:
		default:
			c.answer(r, nil, refused("too many requests of other imcd wait"))
		}
	case kindAnswer:
		var a answer
		if err := json.Unmarshal([]byte(row.Body), &a); err != nil {
			c.log.Warn().Err(err).Int64("engine", row.From).Msg("an answer of another imcd cannot be read")
			return
		}
		c.mu.Lock()
		came := c.open[a.ID]
		delete(c.open, a.ID)
		c.mu.Unlock()
		if came != nil {
			came <- a // never waits: there is one answer
		}
	}
}

func (c *Calls) work(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case r := <-c.queue:
			method, ok := c.methods[r.call.Method]
			if !ok {
				c.answer(r, nil, &jsonrpc.Error{Code: jsonrpc.CodeMethodNotFound,
					Message: fmt.Sprintf("imcd has no method %.64q for other imcd", r.call.Method)})
				continue
			}
			result, err := method(ctx, r.call.Params)
			c.answer(r, result, err)
		}
	}
}

// answer publishes the outcome of a request.
func (c *Calls) answer(r received, result any, err error) {
	a := answer{ID: r.call.ID}
	if err == nil {
		a.Result, err = json.Marshal(result)
	}
	if err == nil && len(a.Result) > maxAnswer {
		err = refused("the answer is too long for the way between two imcd: ask the one that has the rooms (imcctl fleet)")
	}
	if err != nil {
		a.Result = nil
		if coded := new(jsonrpc.Error); errors.As(err, &coded) {
			a.Error = &jsonrpc.Error{Code: coded.Code, Message: coded.Message}
		} else { // as the port would answer it
			c.log.Error().Err(err).Str("method", r.call.Method).Msg("a request of another imcd failed")
			a.Error = &jsonrpc.Error{Code: jsonrpc.CodeInternalError, Message: "internal error"}
		}
	}
	if err := c.publish(r.from, kindAnswer, a); err != nil {
		c.log.Warn().Err(err).Int64("engine", r.from).Str("method", r.call.Method).
			Msg("the answer to another imcd was not sent")
	}
}
