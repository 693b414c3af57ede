package evapi

import (
	"encoding/base64"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"imcd/evapi/netstring"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const testSecret = "engine-secret"

// patience is how long a test waits for what must happen.
const patience = 20 * time.Second

// recorder is a Handler that writes everything down as text.
type recorder struct {
	onUp func(*Conn)

	mu       sync.Mutex
	lines    []string
	results  []Result
	messages []*Message
	calls    []*Call
	receipts []*Receipt
}

func (r *recorder) add(format string, args ...any) {
	r.lines = append(r.lines, fmt.Sprintf(format, args...))
}

func (r *recorder) Up(c *Conn, w Welcome) {
	r.mu.Lock()
	r.add("up %d", w.Gen)
	r.mu.Unlock()
	if r.onUp != nil {
		r.onUp(c)
	}
}

func (r *recorder) Down(*Conn, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.add("down")
}

func (r *recorder) Message(m *Message) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.add("message %d:%d", m.Tx.Index, m.Tx.Label)
	r.messages = append(r.messages, m)
}

func (r *recorder) Result(_ *Conn, res Result) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.add("result %s %d local=%v", res.CallID, res.Code, res.Local)
	r.results = append(r.results, res)
}

func (r *recorder) Receipt(rc *Receipt) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.receipts = append(r.receipts, rc)
}

func (r *recorder) Registered(_ *Conn, reg Registration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.add("registered %s", reg.AOR)
}

func (r *recorder) Call(q *Call) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.add("call %s %s", q.Tag, q.JSON)
	r.calls = append(r.calls, q)
}

func (r *recorder) has(line string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Contains(r.lines, line)
}

func (r *recorder) count(prefix string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return countLines(r.lines, prefix, strings.HasPrefix)
}

// countLines is how many lines have a text in them, or before them.
func countLines(lines []string, text string, has func(line, text string) bool) int {
	n := 0
	for _, l := range lines {
		if has(l, text) {
			n++
		}
	}
	return n
}

func (r *recorder) all() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.lines)
}

// fakeKamailio is a listener; what it does with a connection is the test's.
type fakeKamailio struct {
	t  *testing.T
	ln net.Listener
	wg sync.WaitGroup
}

// newFake serves each connection with serve, one after the other, which closes it.
func newFake(t *testing.T, serve func(*fakePeer)) *fakeKamailio {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := &fakeKamailio{t: t, ln: ln}
	f.wg.Add(1)
	go func() {
		defer f.wg.Done()
		for n := 1; ; n++ {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			serve(&fakePeer{Conn: nc, in: netstring.NewReader(nc, 1<<20), n: n})
			nc.Close()
		}
	}()
	t.Cleanup(func() {
		ln.Close()
		f.wg.Wait()
	})
	return f
}

func (f *fakeKamailio) addr() string { return f.ln.Addr().String() }

// fakePeer is one connection as Kamailio has it.
type fakePeer struct {
	net.Conn
	in *netstring.Reader
	n  int // of the connection
}

// read returns the next frame; empty at the end.
func (p *fakePeer) read() string {
	b, err := p.in.Read()
	if err != nil {
		return ""
	}
	return string(b)
}

func (p *fakePeer) send(payload string) {
	_, _ = p.Write(netstring.Append(nil, []byte(payload)))
}

func enc(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

func welcomeJSON(role string, gen int) string {
	return fmt.Sprintf(`{"jsonrpc":"2.0","method":"imc.welcome","params":{"role":%q,"gen":%d,"version":%q,`+
		`"header":%q,"next_hop":%q,"features":%q}}`,
		role, gen, enc("kamailio 5.6.3"), enc("hdr-secret"), enc("sip:127.0.0.1:5060"), enc("send registered outcomes"))
}

// welcome takes a right hello; false if there was none.
func (p *fakePeer) welcome() bool {
	if p.read() != "hello "+testSecret {
		return false
	}
	p.send(welcomeJSON("engine", p.n))
	return true
}

// pingID is the id of an imc.ping, empty for another frame.
func pingID(frame string) string {
	rest, ok := strings.CutPrefix(frame, imcPing)
	if !ok {
		return ""
	}
	return strings.TrimSuffix(rest, paramsEnd)
}

func (p *fakePeer) pong(frame string) {
	p.send(fmt.Sprintf(`{"jsonrpc":"2.0","method":"imc.pong","params":{"id":%q}}`, pingID(frame)))
}

// polite answers pings and hands every other frame to each, until the end.
func (p *fakePeer) polite(each func(frame string)) {
	for {
		f := p.read()
		switch {
		case f == "":
			return
		case pingID(f) != "":
			p.pong(f)
		case each != nil:
			each(f)
		}
	}
}

func testConfig(addr string) Config {
	return Config{
		Addr: addr, Secret: testSecret,
		Heartbeat: 20 * time.Millisecond, DeadAfter: 2 * time.Second, DialTimeout: 2 * time.Second,
		QueueCopies: 65536, BackoffMin: time.Millisecond, BackoffMax: 20 * time.Millisecond,
	}
}

// startConn starts a Conn that is stopped at the end of the test.
func startConn(t *testing.T, cfg Config, h Handler) *Conn {
	t.Helper()
	return startChanged(t, cfg, h, func(*Conn) {})
}

// startChanged starts a connection that change has prepared.
func startChanged(t *testing.T, cfg Config, h Handler, change func(*Conn)) *Conn {
	t.Helper()
	c, err := NewConn(cfg, h)
	if err != nil {
		t.Fatal(err)
	}
	change(c)
	c.Start()
	t.Cleanup(c.Stop)
	return c
}

func mustOutgoing(t testing.TB, c Content) *Outgoing {
	t.Helper()
	o, err := NewOutgoing(c)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func simpleOutgoing(t testing.TB, body string) *Outgoing {
	return mustOutgoing(t, Content{From: `"Al" <sip:room@example.org>`, Body: []byte(body)})
}
