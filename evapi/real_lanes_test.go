package evapi_test

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"imcd/evapi"
	"imcd/evapi/evapitest"
	"imcd/evapi/evapitest/kit"
)

// fastSink answers every request with 200 and looks at nothing.
func fastSink(t testing.TB) (uri string, received *atomic.Int64) {
	pc, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	if err := pc.SetReadBuffer(16 << 20); err != nil {
		t.Fatal(err)
	}
	received = new(atomic.Int64)
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, 65536)
		var out []byte
		for {
			n, from, err := pc.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			received.Add(1)
			out = append(out[:0], "SIP/2.0 200 OK\r\n"...)
			head, _, _ := bytes.Cut(buf[:n], []byte("\r\n\r\n"))
			for len(head) > 0 {
				var line []byte
				line, head, _ = bytes.Cut(head, []byte("\r\n"))
				switch {
				case bytes.HasPrefix(line, []byte("To:")):
					out = append(append(out, line...), ";tag=s\r\n"...)
				case bytes.HasPrefix(line, []byte("Via:")), bytes.HasPrefix(line, []byte("From:")),
					bytes.HasPrefix(line, []byte("Call-ID:")), bytes.HasPrefix(line, []byte("CSeq:")):
					out = append(append(out, line...), "\r\n"...)
				}
			}
			out = append(out, "Content-Length: 0\r\n\r\n"...)
			_, _ = pc.WriteToUDPAddrPort(out, from)
		}
	}()
	t.Cleanup(func() {
		pc.Close()
		<-done
	})
	return "sip:" + pc.LocalAddr().String(), received
}

// cpuOf is the time that a process and its children have used, in ticks.
func cpuOf(t testing.TB, pid int) float64 {
	var sum float64
	tasks, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range append(strings.Fields(string(tasks)), strconv.Itoa(pid)) {
		stat, err := os.ReadFile("/proc/" + p + "/stat")
		if err != nil {
			continue
		}
		f := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
		u, _ := strconv.ParseFloat(f[11], 64)
		s, _ := strconv.ParseFloat(f[12], 64)
		sum += u + s
	}
	return sum
}

// BenchmarkLanes shows what each lane costs Kamailio: copies of messages to 100
// users, registered ones, or at another host that is the next hop.
func BenchmarkLanes(b *testing.B) {
	const users, outstanding = 100, 200
	for _, bm := range []struct {
		lane     evapi.Lane
		straight bool
		local    string
	}{{evapi.LaneRPC, false, ""}, {evapi.LaneBatch, false, ""}, {evapi.LaneSIP, false, ""},
		{evapi.LaneRPC, true, ""}, {evapi.LaneBatch, true, ""}, {evapi.LaneSIP, true, ""}, {evapi.LaneSIP, true,
			throughLocal}} {
		name := bm.lane.String()
		if bm.straight {
			name += " straight"
		}
		if bm.local != "" {
			name += " through"
		}
		b.Run(name, func(b *testing.B) {
			k, err := evapitest.StartKamailio(context.Background(), evapitest.Options{SHM: 2048, IMCLocal: bm.local})
			if err != nil {
				b.Fatal(err)
			}
			defer k.Stop()
			uri, _ := fastSink(b)
			next := ""
			if bm.straight {
				next = uri
			} else {
				register(b, k, uri, users)
			}
			room := make(chan struct{}, outstanding)
			var bad atomic.Int64
			ev := newEvents(func(r evapi.Result) {
				if r.Code != 200 {
					bad.Add(1)
				}
				select {
				case <-room:
				default:
				}
			})
			c := startReal(b, evapi.Config{Addr: k.EvapiAddr(), Secret: k.Secret(), Fanout: bm.lane, NextHop: next,
				QueueCopies: 65536}, ev, ev.up)
			defer c.Stop()
			body := bytes.Repeat([]byte("x"), 100)
			before, began := cpuOf(b, k.Pid()), time.Now()
			b.ResetTimer()
			var out *evapi.Outgoing
			for i := range b.N {
				if i%users == 0 {
					if out, err = evapi.NewOutgoing(evapi.Content{From: "<sip:chat-r@example.org>", Body: body}); err != nil {
						b.Fatal(err)
					}
				}
				room <- struct{}{}
				if err := c.Send(evapi.Copy{Out: out, To: fmt.Sprintf("sip:user%d@example.org", i%users),
					CallID: fmt.Sprintf("000-%x", i)}); err != nil {
					b.Fatal(err)
				}
			}
			end := time.Now().Add(kit.Patience)
			for now := range time.Tick(time.Millisecond) {
				if len(room) == 0 {
					break
				}
				if now.After(end) {
					b.Fatalf("%d copies without an outcome, %+v\n%s", len(room), c.Stats(), k.LogTail())
				}
			}
			b.StopTimer()
			b.ReportMetric(float64(b.N)/time.Since(began).Seconds(), "copies/s")
			b.ReportMetric((cpuOf(b, k.Pid())-before)*1e4/float64(b.N), "µs-kamailio/copy")
			if n := bad.Load(); n > 0 {
				b.Errorf("%d not delivered", n)
			}
		})
	}
}

// register gives users the contact uri.
func register(t testing.TB, k *evapitest.Kamailio, uri string, users int) {
	conn, err := net.Dial("udp", k.SIPAddr())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for i := range users {
		_, err := fmt.Fprintf(conn, "REGISTER sip:example.org SIP/2.0\r\nVia: SIP/2.0/UDP %s;branch=z9hG4bK-r%d\r\n"+
			"From: <sip:user%d@example.org>;tag=1\r\n"+
			"To: <sip:user%d@example.org>\r\nCall-ID: r%d\r\nCSeq: 1 REGISTER\r\nContact: <%s>\r\nMax-Forwards: 70\r\n"+
			"Content-Length: 0\r\n\r\n",
			conn.LocalAddr(), i, i, i, i, strings.Replace(uri, "sip:", fmt.Sprintf("sip:user%d@", i), 1))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Read(make([]byte, 2000)); err != nil {
			t.Fatal(err)
		}
	}
}
