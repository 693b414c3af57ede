package evapi

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/ipv4"
)

// stillLink is a link whose goroutines do not run: the test does what they would. It may have queue copies
// in each of its queues.
func stillLink(t *testing.T, queue int) *sipLink {
	t.Helper()
	cfg := testConfig("127.0.0.1:1")
	cfg.QueueFrames = queue
	c, err := NewConn(cfg, &recorder{})
	if err != nil {
		t.Fatal(err)
	}
	return &sipLink{c: c, format: newSIPFormat("127.0.0.1:2", "127.0.0.1:3"), wake: newSignal(),
		refused: make(chan struct{}, 1), pending: newSIPTransactions(), open: true}
}

// puts queues a copy and returns what came of that.
func (l *sipLink) puts(t *testing.T, callID string, first bool) error {
	t.Helper()
	return l.put(&Copy{Out: simpleOutgoing(t, "x"), To: "sip:a@h", CallID: callID, First: first})
}

// round is what the writer does next: the Call-IDs of what it sends, and how long it waits then.
func (l *sipLink) round() (sent []string, r round) {
	l.next(&r)
	for _, tx := range r.txs {
		sent = append(sent, tx.callID)
	}
	return sent, r
}

// hears takes a response with a status line to a transaction.
func (l *sipLink) hears(tx *sipTx, status string) ([]Result, []otherwise) {
	return l.hearsTo(l.format.appendRequest(nil, tx, false), status)
}

func (l *sipLink) hearsTo(request []byte, status string) ([]Result, []otherwise) {
	b := response(string(request), status)
	return l.responses([]ipv4.Message{{Buffers: [][]byte{b}, N: len(b)}}, nil, nil)
}

// woken reports whether the writer was woken since it was asked last.
func woken(wake <-chan struct{}) bool {
	select {
	case <-wake:
		return true
	default:
		return false
	}
}

// TestSIPLinkLowMemory: while Kamailio's memory is low copies go slowly, and it is asked for its memory.
func TestSIPLinkLowMemory(t *testing.T) {
	t.Parallel()
	l := stillLink(t, 10)
	l.c.memory.update(10, 100, time.Now()) // one byte a second
	if err := errors.Join(l.puts(t, "one", false), l.puts(t, "two", false)); err != nil {
		t.Fatal(err)
	}
	if sent, r := l.round(); len(sent) != 1 || r.wait > shortPoll || !woken(l.c.box.wake) || l.c.Stats().Held != 1 {
		t.Errorf("%q was sent, wait %v, held %d times", sent, r.wait, l.c.Stats().Held)
	}
	if sent, r := l.round(); len(sent) > 0 || r.wait > shortPoll || l.c.Stats().Held != 2 {
		t.Errorf("%q was sent, wait %v, held %d times", sent, r.wait, l.c.Stats().Held)
	}
	l.c.memory.update(90, 100, time.Now())
	if sent, _ := l.round(); len(sent) != 1 {
		t.Errorf("%q was sent", sent)
	}
}

// TestSIPLinkGivesWay: copies wait for replies that Kamailio has not carried out, but not for ever.
func TestSIPLinkGivesWay(t *testing.T) {
	t.Parallel()
	l := stillLink(t, 10)
	l.c.box.open(testPeer)
	if err := errors.Join(l.puts(t, "one", false), l.c.Reply(TxID{1, 2}, Answer{Code: 200})); err != nil {
		t.Fatal(err)
	}
	if sent, r := l.round(); len(sent) > 0 || r.wait > giveWay {
		t.Errorf("%q was sent ahead of a reply, wait %v", sent, r.wait)
	}
	var c windowBuilder
	c.reset(0)
	l.c.box.take(&c, &memory{}, time.Now()) // it is being written
	if sent, _ := l.round(); len(sent) > 0 {
		t.Errorf("%q was sent before a reply was carried out", sent)
	}
	l.c.box.confirm()
	if sent, _ := l.round(); len(sent) != 1 {
		t.Errorf("%q was sent when no reply waited", sent)
	}
	now := time.Now()
	if l.givesWay(true, now) {
		t.Error("it gives way with nothing to send")
	}
	if err := l.puts(t, "two", false); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		after    time.Duration
		replying bool
		way      bool
	}{
		{0, true, true}, {giveWay - 1, true, true}, {giveWay, true, false}, {giveWay + 1, true, true},
		{2*giveWay - 1, true, true}, {2 * giveWay, true, false}, {2*giveWay + 1, false, false}, {3 * giveWay, true, true},
	} {
		if way := l.givesWay(tt.replying, now.Add(tt.after)); way != tt.way {
			t.Errorf("after %v: gives way %v, want %v", tt.after, way, tt.way)
		}
	}
}

// fill sends copies until no more may go, and returns their transactions.
func (l *sipLink) fill(t *testing.T) []*sipTx {
	t.Helper()
	var all []*sipTx
	for {
		for range linkBatch {
			if err := l.puts(t, fmt.Sprint("id", len(all)), false); err != nil {
				t.Fatal(err)
			}
		}
		sent, r := l.round()
		if len(sent) == 0 {
			return all
		}
		all = append(all, r.txs...)
	}
}

// TestSIPLinkProvisional: a provisional response tells that a copy was read, and all before it; it is the end
// of none.
func TestSIPLinkProvisional(t *testing.T) {
	t.Parallel()
	l := stillLink(t, 10000)
	all := l.fill(t)
	last := all[len(all)-1]
	if results, _ := l.hears(last, "100 Trying"); len(results) > 0 {
		t.Errorf("results %+v", results)
	}
	if l.flow.read != last.place || l.flow.full() {
		t.Errorf("%d are known to be read, of %d", l.flow.read, last.place)
	}
	if sent, _ := l.round(); len(sent) == 0 {
		t.Error("nothing goes although all was read")
	}
	if results, _ := l.hears(last, "200 OK"); len(results) != 1 || results[0].CallID != last.callID {
		t.Errorf("results %+v", results)
	}
}

// TestSIPLinkIsWoken: the response that makes space for a batch wakes the writer, and no other does.
func TestSIPLinkIsWoken(t *testing.T) {
	t.Parallel()
	for _, status := range []string{"200 OK", "100 Trying"} {
		l := stillLink(t, 10000)
		all := l.fill(t)
		woken(l.wake)
		if l.hears(all[0], status); l.flow.full() || !woken(l.wake) {
			t.Errorf("%s: there is space for a batch, and nobody is woken", status)
		}
		if l.hears(all[1], status); woken(l.wake) {
			t.Errorf("%s: woken although there was room before", status)
		}
	}
}

// TestSIPLinkBounds: what a link takes is bounded, in copies and in bytes.
func TestSIPLinkBounds(t *testing.T) {
	t.Parallel()
	l := stillLink(t, 2)
	for _, first := range []bool{false, true} {
		for i := range 3 {
			if err := l.puts(t, fmt.Sprint(i), first); (i == 2) != errors.Is(err, ErrFull) || i < 2 && err != nil {
				t.Errorf("first %v, copy %d: %v", first, i, err)
			}
		}
	}
	if n := l.queued(); n != 4 {
		t.Errorf("%d are queued", n)
	}
	l = stillLink(t, 2)
	// NewOutgoing takes none that are so large.
	large := newOutgoing(&Content{From: "<sip:room@h>", ContentType: "text/plain", Body: make([]byte, maxDatagram)})
	if err := l.put(&Copy{Out: large, To: "sip:a@h", CallID: "x"}); !errors.Is(err, ErrTooLarge) {
		t.Errorf("a datagram of more than %d bytes: %v", maxDatagram, err)
	}
	large = newOutgoing(&Content{From: "<sip:room@h>", ContentType: "text/plain", Body: make([]byte, maxDatagram-1000)})
	if err := l.put(&Copy{Out: large, To: "sip:a@h", CallID: "x"}); err != nil {
		t.Error(err)
	}
	name := "sip:" + strings.Repeat("a", 500) + "@h"
	if err := l.put(&Copy{Out: large, To: name, CallID: "x"}); !errors.Is(err, ErrTooLarge) {
		t.Errorf("the same for a long name: %v", err)
	}
}

// TestSIPLinkFirst: answers go ahead of copies without First.
func TestSIPLinkFirst(t *testing.T) {
	t.Parallel()
	l := stillLink(t, 10)
	err := errors.Join(l.puts(t, "a", false), l.puts(t, "b", false), l.puts(t, "c", true), l.puts(t, "d", true))
	if err != nil {
		t.Fatal(err)
	}
	if sent, _ := l.round(); !slices.Equal(sent, []string{"c", "d", "a", "b"}) {
		t.Errorf("sent in the order %q", sent)
	}
}

// TestSIPLinkRefused: if Kamailio does not know the link any more, what is queued goes another way, in its
// order, and nothing more goes by the link.
func TestSIPLinkRefused(t *testing.T) {
	t.Parallel()
	for _, answer := range []string{"483 Too Many Hops", "404 Not here", "200 OK", "200 imc 1"} {
		want := []string{"b", "a", "c", "d"}
		l := stillLink(t, 10)
		if err := l.puts(t, "sent", false); err != nil {
			t.Fatal(err)
		}
		_, r := l.round()
		if results, _ := l.hears(r.txs[0], "503 Not from here now"); len(results) != 1 || results[0].Code != 503 {
			t.Errorf("results %+v", results)
		}
		l.direct = true // those with a Dest have a queue of their own
		routed := Copy{Out: simpleOutgoing(t, "x"), To: "sip:a@h", CallID: "d", Dest: "sip:192.0.2.1:5060"}
		err := errors.Join(l.puts(t, "a", false), l.put(&routed), l.puts(t, "b", true), l.puts(t, "c", false))
		if err != nil {
			t.Fatal(err)
		}
		sent, r := l.round()
		if len(sent) > 0 || r.mark == 0 {
			t.Fatalf("%q was sent, mark %x: Kamailio is to be asked first", sent, r.mark)
		}
		_, others := l.hearsTo(l.format.appendOptions(nil, r.mark), answer)
		var moved []string
		for _, o := range others {
			moved = append(moved, o.tx.callID)
		}
		if answer == "200 imc 1" {
			if sent, _ = l.round(); len(moved) > 0 || woken(l.refused) || !slices.Equal(sent, want) {
				t.Errorf("%s: %q go another way, %q as before", answer, moved, sent)
			}
			continue
		}
		if !slices.Equal(moved, want) || !woken(l.refused) || l.queued() != 0 {
			t.Errorf("%s: %q go another way, %d are still queued", answer, moved, l.queued())
		}
		if err := l.puts(t, "e", false); !errors.Is(err, ErrDown) {
			t.Errorf("%s: it takes copies: %v", answer, err)
		}
	}
}
