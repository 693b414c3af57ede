package evapi

import (
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"testing"
	"time"

	"imcd/evapi/evapitest/kit"
	"imcd/evapi/netstring"
)

// window is what the fake reads up to a ping.
func (p *fakePeer) window() (frames []string, ping string) {
	for {
		f := p.read()
		if f == "" || pingID(f) != "" {
			return frames, f
		}
		frames = append(frames, f)
	}
}

// windows takes a right hello, and is what comes then, until the end.
func (p *fakePeer) windows() iter.Seq2[[]string, string] {
	return func(yield func(frames []string, ping string) bool) {
		if !p.welcome() {
			return
		}
		for frames, ping := p.window(); ping != "" && yield(frames, ping); frames, ping = p.window() {
		}
	}
}

func TestConnSendsWindows(t *testing.T) {
	t.Parallel()
	const copies = 500
	seen := make(chan int, copies)
	f := newFake(t, func(p *fakePeer) {
		for frames, ping := range p.windows() {
			size := len(netstring.Append(nil, []byte(ping)))
			for _, fr := range frames {
				size += len(netstring.Append(nil, []byte(fr)))
			}
			if size > WindowBytes {
				t.Errorf("window of %d bytes", size)
			}
			if len(frames) > 0 {
				// Nothing may come before the pong: not even a heartbeat.
				_ = p.SetReadDeadline(time.Now().Add(30 * time.Millisecond))
				if n, err := p.Read(make([]byte, 1)); err == nil || n > 0 {
					t.Errorf("%d bytes before the pong: %v", n, err)
				}
				_ = p.SetReadDeadline(time.Time{})
				seen <- len(frames)
			}
			p.pong(ping)
		}
	})
	rec := &recorder{}
	c := startConn(t, testConfig(f.addr()), rec)
	kit.Eventually(t, "up", c.Ready)
	o := simpleOutgoing(t, strings.Repeat("x", 500))
	for i := range copies {
		if err := c.Send(Copy{Out: o, To: "sip:bob@example.org", CallID: fmt.Sprint("c", i)}); err != nil {
			t.Fatal(err)
		}
	}
	for total := 0; total < copies; {
		total += <-seen
	}
	kit.Eventually(t, "all confirmed", func() bool { return c.Stats().Queued == 0 })
	before := c.Stats().Pongs
	kit.Eventually(t, "heartbeats", func() bool { return c.Stats().Pongs > before+2 })
	if s := c.Stats(); s.FramesOut != copies+s.Windows || !s.Up {
		t.Errorf("%+v", s)
	}
	if n := rec.count("result"); n != 0 {
		t.Errorf("%d results", n)
	}
}

func TestConnPriorities(t *testing.T) {
	t.Parallel()
	windows := make(chan []string, 100)
	queued := make(chan struct{})
	f := newFake(t, func(p *fakePeer) {
		if !p.welcome() {
			return
		}
		_, ping := p.window() // a heartbeat
		<-queued
		p.pong(ping)
		for {
			frames, ping := p.window()
			if ping == "" {
				return
			}
			if len(frames) > 0 {
				windows <- frames
			}
			p.pong(ping)
		}
	})
	c := startConn(t, testConfig(f.addr()), &recorder{})
	kit.Eventually(t, "heartbeat written", func() bool { return c.Stats().Windows == 1 })
	o := simpleOutgoing(t, strings.Repeat("x", 1000))
	big := simpleOutgoing(t, strings.Repeat("x", 31000))
	send := func(cp Copy) {
		if err := c.Send(cp); err != nil {
			t.Fatal(err)
		}
	}
	for range 40 {
		send(Copy{Out: o, To: "sip:late@h", CallID: "late"})
	}
	send(Copy{Out: big, To: "sip:big@h", CallID: "big"})
	send(Copy{Out: o, To: "sip:after@h", CallID: "after"})
	send(Copy{Out: o, To: "sip:first@h", CallID: "first", First: true})
	if err := c.Reply(TxID{1, 2}, Answer{Code: 200}); err != nil {
		t.Fatal(err)
	}
	if err := c.Answer("op-1-1", []byte("{}")); err != nil {
		t.Fatal(err)
	}
	close(queued)
	var all [][]string
	for n := 0; n < 45; {
		w := <-windows
		all = append(all, w)
		n += len(w)
	}
	for i, want := range []string{"imc.reply", "imc.answer", "sip:first@h", "sip:late@h"} {
		if !strings.Contains(all[0][i], want) {
			t.Errorf("frame %d: %.80s", i, all[0][i])
		}
	}
	alone := slices.IndexFunc(all, func(w []string) bool { return strings.Contains(w[0], "sip:big@h") })
	if alone < 0 || len(all[alone]) != 1 || !strings.Contains(all[alone+1][0], "sip:after@h") {
		t.Errorf("the frame that is larger than a window: window %d", alone)
	}
}

func TestConnMatchesErrors(t *testing.T) {
	t.Parallel()
	f := newFake(t, func(p *fakePeer) {
		for frames, ping := range p.windows() {
			for i, fr := range frames {
				var d decoded
				if i < 3 {
					d = decodeFrame(t, []byte(fr))
				}
				switch i {
				case 0: // of tm.t_uac_start: the id is in the reply
					p.send(event("imc.error", fmt.Sprintf(`{"id":"","code":500,"reply":%q}`,
						enc(`{"jsonrpc":"2.0","error":{"code":404,"message":"no route"},"id":`+d.id+`}`))))
				case 1: // of imc.send; twice
					p.send(event("imc.error", fmt.Sprintf(`{"id":%q,"code":-32000,"reply":""}`, d.id)))
					p.send(event("imc.error", fmt.Sprintf(`{"id":%q,"code":500,"reply":""}`, d.id)))
				case 2: // matches nothing
					for _, id := range []string{"", "x", "0", "-1", "4000000000", "99999999999999999999"} {
						p.send(event("imc.error", fmt.Sprintf(`{"id":%q,"code":500,"reply":""}`, id)))
					}
				}
			}
			p.pong(ping)
		}
	})
	rec := &recorder{onUp: func(c *Conn) {
		plain, nul := simpleOutgoing(t, "x"), simpleOutgoing(t, "\x00")
		_ = c.Send(Copy{Out: plain, To: "sip:a@h", CallID: "a"})
		_ = c.Send(Copy{Out: nul, To: "sip:b@h", CallID: "b"})
		_ = c.Send(Copy{Out: plain, To: "sip:c@h", CallID: "c"})
	}}
	c := startConn(t, testConfig(f.addr()), rec)
	kit.Eventually(t, "pongs", func() bool { return c.Stats().Pongs > 2 })
	want := []string{"up 1", "result a 404 local=true", "result b 500 local=true"}
	if got := rec.all(); !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
	if s := c.Stats(); s.Errors != 9 || s.Unmatched != 6 {
		t.Errorf("%+v", s)
	}
	if rec.results[0].Reason != "no route" {
		t.Errorf("%+v", rec.results[0])
	}
}

func TestConnAccountsForLostCopies(t *testing.T) {
	t.Parallel()
	f := newFake(t, func(p *fakePeer) {
		if !p.welcome() {
			return
		}
		if p.n > 1 {
			p.polite(func(fr string) { t.Errorf("written again: %.100s", fr) })
			return
		}
		frames, _ := p.window()                // without pong
		d := decodeFrame(t, []byte(frames[1])) // the reply stands first
		p.send(event("imc.error", fmt.Sprintf(`{"id":%q,"code":400,"reply":""}`, d.id)))
	})
	const copies = 300
	rec := &recorder{onUp: func(c *Conn) {
		if c.Stats().Reconnects > 0 {
			return
		}
		o := simpleOutgoing(t, strings.Repeat("x", 500))
		for i := range copies {
			if err := c.Send(Copy{Out: o, To: "sip:bob@h", CallID: fmt.Sprint("c", i)}); err != nil {
				t.Error(err)
			}
		}
		_ = c.Reply(TxID{1, 1}, Answer{Code: 200})
	}}
	c := startConn(t, testConfig(f.addr()), rec)
	kit.Eventually(t, "up again", func() bool { return rec.has("up 2") })
	lines := rec.all()
	down := slices.Index(lines, "down")
	if down != copies+1 || lines[0] != "up 1" || lines[down+1] != "up 2" {
		t.Fatalf("down is line %d of %q", down, lines)
	}
	seen := map[string]int{}
	for _, r := range rec.results {
		seen[r.CallID]++
		if want := map[bool]int{true: 400, false: 503}[r.CallID == "c0"]; !r.Local || r.Code != want {
			t.Errorf("%+v", r)
		}
	}
	if len(seen) != copies {
		t.Errorf("results for %d of %d copies", len(seen), copies)
	}
	before := c.Stats().Pongs
	kit.Eventually(t, "heartbeats", func() bool { return c.Stats().Pongs > before+2 })
	if s := c.Stats(); s.Queued != 0 || s.Reconnects != 1 {
		t.Errorf("%+v", s)
	}
}

func TestConnQueueIsBounded(t *testing.T) {
	t.Parallel()
	f := newFake(t, func(p *fakePeer) { // reads nothing after the hello
		if p.welcome() {
			for p.n == 1 {
				if _, err := p.Write(netstring.Append(nil, []byte(event("imc.registered", `{"aor":""}`)))); err != nil {
					return
				}
			}
			p.polite(nil)
		}
	})
	rec := &recorder{}
	cfg := testConfig(f.addr())
	cfg.QueueFrames, cfg.DeadAfter = 10, 300*time.Millisecond
	c := startConn(t, cfg, rec)
	kit.Eventually(t, "up", c.Ready)
	o := simpleOutgoing(t, strings.Repeat("x", 30000))
	full := 0
	for i := range 100 {
		if err := c.Send(Copy{Out: o, To: "sip:bob@h", CallID: fmt.Sprint("c", i)}); errors.Is(err, ErrFull) {
			full++
		}
	}
	if full < 80 {
		t.Errorf("%d of 100 refused", full)
	}
	long := "sip:" + strings.Repeat("b", 1000) + "@h"
	if err := c.Send(Copy{Out: simpleOutgoing(t, strings.Repeat("x", 31500)), To: long, CallID: "l"}); !errors.Is(err,
		ErrTooLarge) {
		t.Errorf("%v", err)
	}
	kit.Eventually(t, "given up for want of a pong", func() bool { return rec.count("down") > 0 })
	kit.Eventually(t, "every accepted copy accounted for", func() bool { return rec.count("result c") == 100-full })
	kit.Eventually(t, "up again", c.Ready)
}

// TestPingWhenMuchWasRead: Kamailio counts what it has sent since the last frame from
// here, and hears from here before that is much.
func TestPingWhenMuchWasRead(t *testing.T) {
	t.Parallel()
	pings := make(chan string, 10)
	f := newFake(t, func(p *fakePeer) {
		if !p.welcome() {
			return
		}
		receipt := event("imc.receipt", `{"ruri":"","msg":"`+enc(strings.Repeat("x", pingAfter/4))+`"}`)
		for range 3 {
			p.send(receipt)
		}
		if ping := p.read(); ping != "" {
			pings <- pingID(ping)
		}
	})
	cfg := testConfig(f.addr())
	cfg.Heartbeat, cfg.DeadAfter = time.Hour, 2*time.Hour
	rec := &recorder{}
	startConn(t, cfg, rec)
	if id := <-pings; id != "1" {
		t.Errorf("ping %q", id)
	}
}
