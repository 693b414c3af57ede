package webhook

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"go.uber.org/goleak"

	"imcd/engine"
	"imcd/engine/store"
	"imcd/evapi/evapitest/kit"
	"imcd/schema"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// secret is the key of the tests.
func secret() string {
	return "whsec_" + base64.StdEncoding.EncodeToString([]byte(strings.Repeat("k", 32)))
}

// receiver is a program that gets events. It may be killed and started again at the same address.
type receiver struct {
	t    *testing.T
	addr string

	mu     sync.Mutex
	server *http.Server
	answer func(n int) int // by mu: the code for the nth POST; 0: the connection is cut
	posts  int             // by mu
	seen   []int64         // by mu: ids of events, as they came
	events []event         // by mu
	hooks  []string        // by mu: webhook-ids
	news   chan struct{}
}

func newReceiver(t *testing.T, answer func(n int) int) *receiver {
	r := &receiver{t: t, answer: answer, news: make(chan struct{}, 1)}
	r.start()
	t.Cleanup(r.kill)
	return r
}

func (r *receiver) start() {
	r.t.Helper()
	addr := r.addr
	if addr == "" {
		addr = "127.0.0.1:0"
	}
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		r.t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(r.take), ReadHeaderTimeout: time.Minute}
	r.mu.Lock()
	r.server, r.addr = server, ln.Addr().String()
	r.mu.Unlock()
	go func() { _ = server.Serve(ln) }()
}

// kill ends it as kill -9 does: connections are cut.
func (r *receiver) kill() {
	r.mu.Lock()
	server := r.server
	r.mu.Unlock()
	_ = server.Close()
}

func (r *receiver) take(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return
	}
	verify, err := standardwebhooks.NewWebhook(secret())
	if err != nil {
		r.t.Error(err)
	}
	if err := verify.Verify(body, req.Header); err != nil {
		r.t.Errorf("signature: %v", err)
	}
	var p payload
	if err := json.Unmarshal(body, &p); err != nil || p.Type != "imc.events" || len(p.Data.Events) == 0 {
		r.t.Errorf("payload %s: %v", body, err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.posts++
	code := r.answer(r.posts)
	r.hooks = append(r.hooks, req.Header.Get(standardwebhooks.HeaderWebhookID))
	if code/100 == 2 || code == 0 {
		for _, ev := range p.Data.Events {
			id, err := strconv.ParseInt(ev.ID, 10, 64)
			if err != nil {
				r.t.Error(err)
			}
			r.seen, r.events = append(r.seen, id), append(r.events, ev)
		}
	}
	select {
	case r.news <- struct{}{}:
	default:
	}
	if code == 0 { // it has it, and nobody learns of that
		panic(http.ErrAbortHandler)
	}
	w.WriteHeader(code)
}

// wait waits until done, which sees the receiver's fields.
func (r *receiver) wait(done func() bool) {
	r.t.Helper()
	ctx := kit.Context(r.t)
	for {
		r.mu.Lock()
		ok := done()
		r.mu.Unlock()
		if ok {
			return
		}
		select {
		case <-r.news:
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			r.t.Fatalf("the receiver has %d events of %d POSTs", len(r.seen), r.posts)
		}
	}
}

// desk is an imcd as a Sender sees it.
type desk struct {
	t      *testing.T
	url    string
	store  *schema.Store
	stored chan struct{}
	off    chan struct{} // closed by StopWebhook
	once   sync.Once
	sender *Sender
	reg    *prometheus.Registry
}

func (d *desk) WebhookEvents() <-chan struct{} { return d.stored }
func (d *desk) StopWebhook()                   { d.once.Do(func() { close(d.off) }) }

// open starts a Sender on a database; url empty: a new one.
func open(t *testing.T, url string, cfg Config) *desk {
	t.Helper()
	if url == "" {
		url = "sqlite://" + filepath.Join(t.TempDir(), "imcd.db")
	}
	s, err := schema.Open(kit.Context(t), url, schema.Options{Log: zerolog.Nop()})
	if err != nil {
		t.Fatal(err)
	}
	d := &desk{t: t, url: url, store: s, stored: make(chan struct{}, 1), off: make(chan struct{}),
		reg: prometheus.NewRegistry()}
	cfg.Secret = secret()
	if cfg.Keep == 0 {
		cfg.Keep = time.Hour
	}
	if d.sender, err = New(cfg, s, d, func() store.Part { return store.Part{} }, d.reg, zerolog.Nop()); err != nil {
		t.Fatal(err)
	}
	d.sender.retry = 20 * time.Millisecond
	if err := d.sender.Start(kit.Context(t)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.close)
	return d
}

func (d *desk) close() {
	d.sender.Stop()
	if err := d.store.Close(); err != nil {
		d.t.Error(err)
	}
}

// happen stores n events of a room.
func (d *desk) happen(room string, n int, at time.Time) {
	d.t.Helper()
	for i := range n {
		b, err := json.Marshal(engine.EventInfo{Event: "message", Room: room, Seq: uint64(i + 1), Time: at})
		if err != nil {
			d.t.Fatal(err)
		}
		err = d.store.Commit(context.Background(), store.Fence{}, []store.Change{{Op: store.PutEvent, Event: &store.EventRow{
			Room: store.Name{User: room, Host: "x.org"}, At: at, Event: b}}})
		if err != nil {
			d.t.Fatal(err)
		}
		select {
		case d.stored <- struct{}{}:
		default:
		}
	}
}

// firsts leaves out events that came before, and fails if what is left is not in order.
func firsts(t *testing.T, seen []int64) (n int) {
	t.Helper()
	var last int64
	for _, id := range seen {
		if id > last+1 {
			t.Errorf("event %d came behind %d", id, last)
		}
		if id > last {
			last = id
			n++
		}
	}
	return n
}

// TestReceivers: whatever a receiver does, it gets all events, in order; those that come again are recognised by
// their ids.
func TestReceivers(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]func(n int) int{
		"takes all":            func(int) int { return 204 },
		"fails at first":       func(n int) int { return 200 + 300*min(1, max(0, 4-n)) },
		"redirects":            func(n int) int { return 200 + 102*(n%2) },
		"fails now and then":   func(n int) int { return 200 + 303*(n%2) },
		"cuts now and then":    func(n int) int { return 202 * (n % 2) },
		"does not know it yet": func(n int) int { return 200 + 204*(n%2) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newReceiver(t, answer)
			d := open(t, "", Config{URL: "http://" + r.addr})
			for _, room := range []string{"a", "b"} {
				d.happen(room, 60, time.Now())
			}
			r.wait(func() bool { return len(r.seen) > 0 && r.seen[len(r.seen)-1] == 120 })
			if n := firsts(t, r.seen); n != 120 {
				t.Errorf("%d events came", n)
			}
		})
	}
}

// TestReceiverKilled: the receiver is killed ten times under load, and the Sender is stopped and started in between:
// each event comes at least once, in order.
func TestReceiverKilled(t *testing.T) {
	t.Parallel()
	r := newReceiver(t, func(n int) int {
		if n%3 == 0 {
			return 0
		}
		return 200
	})
	d := open(t, "", Config{URL: "http://" + r.addr})
	const each = 40
	for i := range 10 {
		loaded := make(chan struct{})
		go func() {
			defer close(loaded)
			d.happen(fmt.Sprint("room", i%3), each, time.Now())
		}()
		r.wait(func() bool { return len(r.seen) > 0 && r.seen[len(r.seen)-1] > int64(i*each+each/4) })
		r.kill()
		<-loaded
		if i == 4 { // imcd ends as well
			d.close()
			d = open(t, d.url, Config{URL: "http://" + r.addr})
		}
		r.start()
	}
	r.wait(func() bool { return r.seen[len(r.seen)-1] == 10*each })
	if n := firsts(t, r.seen); n != 10*each {
		t.Errorf("%d events came", n)
	}
	t.Logf("%d events came %d times in %d POSTs", 10*each, len(r.seen), r.posts)
}

// TestReceiverGone: after a 410 nothing is sent and stored, also by the next imcd, until the configuration changes.
func TestReceiverGone(t *testing.T) {
	t.Parallel()
	r := newReceiver(t, func(int) int { return 410 })
	cfg := Config{URL: "http://" + r.addr, Events: "missed"}
	d := open(t, "", cfg)
	d.happen("a", 3, time.Now())
	for i := range 2 {
		select {
		case <-d.off:
		case <-kit.Context(t).Done():
			t.Fatal("it is not switched off")
		}
		if w := d.sender.Warning(); !strings.Contains(w, "410") {
			t.Errorf("the warning is %q", w)
		}
		if err := d.sender.cleanOnce(kit.Context(t)); err != nil {
			t.Error(err)
		}
		if n, _, err := d.store.CountEvents(kit.Context(t), 10); err != nil || n != 0 {
			t.Errorf("%d events are left, %v", n, err)
		}
		if i == 0 {
			d.close()
			d = open(t, d.url, cfg)
			d.happen("a", 2, time.Now())
		}
	}
	if r.posts != 1 {
		t.Errorf("%d POSTs", r.posts)
	}
	d.close()
	r.mu.Lock()
	r.answer = func(int) int { return 200 }
	r.mu.Unlock()
	cfg.Events = "missed, join"
	d = open(t, d.url, cfg)
	d.happen("a", 1, time.Now())
	r.wait(func() bool { return len(r.seen) == 1 })
}

// TestOldEvents: what could not be sent for too long is deleted and counted; also without a receiver.
func TestOldEvents(t *testing.T) {
	t.Parallel()
	r := newReceiver(t, func(int) int { return 500 })
	for _, url := range []string{"", "http://" + r.addr} {
		d := open(t, "", Config{URL: url, Keep: time.Hour})
		d.happen("a", 3, time.Now().Add(-2*time.Hour))
		d.happen("a", 2, time.Now())
		if err := d.sender.cleanOnce(kit.Context(t)); err != nil {
			t.Error(err)
		}
		if n, _, err := d.store.CountEvents(kit.Context(t), 10); err != nil || n != 2 {
			t.Errorf("%q: %d events are left, %v", url, n, err)
		}
		metrics, err := d.reg.Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range metrics {
			if m.GetName() == "imc_webhook_dropped_total" && m.GetMetric()[1].GetCounter().GetValue() != 3 {
				t.Errorf("%q: counted %v", url, m)
			}
		}
		if url == "" {
			continue
		}
		r.wait(func() bool { return r.posts > 2 })
		if w := d.sender.Warning(); !strings.Contains(w, "does not take events") {
			t.Errorf("the warning is %q", w)
		}
		r.mu.Lock()
		r.answer = func(int) int { return 200 }
		r.mu.Unlock()
		r.wait(func() bool { return len(r.seen) > 0 && r.seen[len(r.seen)-1] == 5 })
	}
}

// TestMissedIsComplete: what a user has missed comes with its sender, and with the text only if that is allowed.
func TestMissedIsComplete(t *testing.T) {
	t.Parallel()
	for _, bodies := range []bool{false, true} {
		r := newReceiver(t, func(int) int { return 200 })
		d := open(t, "", Config{URL: "http://" + r.addr, Bodies: bodies})
		room, alice := store.Name{User: "chat-a", Host: "x.org"}, store.Name{User: "alice", Host: "x.org"}
		missed := func(seq uint64) store.Change {
			return store.Change{Op: store.PutEvent, Event: &store.EventRow{Room: room, RoomID: 7, Seq: seq, At: time.Now(),
				Event: []byte(`{"event":"missed","user":"sip:bob@x.org","count":2}`)}}
		}
		if err := d.store.Commit(kit.Context(t), store.Fence{}, []store.Change{
			{Op: store.PutRoom, Room: store.RoomRow{Name: room, ID: 7}},
			{Op: store.PutMessage, Message: &store.MessageRow{Room: 7, Seq: 1, Sender: alice, Display: "Alice",
				Body: []byte("hello"), At: time.Now()}}, missed(1), missed(9)}); err != nil {
			t.Fatal(err)
		}
		d.stored <- struct{}{}
		r.wait(func() bool { return len(r.events) == 2 })
		want := engine.EventInfo{Event: "missed", User: "sip:bob@x.org", Count: 2}
		if got := r.events[1].EventInfo; !reflect.DeepEqual(got, want) {
			t.Errorf("without its message: %+v", got)
		}
		want.Sender, want.Display, want.Size = alice.URI(), "Alice", 5
		if bodies {
			want.BodyInfo = &engine.BodyInfo{Body: "hello"}
		}
		if got := r.events[0].EventInfo; !reflect.DeepEqual(got, want) {
			t.Errorf("bodies %t: %+v, want %+v", bodies, got, want)
		}
	}
}
