package rpc

import (
	"context"
	"encoding/json"
	"errors"
	"sync"

	"github.com/rs/zerolog"

	"imcd/evapi"
	"imcd/evapi/jsonrpc"
)

// Requests of operators that come through Kamailio are few and answered at
// once; more than this means that somebody is flooding.
const (
	callWorkers = 4
	callQueue   = 256
)

// codeBusy is the error code of a request that is refused because too many are under way.
const codeBusy = -32000

// Handler answers one JSON-RPC payload; nil means no answer.
// *jsonrpc.Server is one.
type Handler interface {
	Handle(ctx context.Context, payload []byte) []byte
}

// Pool answers the requests that operators send through Kamailio. The
// connection's reader puts them in a queue, and never waits.
type Pool struct {
	handler Handler
	log     zerolog.Logger
	queue   chan *evapi.Call // written by the connections' readers, read by the workers
	ctx     context.Context  // of all requests; ended by Stop
	stop    context.CancelFunc
	done    sync.WaitGroup
}

// NewPool returns a Pool that answers with h once it is started.
func NewPool(h Handler, log zerolog.Logger) *Pool {
	p := &Pool{handler: h, log: log, queue: make(chan *evapi.Call, callQueue)}
	p.ctx, p.stop = context.WithCancel(context.Background())
	return p
}

// Start begins to answer; it returns at once.
func (p *Pool) Start() {
	for range callWorkers {
		p.done.Go(p.work)
	}
}

// Stop ends the requests under way and waits for the workers. Requests that are
// still queued, or come later, get no answer.
func (p *Pool) Stop() {
	p.stop()
	p.done.Wait()
}

// Call queues q, or refuses it if the queue is full. It never blocks.
func (p *Pool) Call(q *evapi.Call) {
	c := *q
	c.JSON = append([]byte(nil), q.JSON...) // q belongs to the reader
	select {
	case p.queue <- &c:
	default:
		p.answer(&c, errorResponse(c.JSON, codeBusy, "too many requests"))
	}
}

func (p *Pool) work() {
	for {
		select {
		case <-p.ctx.Done():
			return
		case q := <-p.queue:
			if b := p.handler.Handle(p.ctx, q.JSON); b != nil {
				p.answer(q, b)
			}
		}
	}
}

func (p *Pool) answer(q *evapi.Call, b []byte) {
	err := q.Conn.Answer(q.Tag, b)
	if errors.Is(err, evapi.ErrTooLarge) {
		err = q.Conn.Answer(q.Tag, errorResponse(q.JSON, jsonrpc.CodeInternalError,
			"the answer is too long for the way through Kamailio; ask imcd's own RPC port"))
	}
	if err != nil {
		p.log.Warn().Err(err).Str("kamailio", q.Conn.Name()).Str("tag", q.Tag).Msg("answer to an operator not sent")
	}
}

// errorResponse is a JSON-RPC error with the id of request, or null where that
// has none.
func errorResponse(request []byte, code int, message string) []byte {
	var head struct {
		ID json.RawMessage `json:"id"`
	}
	if json.Unmarshal(request, &head) != nil || head.ID == nil {
		head.ID = json.RawMessage("null")
	}
	b, err := json.Marshal(struct {
		Version string          `json:"jsonrpc"`
		Error   *jsonrpc.Error  `json:"error"`
		ID      json.RawMessage `json:"id"`
	}{"2.0", &jsonrpc.Error{Code: code, Message: message}, head.ID})
	if err != nil {
		// Nothing of it can fail to marshal but an id that is not JSON, which was just parsed.
		return []byte(`{"jsonrpc":"2.0","error":{"code":-32603,"message":"internal error"},"id":null}`)
	}
	return b
}
