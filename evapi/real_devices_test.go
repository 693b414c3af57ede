package evapi_test

import (
	"fmt"
	"testing"

	"imcd/evapi"
	"imcd/evapi/evapitest"
	"imcd/evapi/evapitest/kit"
)

// TestRealDevice: on each lane a copy for one device of a user reaches that device alone, whatever transport it uses;
// To is the user. A device that is gone is no other one's.
func TestRealDevice(t *testing.T) {
	for _, lane := range []evapi.Lane{evapi.LaneRPC, evapi.LaneBatch, evapi.LaneSIP} {
		t.Run(lane.String(), func(t *testing.T) {
			port, err := evapitest.FreePort()
			if err != nil {
				t.Fatal(err)
			}
			k := kit.Kamailio(t, evapitest.Options{}.WithWebSocket(port))
			results := make(chan evapi.Result, 100)
			ev := newEvents(func(r evapi.Result) { results <- r })
			c := connect(t, k, lane, "", ev)
			type phone struct {
				ua   *evapitest.UA
				gruu string
			}
			var phones []phone
			for _, transport := range []string{"udp", "udp", "tcp", "ws"} {
				cfg := evapitest.UAConfig{User: "bob", Domain: "example.org", Transport: transport, Proxy: k.SIPAddr()}
				if transport == "ws" {
					cfg.Proxy = fmt.Sprint("127.0.0.1:", port)
				}
				ua := kit.UA(t, cfg)
				if err := ua.Register(kit.Context(t)); err != nil {
					t.Fatal(err)
				}
				var r evapi.Registration
				select {
				case r = <-ev.regs:
				case <-kit.Context(t).Done():
					t.Fatal("no registration")
				}
				if r.Conn != c || len(r.Devices) != 1 || r.Devices[0].GRUU == "" {
					t.Fatalf("%+v", r)
				}
				phones = append(phones, phone{ua, r.Devices[0].GRUU})
			}
			send := func(n int, body string, want int) {
				t.Helper()
				out, err := evapi.NewOutgoing(evapi.Content{From: "<sip:chat-1@example.org>", Body: []byte(body)})
				if err != nil {
					t.Fatal(err)
				}
				id := fmt.Sprintf("%s-%d-%x", lane, n, body)
				if err := c.Send(evapi.Copy{Out: out, To: "sip:bob@example.org", Device: phones[n].gruu, CallID: id}); err != nil {
					t.Fatal(err)
				}
				select {
				case r := <-results:
					if r.CallID != id || r.Code != want || r.Device != phones[n].gruu {
						t.Errorf("to %d: %+v, want %d", n, r, want)
					}
				case <-kit.Context(t).Done():
					t.Fatalf("no outcome of the copy to %d", n)
				}
			}
			for n := range phones {
				body := fmt.Sprint("to ", n)
				send(n, body, 200)
				got, err := phones[n].ua.Next(kit.Context(t))
				if err != nil || got.Text() != body || got.To != "sip:bob@example.org" {
					t.Errorf("%d got %+v, %v", n, got, err)
				}
			}
			send(0, "a\x00b", 200) // as imc.send
			if got, err := phones[0].ua.Next(kit.Context(t)); err != nil || string(got.Body) != "a\x00b" {
				t.Errorf("got %+v, %v", got, err)
			}
			// One message to all of them at once has an outcome for each.
			out, err := evapi.NewOutgoing(evapi.Content{From: "<sip:chat-1@example.org>", Body: []byte("to all")})
			if err != nil {
				t.Fatal(err)
			}
			open := make(map[string]bool)
			for _, p := range phones {
				open[p.gruu] = true
				if err := c.Send(evapi.Copy{Out: out, To: "sip:bob@example.org", Device: p.gruu, CallID: "all"}); err != nil {
					t.Fatal(err)
				}
			}
			for len(open) > 0 {
				select {
				case r := <-results:
					if r.CallID != "all" || r.Code != 200 || !open[r.Device] {
						t.Errorf("%+v", r)
					}
					delete(open, r.Device)
				case <-kit.Context(t).Done():
					t.Fatalf("no outcome of %v", open)
				}
			}
			for n, p := range phones {
				if got, err := p.ua.Next(kit.Context(t)); err != nil || got.Text() != "to all" || got.CallID != "all" {
					t.Errorf("%d got %+v, %v", n, got, err)
				}
			}
			if err := phones[0].ua.Unregister(kit.Context(t)); err != nil {
				t.Fatal(err)
			}
			send(0, "gone", 404)
			for n, p := range phones[1:] {
				if got := len(p.ua.Received()); got != 2 {
					t.Errorf("%d got %d requests", n+1, got)
				}
			}
		})
	}
}
