package evapi_test

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"testing"
	"time"

	"imcd/evapi"
	"imcd/evapi/evapitest"
	"imcd/evapi/evapitest/kit"
)

// BenchmarkRequests shows what a request for a room costs Kamailio: to the engine, and its answer.
func BenchmarkRequests(b *testing.B) {
	const outstanding = 50
	k, err := evapitest.StartKamailio(context.Background(), evapitest.Options{SHM: 2048})
	if err != nil {
		b.Fatal(err)
	}
	defer k.Stop()
	ev := newEvents(func(evapi.Result) {})
	ev.messages = make(chan *evapi.Message, 2*outstanding)
	c := startReal(b, benchConfig(k), ev, ev.up)
	defer c.Stop()
	beginBench(b, c)
	over, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for {
			select {
			case m := <-ev.messages:
				_ = c.Reply(m.Tx, evapi.Answer{Code: 200, Reason: "OK", RC: 1})
			case <-over:
				return
			}
		}
	}()
	defer func() {
		close(over)
		<-ended
	}()
	conn, err := net.Dial("udp", k.SIPAddr())
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Close()
	body := bytes.Repeat([]byte("x"), 100)
	buf := make([]byte, 4096)
	refused, waiting := 0, 0
	answer := func() {
		if err := conn.SetReadDeadline(time.Now().Add(kit.Patience)); err != nil {
			b.Fatal(err)
		}
		n, err := conn.Read(buf)
		if err != nil {
			b.Fatal(err)
		}
		if !bytes.HasPrefix(buf[:n], []byte("SIP/2.0 200 ")) {
			refused++
		}
		waiting--
	}
	before, began := cpuOf(b, k.Pid()), time.Now()
	b.ResetTimer()
	for i := range b.N {
		if waiting == outstanding {
			answer()
		}
		_, err := fmt.Fprintf(conn, "MESSAGE sip:chat-%d@example.org SIP/2.0\r\nVia: SIP/2.0/UDP %s;branch=z9hG4bK-m%d\r\n"+
			"From: <sip:alice@example.org>;tag=%d\r\nTo: <sip:chat-r@example.org>\r\nCall-ID: m%d\r\nCSeq: 1 MESSAGE\r\n"+
			"Max-Forwards: 70\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n%s",
			i%100, conn.LocalAddr(), i, i, i, len(body), body)
		if err != nil {
			b.Fatal(err)
		}
		waiting++
	}
	for waiting > 0 {
		answer()
	}
	b.StopTimer()
	b.ReportMetric(float64(b.N)/time.Since(began).Seconds(), "requests/s")
	b.ReportMetric((cpuOf(b, k.Pid())-before)*1e4/float64(b.N), "µs-kamailio/request")
	if refused > 0 {
		b.Errorf("%d of %d were not answered 200", refused, b.N)
	}
}

// benchConfig is that of the only engine.
func benchConfig(k *evapitest.Kamailio) evapi.Config {
	return evapi.Config{Addr: k.EvapiAddr(), Secret: k.Secret(), Engine: "1"}
}

// beginBench gives everything to c.
func beginBench(b *testing.B, c *evapi.Conn) {
	for _, err := range []error{c.Fleet(1), c.Own([]evapi.Shard{{Shard: 0, Epoch: 1}})} {
		if err != nil {
			b.Fatal(err)
		}
	}
}
