package engine

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emiago/sipgo/sip"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"go.uber.org/goleak"
	"golang.org/x/crypto/bcrypt"
	"pgregory.net/rapid"

	"imcd/evapi"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// got is a copy that reached a recipient.
type got struct {
	to, from, body, callID string
	headers                string
	device                 string // evapi.Copy.Device, or one of fakeRelay.phones
	code                   int    // its answer; 0: none
	method                 string
	dialog                 *evapi.Dialog
}

// same reports whether g and o are the same copy, whatever the answers were.
func (g got) same(o got) bool {
	g.code, o.code = 0, 0
	return g == o
}

// sent is what became of a copy.
type sent struct {
	at     time.Time
	result evapi.Result
	conn   *evapi.Conn // that took it
}

// tooLarge is the code of a copy that Send refuses for good.
const tooLarge = -1

// fakeRelay answers copies by itself: 200, or what codes says for a recipient.
type fakeRelay struct {
	mu      sync.Mutex
	engine  *Engine
	answers map[*evapi.Message]chan evapi.Answer
	copies  []got
	results []sent                  // what became of copies, in their order
	codes   map[string]evapi.Result // by user part; Code 0: no result ever
	once    map[string]evapi.Result // the same, for one copy
	down    bool
	phones  map[string][]string      // by user part: GRUUs of the devices that are there; users without an entry have one
	silent  map[string]string        // by device: what it never answers
	cutOff  map[string]bool          // devices of which the Kamailio is not connected
	says    map[string]int           // by device: its answer
	deaf    map[string]bool          // devices to which copies for them alone are lost
	far     map[string]time.Duration // by device: after which it answers, without rtt
	rtt     time.Duration            // after which phones answer; 0: at once
	conns   []*evapi.Conn            // that take copies, in turn
}

// Move says that there is no other engine.
func (f *fakeRelay) Move(*evapi.Message, int) error { return evapi.ErrAlone }

func (f *fakeRelay) Reply(m *evapi.Message, a evapi.Answer) {
	f.mu.Lock()
	ch := f.answers[m]
	delete(f.answers, m)
	f.mu.Unlock()
	if ch == nil {
		panic("a request was answered twice")
	}
	ch <- a
}

func (f *fakeRelay) Send(_ *evapi.Conn, c evapi.Copy) (*evapi.Conn, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.down {
		return nil, evapi.ErrDown
	}
	user, _, _ := strings.Cut(strings.TrimPrefix(c.To, "sip:"), "@")
	user = strings.ToLower(user)
	if f.cutOff[c.Device] {
		return nil, evapi.ErrDown
	}
	if f.deaf[c.Device] {
		return nil, nil
	}
	before := len(f.copies)
	there := f.arrives(user, decode(c))
	if text := f.silent[c.Device]; text != "" && strings.HasSuffix(decode(c).body, text) {
		return nil, nil
	}
	r, ok := f.once[user]
	if delete(f.once, user); !ok {
		r, ok = f.codes[user]
	}
	switch {
	case !there:
		r.Code = 404
	case f.says[c.Device] != 0:
		r.Code = f.says[c.Device]
	case !ok:
		r.Code = 200
	}
	for i := before; i < len(f.copies); i++ {
		f.copies[i].code = r.Code
	}
	var conn *evapi.Conn
	if n := len(f.conns); n > 0 {
		conn = f.conns[0]
		f.conns = append(f.conns[1:n:n], conn)
	}
	if r.Code == tooLarge {
		f.results = append(f.results, sent{time.Now(), evapi.Result{Code: 400, Local: true}, nil})
		return nil, evapi.ErrTooLarge
	}
	f.results = append(f.results, sent{time.Now(), r, conn})
	if r.Code != 0 {
		r.CallID, r.Device = c.CallID, c.Device
		if c.Out.Method() == "INVITE" && r.Code == 200 {
			r.Dialog = &evapi.Dialog{Local: "ours", Remote: "theirs", CSeq: 1}
		}
		if rtt := max(f.rtt, f.far[c.Device]); rtt > 0 {
			time.AfterFunc(rtt, func() { f.engine.Result(r) })
		} else {
			f.engine.Result(r)
		}
	}
	return conn, nil
}

// arrives notes a copy for each device that it reaches; false: it reaches none.
func (f *fakeRelay) arrives(user string, g got) bool {
	phones, several := f.phones[user]
	if !several {
		f.copies = append(f.copies, g)
		return true
	}
	there := false
	for _, p := range phones {
		if g.device == "" || g.device == p {
			one := g
			one.device = p
			f.copies = append(f.copies, one)
			there = true
		}
	}
	return there
}

func (f *fakeRelay) Bounds() evapi.Bounds { return evapi.Bounds{Paced: true} }

// decode reads a copy back from its frame.
func decode(c evapi.Copy) got {
	var frame struct {
		Method string
		Params []string
	}
	if err := json.Unmarshal(c.Out.Frame(c.To, c.CallID), &frame); err != nil {
		panic(err)
	}
	g := got{to: c.To, callID: c.CallID, device: c.Device, method: c.Out.Method(), dialog: c.Dialog}
	if frame.Method == "imc.send" {
		plain := func(i int) string {
			b, err := base64.StdEncoding.DecodeString(frame.Params[i])
			if err != nil {
				panic(err)
			}
			return string(b)
		}
		g.from, g.headers, g.body = plain(4), plain(6), plain(7)
		return g
	}
	g.headers, g.body = frame.Params[4], frame.Params[5]
	_, rest, _ := strings.Cut(g.headers, "From: ")
	g.from, _, _ = strings.Cut(rest, "\r\n")
	return g
}

func (f *fakeRelay) take() []got {
	f.mu.Lock()
	defer f.mu.Unlock()
	c := f.copies
	f.copies, f.results = nil, nil
	return c
}

func (f *fakeRelay) set(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

// tester is what house needs of a testing.TB or a rapid.T.
type tester interface {
	Helper()
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
	Error(args ...any)
	Fatal(args ...any)
}

// house is an engine with its fakes.
type house struct {
	t     tester
	e     *Engine
	store *memStore
	relay *fakeRelay
}

func newHouse(t testing.TB, change func(*Config)) *house {
	return openHouse(t, newMemStore(), change)
}

// newCouple is a house with a room r of alice, who owns it, and bob, in which nothing is left to be heard.
func newCouple(t testing.TB) *house {
	h := newHouse(t, nil)
	h.say("alice", "r", "#create")
	h.say("bob", "r", "#join")
	h.heard()
	return h
}

func openHouse(t testing.TB, store *memStore, change func(*Config)) *house {
	t.Helper()
	h := startHouse(t, store, change)
	t.Cleanup(h.close)
	return h
}

// startHouse leaves it to the caller to close the house.
func startHouse(t tester, kept *memStore, change func(*Config)) *house {
	t.Helper()
	cfg := DefaultConfig()
	cfg.HashSize = 2
	cfg.KeyCost = bcrypt.MinCost // the race detector makes it slow
	cfg.JoinNotices = JoinsAll   // what is collected else is not quiet
	if change != nil {
		change(&cfg)
	}
	h := &house{t: t, store: kept, relay: &fakeRelay{answers: map[*evapi.Message]chan evapi.Answer{},
		codes: maps.Clone(kept.codes), once: map[string]evapi.Result{}}}
	e, err := New(cfg, kept, h.relay, prometheus.NewRegistry(), zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	h.e, h.relay.engine = e, e
	if kept.before != nil {
		kept.before(e)
	}
	if err := e.Start(context.Background(), kept.fleet); err != nil {
		t.Fatal(err)
	}
	return h
}

// checkTimed is rapid.Check of what has its own time.
func checkTimed(t *testing.T, check func(*rapid.T)) {
	rapid.Check(t, func(rt *rapid.T) {
		var failure any
		synctest.Test(t, func(*testing.T) {
			defer func() { failure = recover() }()
			check(rt)
		})
		if failure != nil {
			panic(failure) // rapid's, that goes on to shrink
		}
	})
}

// close ends the engine, which has as much time for that as it needs on a slow machine: with less, it may
// repeat a notice after the restart.
func (h *house) close() { h.stop(20 * time.Second) }

// cut ends an engine whose copies have no outcome, so that it cannot come to an end by itself.
func (h *house) cut() { h.stop(100 * time.Millisecond) }

func (h *house) stop(limit time.Duration) {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	h.e.Stop(ctx)
}

// post sends a MESSAGE and returns where its answer comes.
func (h *house) post(from, room, body string, headers ...string) chan evapi.Answer {
	h.t.Helper()
	return h.send(h.request(from, room, body, headers...))
}

// request makes a MESSAGE with a Call-ID of its own.
func (h *house) request(from, room, body string, headers ...string) *evapi.Message {
	h.t.Helper()
	h.store.mu.Lock()
	h.store.serial++ // a Call-ID is never used again, not even after a restart
	n := h.store.serial
	h.store.mu.Unlock()
	if !strings.Contains(from, "<") {
		from = "<sip:" + from + "@x.org>"
	}
	raw := fmt.Sprintf("MESSAGE sip:%s SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:5;branch=z9hG4bK%d\r\n"+
		"From: %s;tag=1\r\nTo: <sip:%s>\r\nCall-ID: call-%d\r\nCSeq: 1 MESSAGE\r\n%sContent-Length: %d\r\n\r\n%s",
		room, n, from, room, n, strings.Join(headers, ""), len(body), body)
	msg, err := sip.NewParser().ParseSIP([]byte(raw))
	if err != nil {
		h.t.Fatalf("test request: %v\n%s", err, raw)
	}
	return &evapi.Message{Received: time.Now(), RURI: "sip:" + room, Request: msg.(*sip.Request)}
}

func (h *house) send(m *evapi.Message) chan evapi.Answer {
	ch := make(chan evapi.Answer, 1)
	h.relay.set(func() { h.relay.answers[m] = ch })
	h.e.Message(m)
	return ch
}

// say sends a MESSAGE, waits until all is quiet and returns the answer.
func (h *house) say(from, room, body string, headers ...string) evapi.Answer {
	h.t.Helper()
	a := <-h.post(from, room+"@x.org", body, headers...)
	h.quiet()
	return a
}

// quiet waits until nothing is under way. What never gets a result counts as
// quiet when only that is left.
func (h *house) quiet() {
	h.t.Helper()
	calm := func() bool {
		return h.e.requests.Load() == 0 && h.e.held.waiting.Load() == 0 && h.e.credits.inUse() == 0 &&
			h.e.committer.idle() && h.e.loader.idle() && h.e.reads.idle()
	}
	h.until("quiet", func() bool {
		if !calm() {
			return false
		}
		// What was just posted to a shard is done before this is answered.
		_, err := h.e.Stats(context.Background())
		return err == nil && calm()
	})
}

func (h *house) until(what string, cond func() bool) {
	h.t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for !cond() {
		if time.Now().After(deadline) {
			h.t.Fatalf("never %s: %d requests, %d bytes, %d copies under way", what,
				h.e.requests.Load(), h.e.held.waiting.Load(), h.e.credits.inUse())
		}
		runtime.Gosched()
	}
}

// heard is what was delivered since the last call: "user<room: body", sorted by
// user, in order for each.
func (h *house) heard() []string {
	var lines []string
	for _, c := range h.relay.take() {
		user, _, _ := strings.Cut(strings.TrimPrefix(c.to, "sip:"), "@")
		_, rest, _ := strings.Cut(c.from, "<sip:")
		room, _, _ := strings.Cut(rest, "@")
		lines = append(lines, user+"<"+room+": "+c.body)
	}
	slices.SortStableFunc(lines, func(a, b string) int {
		ua, _, _ := strings.Cut(a, "<")
		ub, _, _ := strings.Cut(b, "<")
		return strings.Compare(ua, ub)
	})
	return lines
}

func (h *house) wantHeard(want ...string) {
	h.t.Helper()
	heard := h.heard()
	ok := len(heard) == len(want)
	for i := range want {
		ok = ok && i < len(heard) && strings.Contains(heard[i], want[i])
	}
	if !ok {
		h.t.Errorf("heard\n  %s\nwant\n  %s", strings.Join(heard, "\n  "), strings.Join(want, "\n  "))
	}
}

func (h *house) want(a evapi.Answer, code, rc int) {
	h.t.Helper()
	if a.Code != code || a.RC != rc {
		h.t.Errorf("answer %d %q rc %d, want %d rc %d", a.Code, a.Reason, a.RC, code, rc)
	}
}

func result(code int) evapi.Result { return evapi.Result{Code: code} }

// taken reports whether a batch is being written.
func (c *committer) taken() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.writing
}

// onShard lets the goroutine of s run f.
func onShard(s *shard, f func(*shard)) { s.inbox.post(func() { f(s) }) }

// idle reports whether nothing waits or is being read.
func (l *loader) idle() bool { return l.pending() == 0 }
