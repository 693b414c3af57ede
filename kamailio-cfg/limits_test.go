package kamailiocfg_test

import (
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"imcd/evapi/evapitest"
	"imcd/evapi/evapitest/kit"
)

// Without imcd, with a silent one and with a mute one.
func TestUnavailable(t *testing.T) {
	k := kit.Kamailio(t, evapitest.Options{})
	alice := kit.Registered(t, k, evapitest.UAConfig{User: "alice"})
	refused := func(reason string) {
		t.Helper()
		if s := expect(t, say(t, alice, "sip:chat-1@x", "hello"), 503); s.reason != reason || s.after != "5" {
			t.Errorf("answer %s", s)
		}
	}
	refused("Chat service unavailable")
	if err := alice.Register(kit.Context(t)); err != nil {
		t.Error(err)
	}
	engine, _ := hello(t, k, k.Secret())
	// Mute: it is sent the message and does not answer within 5 s. By then it
	// is silent, too.
	refused("Chat service timeout")
	message := nextBut(t, engine, "imc.message", "imc.registered") // which may come a moment after its 200
	untilUnavailable(t, alice)
	// Late: its answer finds nobody, and harms nobody.
	send(t, engine, reply(message, "200", "1", "0", "too late"))
	for engine.Pending() > 0 {
		next(t, engine, "imc.message")
	}
	barrier(t, engine)
	got := say(t, alice, "sip:chat-1@x", "again")
	send(t, engine, reply(next(t, engine, "imc.message"), "200", "1", "0", "OK"))
	expect(t, got, 200)
	engine.Close()
	untilUnavailable(t, alice)
}

// untilUnavailable sends to a room until Kamailio knows that imcd is gone.
func untilUnavailable(t *testing.T, u *evapitest.UA) {
	t.Helper()
	for range 10 {
		if expect(t, say(t, u, "sip:chat-1@chat.test", "hello"), 503).reason == "Chat service unavailable" {
			return
		}
	}
	t.Error("rooms are still taken")
}

func TestSizes(t *testing.T) {
	k := kit.Kamailio(t, evapitest.Options{})
	s := startStandIn(t, k)
	for _, transport := range []string{"udp", "tcp"} {
		alice := kit.UA(t, evapitest.UAConfig{User: "alice", Proxy: k.SIPAddr(), Transport: transport})
		for _, size := range []int{0, 1, 10000, 24000, 48000} {
			before, _ := s.seen("imc.message")
			body := strings.Repeat("\x00\xffx\r\n\"", size/6+1)[:size]
			expect(t, say(t, alice, "sip:chat-1@x", body), 202)
			ev := s.wait(t, "imc.message", len(before)+1)[len(before)]
			if got := unb64(t, ev.Params["msg"]); !strings.HasSuffix(got, "\r\n\r\n"+body) ||
				ev.Params["proto"] != transport {
				t.Errorf("%s, %d bytes: event has %d", transport, size, len(got))
			}
		}
		expect(t, say(t, alice, "sip:chat-1@x", strings.Repeat("x", 49000)), 413)
		expect(t, say(t, alice, "sip:chat-1@x", strings.Repeat("x", 60000)), 413)
		expect(t, say(t, alice, "sip:chat-1@x", "still there"), 202)
	}
}

// The largest frame that evapi reads reaches a member.
func TestLargestFrame(t *testing.T) {
	k := kit.Kamailio(t, evapitest.Options{})
	s := startStandIn(t, k)
	bob := kit.Registered(t, k, evapitest.UAConfig{User: "bob"})
	header, hop := s.header(t), unb64(t, s.welcome.Params["next_hop"])
	rest := len(copyFrame(header, hop, "sip:bob@x", "big", ""))
	body := strings.Repeat("y", 32760-rest)
	s.copyTo(t, "sip:bob@x", "big", body)
	got, err := bob.Next(kit.Context(t))
	if err != nil || got.Text() != body {
		t.Errorf("%d bytes of %d: %v", len(got.Body), len(body), err)
	}
}

// An imcd that does not read, as under SIGSTOP, is cut off before its socket is
// full: then Kamailio would stop answering everybody.
func TestFrozenEngine(t *testing.T) {
	// Few requests are parked, so the last ones are refused at once, also if Kamailio's socket drops some.
	k := kit.Kamailio(t, evapitest.Options{IMCLocal: "#!define IMC_MAX_PARKED 100\n"})
	conn, err := net.Dial("tcp", k.EvapiAddr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	frame := "hello " + k.Secret()
	if _, err := fmt.Fprintf(conn, "%d:%s,", len(frame), frame); err != nil {
		t.Fatal(err)
	}
	// It keeps pinging, so the lease alone does not help at first.
	alice := kit.Registered(t, k, evapitest.UAConfig{User: "alice"})
	bob := kit.Registered(t, k, evapitest.UAConfig{User: "bob", Transport: "tcp"})
	text := strings.Repeat("x", 2000)
	var unavailable <-chan said
	for i := range 2500 {
		unavailable = say(t, alice, "sip:chat-1@x", text)
		if i%250 != 0 {
			continue
		}
		if err := bob.Register(kit.Context(t)); err != nil {
			t.Fatal(err)
		}
		expect(t, do(t, bob, evapitest.Request{Method: "OPTIONS", URI: "sip:" + k.SIPAddr()}), 200)
		expect(t, say(t, bob, alice.AOR(), "are you there?"), 200)
	}
	if s := expect(t, unavailable, 503); s.reason != "Chat service unavailable" {
		t.Errorf("answer %s", s)
	}
	if _, err := alice.WaitN(kit.Context(t), 10); err != nil {
		t.Error(err)
	}
}

// Transactions that wait for a frozen imcd end, however many there are.
func TestSuspendedEnd(t *testing.T) {
	k := kit.Kamailio(t, evapitest.Options{})
	engine, _ := hello(t, k, k.Secret())
	alice := kit.UA(t, evapitest.UAConfig{User: "alice", Proxy: k.SIPAddr()})
	var waiting []<-chan said
	for range 200 {
		waiting = append(waiting, say(t, alice, "sip:chat-1@x", "hello"))
	}
	next(t, engine, "imc.message")
	engine.Close()
	for _, w := range waiting {
		expect(t, w, 503)
	}
}

// Copies that go to another host: its silence is reported.
func TestLocalTimeouts(t *testing.T) {
	silent, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { silent.Close() })
	k := kit.Kamailio(t, evapitest.Options{
		IMCLocal: "#!define IMC_LOCAL_TIMEOUTS\n#!define IMC_COPY_TIMEOUT 1000\n#!define IMC_NEXT_HOP \"sip:" +
			silent.LocalAddr().String() + "\"",
	})
	s := startStandIn(t, k)
	if hop := unb64(t, s.welcome.Params["next_hop"]); hop != "sip:"+silent.LocalAddr().String() {
		t.Errorf("next hop %s", hop)
	}
	s.copyTo(t, "sip:bob@x", "lost", "x")
	if ev := s.wait(t, "imc.outcome", 1)[0]; unb64(t, ev.Params["id"]) != "lost" || ev.Params["code"] != "408" {
		t.Errorf("result %s", ev.Raw)
	}
}

// Frames in one window of 30000 bytes are all executed, whatever their sizes.
func TestWindows(t *testing.T) {
	k := kit.Kamailio(t, evapitest.Options{})
	s := startStandIn(t, k)
	bob := kit.Registered(t, k, evapitest.UAConfig{User: "bob"})
	header, hop := s.header(t), unb64(t, s.welcome.Params["next_hop"])
	sent := 0
	for range 20 {
		var window strings.Builder
		for window.Len() < 28000 {
			f := copyFrame(header, hop, "sip:bob@x", fmt.Sprintf("id-%d", sent), strings.Repeat("z", sent*7%900))
			fmt.Fprintf(&window, "%d:%s,", len(f), f)
			sent++
		}
		if err := s.peer.SendRaw([]byte(window.String())); err != nil {
			t.Fatal(err)
		}
		s.wait(t, "imc.outcome", sent)
	}
	all, err := bob.WaitN(kit.Context(t), sent)
	if err != nil || len(all) != sent {
		t.Errorf("%d of %d: %v", len(all), sent, err)
	}
	if late := all[len(all)-1].At.Sub(all[0].At); late > time.Minute {
		t.Errorf("took %v", late)
	}
}
