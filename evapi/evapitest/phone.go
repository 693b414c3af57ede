package evapitest

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/emiago/sipgo/sip"
)

// Manners are how a Phone treats the MESSAGE requests that it receives. The zero value
// answers each with 200.
type Manners struct {
	Name string // for tests; may be empty

	// Codes are the final responses, one for each request; the last one is for all that
	// follow. 0 is silence. Empty: 200.
	Codes       []int
	Provisional []int         // sent before the final response
	Delay       time.Duration // until the first response
	Answers     int           // how often the final response is sent; 0: once
	Then        int           // another final response, sent after the first one; 0: none
	Garbage     bool          // malformed responses are sent before the final one
	Hangup      bool          // the connection is closed in place of the response

	Reply      string        // sent to From after each request; empty: nothing
	Echo       bool          // the text of each request is sent to From
	Receipts   []ReceiptForm // sent to From after each request, whatever it was
	Unregister bool          // the phone unregisters at the first request
}

// Worst are the manners that a room has to live with, each with a name.
func Worst() []Manners {
	worst := []Manners{
		{Name: "silent", Codes: []int{0}},
		{Name: "slow", Delay: 300 * time.Millisecond},
		{Name: "very-slow", Delay: 3 * time.Second},
		{Name: "trying", Codes: []int{0}, Provisional: []int{100, 180}},
		{Name: "trying-first", Provisional: []int{100, 180, 183}},
		{Name: "twice", Answers: 2},
		{Name: "refuses-then", Then: 486},
		{Name: "takes-then", Codes: []int{486}, Then: 200},
		{Name: "garbage", Garbage: true},
		{Name: "only-garbage", Garbage: true, Codes: []int{0}},
		{Name: "hangup", Hangup: true},
		{Name: "away", Reply: "I am away and will read this later."},
		{Name: "echo", Echo: true},
		{Name: "receipts", Receipts: []ReceiptForm{PlainReceipt}},
		{Name: "receipts-cpim", Receipts: []ReceiptForm{CPIMReceipt}},
		{Name: "receipts-deflated", Receipts: []ReceiptForm{DeflatedReceipt}},
		{Name: "receipts-all", Receipts: []ReceiptForm{PlainReceipt, CPIMReceipt, DeflatedReceipt}},
		{Name: "unregisters", Unregister: true},
	}
	for _, code := range []int{202, 302, 400, 403, 404, 405, 408, 410, 413, 415, 420, 430, 473, 476, 477, 478, 479,
		480, 481, 482, 486, 488, 493, 500, 501, 503, 504, 513, 600, 603, 604, 606, 699} {
		worst = append(worst, Manners{Name: "answers-" + itoa(code), Codes: []int{code}})
	}
	return worst
}

// phoneQueue bounds the requests that a Phone has not dealt with yet. It answers those
// that come above in no other way than by its next final response.
const phoneQueue = 1024

// phonePatience is how long a Phone waits for the answer to a request of its own.
const phonePatience = 2 * time.Second

// Phone is a user agent with the manners of a bad phone. Its requests are found
// as with any user agent; SetAnswer and AnswerWith take its manners away.
type Phone struct {
	*UA
	manners Manners
	queue   chan phoneTask
	cancel  context.CancelFunc // ends what run does
	ran     sync.WaitGroup     // run

	answered atomic.Int64 // requests answered so far, for Codes
	pending  atomic.Int64 // requests that run has not dealt with
	sent     atomic.Int64
	refused  atomic.Int64
}

// phoneTask is a request with the final response that the phone has chosen.
type phoneTask struct {
	req   *sip.Request
	reply Reply
}

// NewPhone opens a phone's socket, like NewUA. The caller must call Close.
func NewPhone(cfg UAConfig, m Manners) (*Phone, error) {
	u, err := NewUA(cfg)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	p := &Phone{UA: u, manners: m, queue: make(chan phoneTask, phoneQueue), cancel: cancel}
	u.SetAnswer(p.answer)
	p.ran.Add(1)
	go p.run(ctx)
	return p, nil
}

// Close closes the socket and waits. It does not unregister.
func (p *Phone) Close() error {
	p.cancel()
	err := p.UA.Close()
	p.ran.Wait()
	return err
}

// Sent is how many requests the phone has sent by itself, replies and receipts, and how
// many of them were not answered by a 2xx.
func (p *Phone) Sent() (sent, refused int) { return int(p.sent.Load()), int(p.refused.Load()) }

// Busy reports whether the phone still has something to answer, or to send by itself,
// for what it has received.
func (p *Phone) Busy() bool { return p.pending.Load() > 0 }

// answer is called by the link's reader; run does the work that takes time.
func (p *Phone) answer(req *sip.Request) Reply {
	if req.Method != sip.MESSAGE {
		return Reply{Code: 200}
	}
	reply := Reply{Code: 200}
	if codes := p.manners.Codes; len(codes) > 0 {
		reply.Code = codes[min(int(p.answered.Add(1)), len(codes))-1]
	}
	if p.manners.plain() {
		return reply
	}
	p.pending.Add(1)
	select {
	case p.queue <- phoneTask{req: req, reply: reply}:
		return Reply{}
	default:
		p.pending.Add(-1)
		return reply
	}
}

// plain reports whether a request is only answered.
func (m *Manners) plain() bool {
	return len(m.Provisional) == 0 && m.Delay == 0 && m.Answers <= 1 && m.Then == 0 && !m.Garbage && !m.Hangup &&
		m.Reply == "" && !m.Echo && len(m.Receipts) == 0 && !m.Unregister
}

// run does all that takes time, for one request after the other.
func (p *Phone) run(ctx context.Context) {
	defer p.ran.Done()
	unregistered := false
	for {
		var t phoneTask
		select {
		case t = <-p.queue:
		case <-ctx.Done():
			return
		}
		if !p.respond(ctx, t) {
			return
		}
		if p.manners.Unregister && !unregistered {
			unregistered = true
			p.own(ctx, func(ctx context.Context) (int, error) { return 200, p.Unregister(ctx) })
		}
		p.say(ctx, t.req)
		p.pending.Add(-1)
	}
}

// respond sends the responses to a request; false when the phone is closed.
func (p *Phone) respond(ctx context.Context, t phoneTask) bool {
	if p.manners.Delay > 0 {
		select {
		case <-time.After(p.manners.Delay):
		case <-ctx.Done():
			return false
		}
	}
	if p.manners.Hangup {
		// A connection that is closed already is as good.
		_ = p.Hangup()
		return true
	}
	for _, code := range p.manners.Provisional {
		p.send(render(t.req, Reply{Code: code}))
	}
	if p.manners.Garbage {
		for _, data := range garbage(t.req) {
			p.send(data)
		}
	}
	for range max(p.manners.Answers, 1) {
		p.send(render(t.req, t.reply))
	}
	p.send(render(t.req, Reply{Code: p.manners.Then}))
	return true
}

// say sends the phone's own requests.
func (p *Phone) say(ctx context.Context, req *sip.Request) {
	from := req.From()
	if from == nil {
		return
	}
	uri := from.Address.Addr()
	texts := []string{p.manners.Reply}
	if p.manners.Echo {
		texts = append(texts, string(req.Body()))
	}
	for _, text := range texts {
		if text == "" {
			continue
		}
		p.own(ctx, func(ctx context.Context) (int, error) { return code(p.Say(ctx, uri, text)) })
	}
	for _, form := range p.manners.Receipts {
		for _, status := range []ReceiptStatus{Delivered, Displayed} {
			r, err := NewReceipt(form, status, p.AOR(), req)
			if err != nil {
				continue // a request without a Call-ID
			}
			p.own(ctx, func(ctx context.Context) (int, error) { return code(p.Do(ctx, r)) })
		}
	}
}

// own sends something by itself and counts it.
func (p *Phone) own(ctx context.Context, send func(ctx context.Context) (int, error)) {
	ctx, cancel := context.WithTimeout(ctx, phonePatience)
	defer cancel()
	p.sent.Add(1)
	if code, err := send(ctx); err != nil || code >= 300 {
		p.refused.Add(1)
	}
}

func code(res *sip.Response, err error) (int, error) {
	if err != nil {
		return 0, err
	}
	return res.StatusCode, nil
}

// garbage are responses to a request that no proxy can use.
func garbage(req *sip.Request) [][]byte {
	good := render(req, Reply{Code: 200})
	noVia := sip.NewResponseFromRequest(req, 200, "OK", nil)
	noVia.RemoveHeader("Via")
	strange := sip.NewResponseFromRequest(req, 200, "OK", nil)
	strange.RemoveHeader("CSeq")
	strange.AppendHeader(sip.NewHeader("CSeq", "99999999999999999999 NONSENSE"))
	return [][]byte{
		[]byte("\x00\x01\x02\xff\xfe garbage\r\n\r\n"),
		[]byte("SIP/2.0 2oo OK\r\n\r\n"),
		slices.Concat([]byte("SIP/2.0 999 Beyond\r\n"), good[len("SIP/2.0 200 OK\r\n"):]),
		good[:len(good)/2],
		[]byte(noVia.String()),
		[]byte(strange.String()),
	}
}

// ErrNoCallID is the error of NewReceipt for a request that no receipt can name.
var ErrNoCallID = errors.New("evapitest: request without Call-ID")
