package evapi

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"imcd/evapi/evapitest/kit"
)

// sipPeer is Kamailio's SIP socket, as far as a sipLink sees it.
type sipPeer struct {
	pc *net.UDPConn

	mu    sync.Mutex
	gen   int    // in answers to OPTIONS: as in the last welcome
	stray bool   // gen is not
	way   string // behind gen
	// stranger: imcd's port means nothing to it
	stranger bool
	own      bool                             // it marks its own answers
	marks    bool                             // OPTIONS are answered
	answer   func(copy string) (string, bool) // status line of the response; false: none
	copies   []string
	options  int             // how many OPTIONS came
	froms    map[string]bool // where requests came from
}

func newSIPPeer(t *testing.T) *sipPeer {
	t.Helper()
	pc, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	p := &sipPeer{pc: pc, gen: 1, marks: true, froms: make(map[string]bool)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, 65536)
		for {
			n, from, err := pc.ReadFromUDP(buf)
			if err != nil {
				return
			}
			if status, ok := p.take(string(buf[:n]), from.String()); ok {
				_, _ = pc.WriteTo(response(string(buf[:n]), status), from)
			}
		}
	}()
	t.Cleanup(func() {
		pc.Close()
		<-done
	})
	return p
}

func (p *sipPeer) take(req, from string) (status string, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.froms[from] = true
	if strings.HasPrefix(req, "OPTIONS ") {
		p.options++
		if p.stranger {
			return "483 Too Many Hops", p.marks
		}
		return fmt.Sprint("200 imc ", p.gen, p.way), p.marks
	}
	p.copies = append(p.copies, req)
	if p.stranger {
		return "503 Not from here now", true
	}
	if p.answer == nil {
		return "200 OK", true
	}
	return p.answer(req)
}

// response answers a request with what a response must have of it.
func response(req, status string) []byte {
	var b bytes.Buffer
	b.WriteString("SIP/2.0 " + status + "\r\n")
	for line := range strings.SplitSeq(req, "\r\n") {
		name, _, _ := strings.Cut(line, ":")
		if name == "Via" || name == "From" || name == "To" || name == "Call-ID" || name == "CSeq" {
			b.WriteString(line + "\r\n")
		}
	}
	b.WriteString("Content-Length: 0\r\n\r\n")
	return b.Bytes()
}

func (p *sipPeer) set(change func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change()
}

func (p *sipPeer) got() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.copies)
}

// answersLate answers the first copy.
func (p *sipPeer) answersLate(t *testing.T, l *sipLink) {
	t.Helper()
	p.mu.Lock()
	late := response(p.copies[0], "200 OK")
	p.mu.Unlock()
	if _, err := p.pc.WriteTo(late, l.conn.LocalAddr()); err != nil {
		t.Fatal(err)
	}
}

func (p *sipPeer) uri() string { return "sip:" + p.pc.LocalAddr().String() }

// welcomeSIP is a welcome that offers the lane.
func (p *sipPeer) welcome(gen int) string {
	features := "send registered outcomes batch direct sip"
	if p.own {
		features += " " + featureOwn
	}
	return strings.NewReplacer(enc("sip:127.0.0.1:5060"), enc(p.uri()),
		enc("send registered outcomes"), enc(features)).Replace(welcomeJSON("engine", gen))
}

// serve is one connection of a Kamailio whose SIP socket is p; each takes the frames
// but pings.
func (p *sipPeer) serve(each func(frame string)) func(*fakePeer) {
	return func(f *fakePeer) {
		if f.read() != "hello "+testSecret {
			return
		}
		p.set(func() {
			if !p.stray {
				p.gen = f.n
			}
		})
		f.send(p.welcome(f.n))
		f.polite(each)
	}
}

// TestSIPLink: copies go to the SIP socket and their responses are the results; what
// evapi carries is the port, and copies for several devices.
func TestSIPLink(t *testing.T) {
	t.Parallel()
	p := newSIPPeer(t)
	frames := make(chan string, 100)
	f := newFake(t, p.serve(func(frame string) { frames <- frame }))
	p.answer = func(req string) (string, bool) {
		switch {
		case strings.Contains(req, "Call-ID: busy\r\n"):
			return "503 Busy\r\nRetry-After: 9", true
		case strings.Contains(req, "Call-ID: several\r\n"):
			return "300 imc other way", true
		}
		return "202 Accepted", true
	}
	c, r := startUp(t, f)
	link, ok := strings.CutPrefix(<-frames, imcLink)
	params := strings.Split(strings.TrimSuffix(link, paramsEnd), paramSep)
	if !ok || len(params) != 3 || params[1] != "" {
		t.Fatalf("link %q", link)
	}
	o := simpleOutgoing(t, "hello")
	for _, id := range []string{"one", "busy", "several"} {
		if err := c.Send(Copy{Out: o, To: "sip:a@h", CallID: id}); err != nil {
			t.Fatal(err)
		}
	}
	kit.Eventually(t, "results", func() bool {
		return r.has("result one 202 local=false") && r.has("result busy 503 local=false")
	})
	// By the lane on which each device has an outcome.
	if frame := <-frames; !strings.HasPrefix(frame, imcBatch) || !strings.Contains(frame, paramSep+"direct"+paramSep) ||
		!strings.Contains(frame, "sip:a@h several ") {
		t.Errorf("copy for several devices: %s", frame)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.froms) != 1 || !p.froms[params[2]+":"+params[0]] {
		t.Errorf("requests from %v, Kamailio heard %q", p.froms, params)
	}
}

// namingRecorder looks names up, or would.
type namingRecorder struct {
	recorder
	names atomic.Int64
}

// Unresolved implements NameHandler.
func (n *namingRecorder) Unresolved(*Conn, Copy, string, uint16) bool {
	n.names.Add(1)
	return true
}

// TestSIPLinkThrough: copies look as Kamailio says that it sends them on, after each
// connection.
func TestSIPLinkThrough(t *testing.T) {
	t.Parallel()
	p := newSIPPeer(t)
	end := make(chan struct{})
	f := newFake(t, func(peer *fakePeer) {
		p.set(func() { p.way = []string{through, toHop}[min(peer.n, 2)-1] })
		if peer.n == 1 {
			go func() {
				<-end
				peer.Close()
			}()
		}
		p.serve(nil)(peer)
	})
	r := &recorder{}
	cfg := testConfig(f.addr())
	cfg.NextHop = "sip:127.0.0.1:9"
	c := startConn(t, cfg, r)
	vias := []string{strings.TrimPrefix(p.uri(), "sip:") + ";branch=z9hG4bK.imcopy",
		"127.0.0.1:[0-9]+;branch=z9hG4bKimcopy"}
	for i, via := range vias {
		kit.Eventually(t, "up", func() bool { return r.has(fmt.Sprint("up ", i+1)) })
		id := fmt.Sprint("id", i)
		if err := c.Send(Copy{Out: simpleOutgoing(t, "x"), To: "sip:a@h", CallID: id}); err != nil {
			t.Fatal(err)
		}
		kit.Eventually(t, "the result", func() bool { return r.has("result " + id + " 200 local=false") })
		p.mu.Lock()
		if !regexp.MustCompile("\r\nVia: SIP/2.0/UDP " + via).MatchString(p.copies[i]) {
			t.Errorf("copy %d has no Via %q:\n%s", i, via, p.copies[i])
		}
		p.mu.Unlock()
		if i == 0 {
			close(end)
		}
	}
}

// startUp returns once the connection is up.
func startUp(t *testing.T, f *fakeKamailio) (*Conn, *recorder) {
	t.Helper()
	r := &recorder{}
	c := startConn(t, testConfig(f.addr()), r)
	kit.Eventually(t, "up", func() bool { return r.has("up 1") })
	return c, r
}

// TestSIPLinkIsRefused: whoever answers there is not the Kamailio of the evapi port,
// and copies go by frames.
func TestSIPLinkIsRefused(t *testing.T) {
	t.Parallel()
	p := newSIPPeer(t)
	frames := make(chan string, 100)
	f := newFake(t, p.serve(func(frame string) { frames <- frame }))
	p.set(func() { p.stray, p.gen = true, 41 })
	c, _ := startUp(t, f)
	if err := c.Send(Copy{Out: simpleOutgoing(t, "x"), To: "sip:a@h", CallID: "one"}); err != nil {
		t.Fatal(err)
	}
	for frame := range frames {
		if strings.HasPrefix(frame, imcBatch) {
			break
		}
	}
	if p.got() != 0 {
		t.Errorf("%d copies by SIP", p.got())
	}
}

// TestSIPLinkWaits: no more copies are on their way to Kamailio than it has space for,
// until it is known to have read them: a mark tells if devices are silent.
func TestSIPLinkWaits(t *testing.T) {
	t.Parallel()
	p := newSIPPeer(t)
	f := newFake(t, p.serve(nil))
	r := &recorder{}
	c := startChanged(t, testConfig(f.addr()), r, func(c *Conn) { c.ungauged = true })
	kit.Eventually(t, "up", func() bool { return r.has("up 1") })
	p.set(func() {
		p.marks = false
		p.answer = func(string) (string, bool) { return "", false }
	})
	const copies, window = 500, blindWindow / minDatagram
	o := simpleOutgoing(t, "hello")
	for i := range copies {
		if err := c.Send(Copy{Out: o, To: "sip:a@h", CallID: fmt.Sprint("id", i)}); err != nil {
			t.Fatal(err)
		}
	}
	l := c.link.Load()
	kit.Eventually(t, "a mark", func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		return len(l.flow.marks) > 0
	})
	if n := p.got(); n > window {
		t.Errorf("%d copies before any mark was answered", n)
	}
	// A mark that is lost holds up nothing for long.
	kit.Eventually(t, "more copies", func() bool { return p.got() > window })
	p.set(func() { p.marks = true })
	kit.Eventually(t, "all", func() bool { return c.Stats().SIPSent-c.Stats().SIPAgain == copies })
	p.set(func() { p.answer = nil })
	kit.Eventually(t, "all results", func() bool { return r.count("result") == copies })
	if s := c.Stats(); s.SIPStray != 0 || s.Results != copies || s.Queued != 0 {
		t.Errorf("%+v", s)
	}
}

// TestSIPLinkAgain: a late response to the first sending of a copy does not tell that
// what was sent after that was read.
func TestSIPLinkAgain(t *testing.T) {
	t.Parallel()
	p := newSIPPeer(t)
	f := newFake(t, p.serve(nil))
	p.answer = func(string) (string, bool) { return "", false }
	c, r := startUp(t, f)
	if err := c.Send(Copy{Out: simpleOutgoing(t, "x"), To: "sip:a@h", CallID: "one"}); err != nil {
		t.Fatal(err)
	}
	kit.Eventually(t, "it is sent again", func() bool { return c.Stats().SIPAgain == 1 && p.got() == 2 })
	l := c.link.Load()
	p.answersLate(t, l)
	kit.Eventually(t, "the result", func() bool { return r.has("result one 200 local=false") })
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.flow.sent != 2*minDatagram || l.flow.read != minDatagram {
		t.Errorf("sent %d, read %d; want two and one of %d", l.flow.sent, l.flow.read, minDatagram)
	}
}

// TestSIPLinkOutlivesConnections: a response that comes while evapi is away counts;
// copies that were not sent are reported, and so are those of a Kamailio that was restarted.
func TestSIPLinkOutlivesConnections(t *testing.T) {
	t.Parallel()
	p := newSIPPeer(t)
	drop := make(chan struct{})
	f := newFake(t, func(peer *fakePeer) {
		serve := p.serve(nil)
		if peer.n > 1 {
			serve(peer)
			return
		}
		go func() {
			<-drop
			peer.Close()
		}()
		serve(peer)
	})
	p.answer = func(string) (string, bool) { return "", false }
	c, r := startUp(t, f)
	o := simpleOutgoing(t, "hello")
	if err := c.Send(Copy{Out: o, To: "sip:a@h", CallID: "early"}); err != nil {
		t.Fatal(err)
	}
	kit.Eventually(t, "the copy", func() bool { return p.got() == 1 })
	link := c.link.Load()
	close(drop)
	kit.Eventually(t, "down", func() bool { return r.has("down") })
	p.answersLate(t, link)
	kit.Eventually(t, "the result", func() bool { return r.has("result early 200 local=false") })
	kit.Eventually(t, "up again", func() bool { return r.has("up 2") })
	if c.link.Load() != link {
		t.Error("the link is another one")
	}
}

// linkTo is a link to p, of a Conn that is not started; it ends with the test.
func linkTo(t *testing.T, p *sipPeer, r *recorder) (*Conn, *sipLink) {
	t.Helper()
	c, err := NewConn(testConfig("127.0.0.1:1"), r)
	if err != nil {
		t.Fatal(err)
	}
	l, err := openLink(c, p.uri())
	if err != nil {
		t.Fatal(err)
	}
	l.start()
	t.Cleanup(l.stop)
	return c, l
}

func TestSIPLinkPaused(t *testing.T) {
	t.Parallel()
	p := newSIPPeer(t)
	c, l := linkTo(t, p, &recorder{})
	cp := Copy{Out: simpleOutgoing(t, "x"), To: "sip:a@h", CallID: "id"}
	if err := l.put(&cp); !errors.Is(err, ErrDown) {
		t.Errorf("before it is resumed: %v", err)
	}
	l.mu.Lock()
	l.flow.sent = linkWindow // long ago
	l.mu.Unlock()
	var now round
	if l.next(&now); now.mark != 0 || len(l.flow.marks) != 0 {
		t.Error("a mark goes before it is resumed")
	}
	c.memory.update(1, 100, time.Now()) // nothing goes
	l.resume()
	if err := l.put(&cp); err != nil {
		t.Fatal(err)
	}
	if ids := l.pause(); len(ids) != 1 || ids[0] != (copyKey{callID: "id"}) {
		t.Errorf("%q were not sent", ids)
	}
	if _, err := openLink(c, "sip:127.0.0.1:5060;transport=tcp"); err == nil {
		t.Error("a link over TCP")
	}
	if _, err := openLink(c, "sip:192.0.2.1:5060"); err == nil {
		t.Error("a link to another host")
	}
}

func TestCheckHop(t *testing.T) {
	t.Parallel()
	for hop, want := range map[string]bool{"sip:127.0.0.1": true, "sip:127.0.0.1:5080;transport=UDP": true,
		"sip:127.0.0.1:5080;transport=tcp": false, "sips:127.0.0.1": false, "sip:[::1]:5060": false,
		"sip:proxy.example.org": false, "sip:localhost:5060": false, "nonsense": false} {
		if err := checkHop("sip:127.0.0.1:5060", hop); (err == nil) != want {
			t.Errorf("%q: %v", hop, err)
		}
	}
	// To itself, it says, from another address.
	if err := checkHop("sip:192.0.2.1:5060", "sip:127.0.0.1:5080"); err == nil {
		t.Error("from an address that does not lead there")
	}
}

// TestSIPLinkLater: a Kamailio that was busy when imcd came is asked again.
func TestSIPLinkLater(t *testing.T) {
	t.Parallel()
	p := newSIPPeer(t)
	p.set(func() { p.marks = false })
	f := newFake(t, p.serve(nil))
	r := &recorder{}
	c := startChanged(t, testConfig(f.addr()), r, func(c *Conn) { c.linkLater = time.Millisecond })
	kit.Eventually(t, "up", func() bool { return r.has("up 1") })
	if c.link.Load() != nil {
		t.Error("a link without an answer")
	}
	p.set(func() { p.marks = true })
	kit.Eventually(t, "the link", func() bool { return c.link.Load() != nil })
	if err := c.Send(Copy{Out: simpleOutgoing(t, "x"), To: "sip:a@h", CallID: "one"}); err != nil {
		t.Fatal(err)
	}
	kit.Eventually(t, "the result", func() bool { return r.has("result one 200 local=false") })
}
