package kamailiocfg_test

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"imcd/evapi/evapitest"
	"imcd/evapi/evapitest/kit"
)

// TestReceiptsAreAnsweredHere: a receipt to a room is answered at once, without imcd, which
// hears of it all the same, with every header.
func TestReceiptsAreAnsweredHere(t *testing.T) {
	k := kit.Kamailio(t, evapitest.Options{})
	alice := kit.UA(t, evapitest.UAConfig{User: "alice", Proxy: k.SIPAddr(), Domain: "a.example"})
	receipt := func(contentType string, headers ...string) <-chan said {
		t.Helper()
		return do(t, alice, evapitest.Request{Method: "MESSAGE", URI: "sip:chat-1@a.example", ContentType: contentType,
			Body: []byte("x\x00\xff"), Headers: headers})
	}
	expect(t, receipt("message/imdn+xml"), 200) // imcd is not there
	engine, _ := hello(t, k, k.Secret())
	for _, contentType := range []string{"message/imdn+xml", "Message/IMDN+XML ;charset=utf-8"} {
		expect(t, receipt(contentType, "Content-Encoding: deflate"), 200)
		ev := next(t, engine, "imc.receipt")
		msg := unb64(t, ev.Params["msg"])
		if unb64(t, ev.Params["ruri"]) != "sip:chat-1@a.example" || !strings.HasSuffix(msg, "\r\n\r\nx\x00\xff") ||
			!strings.Contains(msg, "\r\nContent-Encoding: deflate\r\n") ||
			!strings.Contains(msg, "<sip:alice@a.example>") {
			t.Errorf("%s: %q", contentType, msg)
		}
	}
	for _, contentType := range []string{"message/imdn", "message/imdn+xmlx", "text/plain;x=message/imdn+xml",
		"message/cpim"} {
		got := receipt(contentType)
		send(t, engine, reply(next(t, engine, "imc.message"), "403", "-41", "0", "no"))
		expect(t, got, 403)
	}
	barrier(t, engine)
	send(t, engine, call("imc.ping", "1"))
	if ev := next(t, engine, "imc.pong"); ev.Params["dropped"] != "1" {
		t.Errorf("pong %s", ev.Raw)
	}
	// A receipt to a user takes the operator's routing.
	bob := kit.Registered(t, k, evapitest.UAConfig{User: "bob"})
	next(t, engine, "imc.registered")
	got := do(t, alice, evapitest.Request{Method: "MESSAGE", URI: bob.AOR(), ContentType: "message/imdn+xml",
		Body: []byte("x")})
	if _, err := bob.Next(kit.Context(t)); err != nil {
		t.Error(err)
	}
	expect(t, got, 200)
}

// TestManyReceipts: above IMC_RECEIPTS they are answered, dropped and counted; messages
// are not held up.
func TestManyReceipts(t *testing.T) {
	const limit, sent = 20, 300
	k := kit.Kamailio(t, evapitest.Options{IMCLocal: "#!define IMC_RECEIPTS 20\n"})
	s := startStandIn(t, k)
	alice := kit.UA(t, evapitest.UAConfig{User: "alice", Proxy: k.SIPAddr()})
	bob := kit.UA(t, evapitest.UAConfig{User: "bob", Proxy: k.SIPAddr()})
	began := time.Now()
	var answers []<-chan said
	for i := range sent {
		answers = append(answers, do(t, alice, evapitest.Request{Method: "MESSAGE", URI: "sip:chat-1@x",
			ContentType: "message/imdn+xml", Body: []byte(strings.Repeat("x", 500))}))
		if i%100 == 0 {
			expect(t, say(t, bob, "sip:chat-1@x", "hello"), 202)
		}
	}
	for _, got := range answers {
		expect(t, got, 200)
	}
	seconds := int(time.Since(began)/time.Second) + 2 // that it touched
	events, dropped := 0, 0
	// Workers count without a lock: it may come out a little short, and a few more than
	// the limit may pass.
	for pongs := 1; events+dropped < sent*9/10; pongs++ {
		all := s.wait(t, "imc.pong", pongs)
		handed, _ := s.seen("imc.receipt")
		events = len(handed)
		var err error
		if dropped, err = strconv.Atoi(all[len(all)-1].Params["dropped"]); err != nil {
			t.Fatal(err)
		}
		pongs = max(pongs, len(all))
	}
	if events+dropped > sent || events < limit || events > (limit+4)*seconds {
		t.Errorf("%d handed on in %d s, %d dropped", events, seconds, dropped)
	}
}
