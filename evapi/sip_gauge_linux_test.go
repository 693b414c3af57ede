package evapi

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"imcd/evapi/evapitest/kit"
)

// TestGauge: the kernel tells what lies in the socket of somebody else, and what did not fit.
func TestGauge(t *testing.T) {
	t.Parallel()
	in, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	at := in.LocalAddr().(*net.UDPAddr).AddrPort()
	at = netip.AddrPortFrom(at.Addr().Unmap(), at.Port())
	g, err := openGauge(at)
	if err != nil {
		t.Fatal(err)
	}
	defer g.close()
	if err := in.SetReadBuffer(8 * minDatagram); err != nil {
		t.Fatal(err)
	}
	out, err := net.Dial("udp4", at.String())
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	send := func(n int) {
		for range n {
			if _, err := out.Write(make([]byte, 100)); err != nil {
				t.Fatal(err)
			}
		}
	}
	read := func() level {
		l, err := g.read()
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	size := read().size
	if l := read(); l.used != 0 || l.drops != 0 || size < 8*minDatagram {
		t.Errorf("empty: %+v", l)
	}
	send(4)
	kit.Eventually(t, "four lie there", func() bool { return read().used >= 4*minDatagram/2 })
	if l := read(); l.used > 4*minDatagram || l.drops != 0 || l.size != size {
		t.Errorf("four: %+v", l)
	}
	send(100)
	kit.Eventually(t, "some did not fit", func() bool { return read().drops > 0 })
	in.Close()
	kit.Eventually(t, "the socket is gone", func() bool {
		_, err := g.read()
		return err != nil
	})
	if _, err := openGauge(at); err == nil {
		t.Error("a gauge of no socket")
	}
}

func FuzzGauge(f *testing.F) {
	f.Add([]byte{})
	f.Add(make([]byte, 200))
	b := make([]byte, 132)
	b[4], b[88], b[90], b[92] = diagByFamily, 40, diagMemory, 7
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		if l, err := parseGauge(b); err != nil && l != (level{}) {
			t.Errorf("%+v with %v", l, err)
		}
	})
}

// TestPaceByGauge: what the kernel says counts, and no marks are sent.
func TestPaceByGauge(t *testing.T) {
	t.Parallel()
	var p sipFlow
	now := time.Now()
	p.gauged(level{used: 0, size: 400 << 10})
	for p.left() {
		p.next(minDatagram, now)
	}
	if n := p.sent; n < 200<<10 || n > 200<<10+minDatagram || !p.full() || !p.unsure() || p.behind() {
		t.Errorf("%d bytes sent, %+v", n, p)
	}
	if d, ask := p.hold(now.Add(time.Second)); d != gaugeAgain || ask {
		t.Errorf("wait %v, mark %v", d, ask)
	}
	// Kamailio has read all of it, and there are responses instead.
	p.gauged(level{used: 150 << 10, size: 400 << 10})
	if p.full() || !p.left() {
		t.Error("there is space")
	}
	p.gauged(level{used: 300 << 10, size: 400 << 10})
	if p.left() {
		t.Error("there is none")
	}
	p.verify()
	if d, ask := p.hold(now); d != 0 || !ask {
		t.Errorf("while it must be verified: wait %v, mark %v", d, ask)
	}
	// The calls of a large socket do not wait behind ours.
	p = sipFlow{}
	p.gauged(level{size: 8 << 20})
	if p.limit() != linkWindow {
		t.Errorf("limit %d", p.limit())
	}
}
