package evapi

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"imcd/evapi/evapitest/kit"
)

// logBook keeps what is logged.
type logBook struct {
	mu    sync.Mutex
	lines []string
}

func (b *logBook) Write(line []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.lines = append(b.lines, string(line))
	return len(line), nil
}

// count is how many lines have a text in them.
func (b *logBook) count(text string) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return countLines(b.lines, text, strings.Contains)
}

// startSIP starts a Conn to a Kamailio whose SIP socket is p, and waits until it is up.
func startSIP(t *testing.T, p *sipPeer, each func(frame string), r *recorder) (*Conn, *logBook) {
	t.Helper()
	f := newFake(t, p.serve(each))
	book := new(logBook)
	cfg := testConfig(f.addr())
	cfg.Log = zerolog.New(book)
	c, err := NewConn(cfg, r)
	if err != nil {
		t.Fatal(err)
	}
	c.linkLater = 10 * time.Millisecond
	c.Start()
	t.Cleanup(c.Stop)
	kit.Eventually(t, "up", func() bool { return r.has("up 1") })
	return c, book
}

// TestSIPLinkForgotten: while a Kamailio does not know imcd's port any more, copies take the way by frames, and
// the log says so; imcd tells it again where they come from, and they go by SIP again when it knows that.
func TestSIPLinkForgotten(t *testing.T) {
	t.Parallel()
	p := newSIPPeer(t)
	frames := make(chan string, 10000)
	r := &recorder{}
	c, book := startSIP(t, p, func(frame string) { frames <- frame }, r)
	send := func(id string) {
		t.Helper()
		if err := c.Send(Copy{Out: simpleOutgoing(t, "x"), To: "sip:a@h", CallID: id}); err != nil {
			t.Fatalf("%s: %v", id, err)
		}
	}
	next := func(kind string) string {
		t.Helper()
		for {
			select {
			case frame := <-frames:
				if strings.HasPrefix(frame, kind) {
					return frame
				}
			case <-time.After(patience):
				t.Fatalf("no frame %s", kind)
			}
		}
	}
	first := next(imcLink)
	p.set(func() { p.stranger = true })
	send("lost")
	kit.Eventually(t, "its refusal", func() bool { return r.has("result lost 503 local=false") })
	kit.Eventually(t, "a line in the log", func() bool { return book.count("does not know imcd's SIP address") == 1 })
	before := p.got()
	send("framed")
	if frame := next(imcBatch); !strings.Contains(frame, "sip:a@h framed ") {
		t.Errorf("frame %s", frame)
	}
	if again := next(imcLink); again != first {
		t.Errorf("first %s, then %s", first, again)
	}
	if p.got() != before {
		t.Error("copies go by SIP to who does not know them")
	}
	p.set(func() { p.stranger = false })
	kit.Eventually(t, "the way back", func() bool { return book.count("copies go to Kamailio as SIP requests now") == 1 })
	send("back")
	kit.Eventually(t, "its result", func() bool { return r.has("result back 200 local=false") })
	if p.got() != before+1 {
		t.Errorf("%d copies by SIP", p.got()-before)
	}
	if s := c.Stats(); !s.Up || s.Reconnects > 0 {
		t.Errorf("%+v", s)
	}
}

// TestSIPLinkOtherWayIsShut: a copy that is to go by frames, and cannot, has its Result.
func TestSIPLinkOtherWayIsShut(t *testing.T) {
	t.Parallel()
	for _, status := range []string{"300 imc other way", "300 imc name a.example:5060"} {
		p := newSIPPeer(t)
		p.answer = func(string) (string, bool) { return "", false }
		r := &recorder{}
		c, _ := startSIP(t, p, nil, r)
		if err := c.Send(Copy{Out: simpleOutgoing(t, "x"), To: "sip:a@h", CallID: "one"}); err != nil {
			t.Fatal(err)
		}
		kit.Eventually(t, "the copy", func() bool { return p.got() > 0 })
		c.box.mu.Lock()
		c.box.limit = 0 // it is full
		c.box.mu.Unlock()
		p.set(func() { p.answer = func(string) (string, bool) { return status, true } })
		kit.Eventually(t, "its result", func() bool { return r.has("result one 503 local=true") })
	}
}

// TestSIPLinkOtherWayIsNarrow: what no frame can take is not tried for ever.
func TestSIPLinkOtherWayIsNarrow(t *testing.T) {
	t.Parallel()
	p := newSIPPeer(t)
	p.answer = func(string) (string, bool) { return "300 imc other way", true }
	r := &recorder{}
	c, _ := startSIP(t, p, nil, r)
	name := "sip:" + strings.Repeat("a", 1000) + "@h"
	cp := Copy{Out: simpleOutgoing(t, strings.Repeat("x", 31500)), To: name, CallID: "one"}
	if err := c.Send(cp); err != nil {
		t.Fatal(err)
	}
	kit.Eventually(t, "its result", func() bool { return r.has("result one 413 local=true") })
}

// welcomes keeps the welcomes that Up got.
type welcomes struct {
	recorder
	restarts []bool // guarded by mu
}

// Up implements Handler.
func (w *welcomes) Up(c *Conn, wel Welcome) {
	w.mu.Lock()
	w.restarts = append(w.restarts, wel.Restarted)
	w.mu.Unlock()
	w.recorder.Up(c, wel)
}

// TestRestarted: a Kamailio that was started again is known by what it says of its start, and, if it says
// nothing, by the number of hellos. Its transactions are forgotten: what comes to them is nobody's.
func TestRestarted(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		starts [2]string // of the two connections
		gens   [2]int
		want   bool
	}{
		"the connection was lost":               {[2]string{"a", "a"}, [2]int{1, 2}, false},
		"restarted":                             {[2]string{"a", "b"}, [2]int{1, 1}, true},
		"restarted, and others have said hello": {[2]string{"a", "b"}, [2]int{1, 7}, true},
		"the same, long ago":                    {[2]string{"a", "b"}, [2]int{7, 7}, true},
		"with another imc.cfg":                  {[2]string{"", "b"}, [2]int{1, 2}, true},
		"with an older imc.cfg":                 {[2]string{"a", ""}, [2]int{1, 2}, true},
		"old: the connection was lost":          {[2]string{"", ""}, [2]int{1, 2}, false},
		"old: restarted":                        {[2]string{"", ""}, [2]int{2, 1}, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newSIPPeer(t)
			p.answer = func(req string) (string, bool) { return "200 OK", strings.Contains(req, "Call-ID: next\r\n") }
			drop := make(chan struct{})
			f := newFake(t, func(peer *fakePeer) {
				n := min(peer.n, 2) - 1
				if peer.read() != "hello "+testSecret {
					return
				}
				p.set(func() { p.gen = tt.gens[n] })
				welcome := p.welcome(tt.gens[n])
				if tt.starts[n] != "" {
					welcome = strings.Replace(welcome, `"gen":`, fmt.Sprintf(`"start":%q,"gen":`, tt.starts[n]), 1)
				}
				peer.send(welcome)
				if n == 0 {
					go func() {
						<-drop
						peer.Close()
					}()
				}
				peer.polite(nil)
			})
			w := &welcomes{}
			c := startConn(t, testConfig(f.addr()), w)
			kit.Eventually(t, "up", c.Ready)
			if err := c.Send(Copy{Out: simpleOutgoing(t, "x"), To: "sip:a@h", CallID: "early"}); err != nil {
				t.Fatal(err)
			}
			kit.Eventually(t, "the copy", func() bool { return p.got() > 0 })
			link := c.link.Load()
			close(drop)
			kit.Eventually(t, "up again", func() bool { return w.count("up") == 2 })
			w.mu.Lock()
			if w.restarts[0] || w.restarts[1] != tt.want {
				t.Errorf("restarted: %v", w.restarts)
			}
			w.mu.Unlock()
			p.answersLate(t, link)
			if err := c.Send(Copy{Out: simpleOutgoing(t, "x"), To: "sip:a@h", CallID: "next"}); err != nil {
				t.Fatal(err)
			}
			kit.Eventually(t, "the response behind it", func() bool { return w.has("result next 200 local=false") })
			if counts := w.has("result early 200 local=false"); counts == tt.want {
				t.Errorf("the late response to what it had before counts: %v, want %v", counts, !tt.want)
			}
		})
	}
}

// TestSIPLinkReadFails: a lasting error of the socket is logged once, and does not keep a processor busy;
// when it is over, all is as before.
func TestSIPLinkReadFails(t *testing.T) {
	t.Parallel()
	p := newSIPPeer(t)
	r := &recorder{}
	c, book := startSIP(t, p, nil, r)
	link := c.link.Load()
	if err := link.conn.SetReadDeadline(time.Unix(1, 0)); err != nil { // every read fails
		t.Fatal(err)
	}
	const line = "SIP from Kamailio not read"
	kit.Eventually(t, "the error", func() bool { return book.count(line) > 0 })
	o := simpleOutgoing(t, "x")
	for i := range 3 {
		if err := c.Send(Copy{Out: o, To: "sip:a@h", CallID: fmt.Sprint("id", i)}); err != nil {
			t.Fatal(err)
		}
	}
	kit.Eventually(t, "copies, sent again", func() bool { return c.Stats().SIPAgain >= 3 }) // half a second
	if n := book.count(line); n != 1 {
		t.Errorf("an error that lasts is logged %d times", n)
	}
	if err := link.conn.SetReadDeadline(time.Time{}); err != nil {
		t.Fatal(err)
	}
	kit.Eventually(t, "results", func() bool { return r.count("result") >= 3 })
}

// TestSIPLinkWriteFails: the same for what is sent.
func TestSIPLinkWriteFails(t *testing.T) {
	t.Parallel()
	p := newSIPPeer(t)
	r := &recorder{}
	c, book := startSIP(t, p, nil, r)
	link := c.link.Load()
	if err := link.conn.SetWriteDeadline(time.Unix(1, 0)); err != nil {
		t.Fatal(err)
	}
	o := simpleOutgoing(t, "x")
	for i := range 3 * linkBatch { // several rounds
		if err := c.Send(Copy{Out: o, To: "sip:a@h", CallID: fmt.Sprint("id", i)}); err != nil {
			t.Fatal(err)
		}
	}
	kit.Eventually(t, "copies, sent again", func() bool { return c.Stats().SIPAgain >= linkBatch })
	if n := book.count("SIP to Kamailio not sent"); n != 1 {
		t.Errorf("an error that lasts is logged %d times", n)
	}
	if err := link.conn.SetWriteDeadline(time.Time{}); err != nil {
		t.Fatal(err)
	}
	kit.Eventually(t, "results", func() bool { return r.count("result") == 3*linkBatch })
}
