package evapi

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"imcd/evapi/evapitest/kit"
)

// paced is what a test does to a sipFlow: some requests are sent, up to some number
// they are read, a mark is answered, time passes.
type paced struct {
	send   int
	read   uint64
	mark   bool
	refuse bool
	pass   time.Duration
	// afterwards
	wait time.Duration
	ask  bool
}

func TestSIPPace(t *testing.T) {
	t.Parallel()
	const batch, blind, window, ms = linkBatch, blindWindow / minDatagram, linkWindow / minDatagram, time.Millisecond
	for name, steps := range map[string][]paced{
		"a batch goes after a batch": {{send: batch}},
		"the window is full":         {{send: blind, wait: markAfter}},
		"space for a batch": {{send: blind, wait: markAfter}, {read: blind}, {send: window, wait: markAfter},
			{read: blind + batch}},
		"less is not enough": {{send: blind, wait: markAfter}, {read: blind}, {send: window, wait: markAfter},
			{read: blind + batch - 1, wait: markAfter}},
		"an older response tells nothing": {{send: blind, wait: markAfter}, {read: blind}, {read: 3},
			{send: window, wait: markAfter}},
		"silence":              {{send: blind, wait: markAfter}, {pass: markAfter, ask: true}, {wait: markLost}},
		"what is read is news": {{send: window, wait: markAfter}, {pass: markAfter - 1, read: 1, wait: markAfter}},
		"a mark is answered": {{send: blind, wait: markAfter}, {pass: markAfter, ask: true}, {mark: true}, {send: blind,
			wait: markAfter}},
		"a mark tells less than a response": {{send: 1}, {read: 1}, {send: blind}, {read: 1 + blind},
			{send: window, wait: markAfter}, {pass: markAfter, ask: true}, {mark: true}, {send: blind, wait: markAfter}},
		"a mark is lost": {{send: blind, wait: markAfter}, {pass: markAfter, ask: true}, {pass: markLost - ms, wait: ms},
			{pass: ms}, {send: blind, wait: markAfter}},
		"to be verified": {{send: 1}, {refuse: true, ask: true}, {wait: markLost}, {mark: true}, {send: batch}},
		"a mark from before does not verify it": {{send: blind, wait: markAfter}, {pass: markAfter, ask: true},
			{refuse: true, ask: true}, {mark: true, wait: markLost}, {mark: true}},
		"verifying is not for ever": {{send: 1}, {refuse: true, ask: true}, {pass: markLost}},
	} {
		t.Run(name, func(t *testing.T) {
			var p sipFlow
			now := time.Now()
			for i, s := range steps {
				now = now.Add(s.pass)
				for range s.send {
					p.next(minDatagram, now)
				}
				p.reach(s.read*minDatagram, now)
				if s.refuse {
					p.verify()
				}
				if s.mark && (len(p.marks) == 0 || !p.answered(p.marks[0].branch, now)) {
					t.Errorf("step %d: no mark was under way", i)
				}
				d, ask := p.hold(now)
				if d != s.wait || ask != s.ask {
					t.Errorf("step %d: wait %v, ask %v; want %v, %v", i, d, ask, s.wait, s.ask)
				}
				if ask {
					p.ask(now)
				}
			}
			if p.answered(0, now) {
				t.Error("no branch is a mark's")
			}
		})
	}
}

// TestSpaceOfDatagrams: waiting datagrams take no more space in a socket than we count, nor much
// less.
func TestSpaceOfDatagrams(t *testing.T) {
	t.Parallel()
	const n = 4
	for _, size := range []int{1, 300, 640, 641, 1000, 1664, 1665, 3700, 4000, 8000, 20000, maxDatagram} {
		in, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		if err != nil {
			t.Fatal(err)
		}
		out, err := net.Dial("udp4", in.LocalAddr().String())
		if err != nil {
			t.Fatal(err)
		}
		if err := in.SetReadBuffer(1 << 20); err != nil {
			t.Fatal(err)
		}
		room, took := n*socketBytes(size), uint64(0)
		for range n {
			if _, err := out.Write(make([]byte, size)); err != nil {
				t.Fatal(err)
			}
		}
		kit.Eventually(t, fmt.Sprintf("%d bytes take half of %d at least", size, room/n), func() bool {
			took = waiting(t, in)
			return took >= room/2
		})
		if took > room {
			t.Errorf("%d bytes take %d, not %d", size, took/n, room/n)
		}
		if err := errors.Join(in.Close(), out.Close()); err != nil {
			t.Error(err)
		}
	}
	var p sipFlow
	for range linkWindow/socketBytes(8000) + 1 {
		p.next(socketBytes(8000), time.Now())
	}
	if p.left() {
		t.Errorf("large requests take %d and there is space left", p.sent)
	}
}

// waiting is the size of the datagrams that wait in a socket, in bytes as Linux counts them.
func waiting(t *testing.T, conn *net.UDPConn) uint64 {
	t.Helper()
	lines, err := os.ReadFile("/proc/net/udp")
	if err != nil {
		t.Fatal(err)
	}
	port := fmt.Sprintf("0100007F:%04X", conn.LocalAddr().(*net.UDPAddr).Port)
	for line := range strings.Lines(string(lines)) {
		if fields := strings.Fields(line); fields[1] == port {
			_, hex, _ := strings.Cut(fields[4], ":")
			n, err := strconv.ParseUint(hex, 16, 64)
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
	return 0 // left out because another was closed while we read
}

// Whatever the size of Kamailio's socket, a link that may send no more has the kernel asked
// again: nothing else tells it if devices are silent.
func TestSmallSocketIsLookedAtAgain(t *testing.T) {
	for _, size := range []uint64{0, 2304, 64 << 10, 80 << 10, 212992, 425984, 8 << 20} {
		var p sipFlow
		p.gauged(level{size: size})
		now := time.Now()
		for n := 0; p.left(); n++ {
			if n > 1<<20 {
				t.Fatalf("socket of %d bytes: no end", size)
			}
			p.next(minDatagram, now)
		}
		if d, ask := p.hold(now.Add(markAfter)); size > 0 && (!p.unsure() || d <= 0) || size == 0 && !ask {
			t.Errorf("socket of %d bytes: %d are unread, held for %v, unsure %t, ask %t", size, p.sent-p.read, d, p.unsure(),
				ask)
		}
	}
}
