package evapitest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"
)

// readyPoll is the time between two looks at a Kamailio that is starting.
const readyPoll = 50 * time.Millisecond

// waitReady waits until Kamailio answers OPTIONS and accepts evapi connections.
func (k *Kamailio) waitReady(ctx context.Context) error {
	tick := time.NewTicker(readyPoll)
	defer tick.Stop()
	for {
		err := k.probe()
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-k.proc.Done():
			return fmt.Errorf("it ended: %w", errors.Join(k.proc.Err(), err))
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		}
	}
}

func (k *Kamailio) probe() error {
	if err := probeOptions("udp", k.SIPAddr()); err != nil {
		// A configuration may speak TCP alone.
		if probeOptions("tcp", k.SIPAddr()) != nil {
			return err
		}
	}
	for _, addr := range []string{k.SIPAddr(), k.EvapiAddr()} {
		conn, err := net.DialTimeout("tcp", addr, readyPoll)
		if err != nil {
			return err
		}
		conn.Close()
	}
	return nil
}

// probeOptions sends one OPTIONS and waits shortly for any reply.
func probeOptions(network, addr string) error {
	conn, err := net.Dial(network, addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	id := newToken()
	req := strings.Join([]string{
		"OPTIONS sip:" + addr + " SIP/2.0",
		"Via: SIP/2.0/" + strings.ToUpper(network) + " " + conn.LocalAddr().String() + ";branch=z9hG4bK" + id +
			";rport",
		"From: <sip:probe@" + addr + ">;tag=" + id,
		"To: <sip:" + addr + ">",
		"Call-ID: " + id,
		"CSeq: 1 OPTIONS",
		"Max-Forwards: 5",
		"Content-Length: 0",
		"", "",
	}, "\r\n")
	if _, err := conn.Write([]byte(req)); err != nil {
		return err
	}
	if err := conn.SetReadDeadline(time.Now().Add(readyPoll)); err != nil {
		return err
	}
	buf := make([]byte, 2048)
	n, err := conn.Read(buf)
	if err != nil {
		return err
	}
	if !strings.HasPrefix(string(buf[:n]), "SIP/2.0 ") {
		return fmt.Errorf("no SIP reply from %s", addr)
	}
	return nil
}
