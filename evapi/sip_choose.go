package evapi

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/emiago/sipgo/sip"

	"imcd/evapi/netstring"
)

// chooseLane sets the best available lane of p, and one for frames beside it.
func (s *session) chooseLane(ctx context.Context, p *peer, w *WelcomeEvent) {
	c := s.c
	framed := slices.DeleteFunc(slices.Clone(w.Features), func(f string) bool { return f == LaneSIP.String() })
	p.lane = c.cfg.Fanout.choose(framed)
	// With a next hop of the operator's everything is to go there.
	p.direct = p.lane == LaneBatch && c.cfg.NextHop == "" && slices.Contains(framed, featureDirect)
	if c.cfg.Fanout.choose(w.Features) != LaneSIP {
		return
	}
	err := s.tryLink(ctx, w)
	if p.bySIP = err == nil; p.bySIP {
		return
	}
	c.cfg.Log.Warn().Err(err).Str("kamailio", c.cfg.Name).Stringer("fanout", p.lane).
		Msg("copies cannot go to Kamailio as SIP requests")
	p.later = errors.Is(err, errNoAnswer)
}

// tryLink opens a link to the Kamailio of w, unless there is one, and probes it.
func (s *session) tryLink(ctx context.Context, w *WelcomeEvent) error {
	c := s.c
	if c.socket != nil && c.socket.uri != w.NextHop {
		c.socket.stop()
		c.socket = nil
	}
	if c.socket == nil {
		l, err := openLink(c, w.NextHop)
		if err != nil {
			return err
		}
		l.start()
		c.socket = l
	}
	if _, err := s.nc.Write(netstring.Append(nil, appendLink(nil, c.socket.from(), c.cfg.NextHop))); err != nil {
		return fmt.Errorf("tell Kamailio of SIP: %w", err)
	}
	return s.probeLink(ctx, w)
}

// start begins to send and to read.
func (l *sipLink) start() {
	l.loops.Go(l.read)
	l.loops.Go(l.write)
}

// probeLink asks Kamailio whether it takes copies by SIP. If Kamailio sends them on to the
// next hop, they must be able to leave from its own address.
func (s *session) probeLink(ctx context.Context, w *WelcomeEvent) error {
	s.c.socket.learn(&w.Welcome)
	way, err := s.c.socket.probe(ctx, w.Gen)
	if err != nil || way == toRouting {
		return err
	}
	return checkHop(w.NextHop, s.c.cfg.NextHop)
}

// useLink lets copies go by SIP.
func (c *Conn) useLink() {
	c.socket.resume()
	c.link.Store(c.socket)
}

// keepLink tries now and then whether copies can go by SIP, if Kamailio did not answer at
// first, as it may have been busy, or if it did not know the link any more later. The channel
// is closed when it has ended, with ctx at the latest.
func (s *session) keepLink(ctx context.Context, w *WelcomeEvent, p *peer) <-chan struct{} {
	over := make(chan struct{})
	if !p.bySIP && !p.later {
		close(over)
		return over
	}
	go func() {
		defer close(over)
		for up := p.bySIP; ; up = true {
			if up && !s.awaitRefusal(ctx, p.lane) {
				return
			}
			for up = false; !up; up = s.openAgain(ctx, w) {
				if !Sleep(ctx, s.c.linkLater) {
					return
				}
			}
			s.c.useLink()
			s.c.cfg.Log.Info().Str("kamailio", s.c.cfg.Name).Stringer("fanout", LaneSIP).
				Msg("copies go to Kamailio as SIP requests now")
		}
	}()
	return over
}

// awaitRefusal waits until Kamailio does not know the link any more; false: ctx has ended.
func (s *session) awaitRefusal(ctx context.Context, instead Lane) bool {
	select {
	case <-s.c.socket.refused:
	case <-ctx.Done():
		return false
	}
	s.c.cfg.Log.Warn().Str("kamailio", s.c.cfg.Name).Stringer("fanout", instead).
		Msg("Kamailio does not know imcd's SIP address any more: copies go another way until it does")
	return true
}

// openAgain tells Kamailio again where copies come from, and asks whether it knows that.
func (s *session) openAgain(ctx context.Context, w *WelcomeEvent) bool {
	payload := appendLink(nil, s.c.socket.from(), s.c.cfg.NextHop)
	return s.c.box.putPayload(payload, false) == nil && s.probeLink(ctx, w) == nil
}

// checkHop checks that copies for the next hop, a SIP URI, leave Kamailio from its own
// address, the one at which they arrive.
func checkHop(own, hop string) error {
	var u sip.Uri
	if err := sip.ParseUri(hop, &u); err != nil {
		return fmt.Errorf("next hop %q: %w", hop, err)
	}
	addr, err := netip.ParseAddr(strings.Trim(u.Host, "[]"))
	if err != nil {
		return fmt.Errorf("the next hop %q is a name: it may be one of this Kamailio's, "+
			"which would not know its copies again", hop)
	}
	if t, ok := u.UriParams.Get("transport"); u.IsEncrypted() || ok && !strings.EqualFold(t, "udp") {
		return fmt.Errorf("the next hop %q is not reached by UDP", hop)
	}
	// Datagrams from the loopback address do not leave the host.
	conn, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(netip.AddrPortFrom(addr, 9)))
	if err != nil {
		return fmt.Errorf("next hop %q: %w", hop, err)
	}
	defer conn.Close()
	from, err := netip.ParseAddrPort(strings.TrimPrefix(own, "sip:"))
	local := conn.LocalAddr().(*net.UDPAddr).AddrPort().Addr().Unmap()
	if err != nil || local != from.Addr() {
		return fmt.Errorf("the next hop %q is not reached from Kamailio's own address %q", hop, own)
	}
	return nil
}
