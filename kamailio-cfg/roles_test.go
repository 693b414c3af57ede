package kamailiocfg_test

import (
	"context"
	"io"
	"testing"
	"time"

	"imcd/evapi/evapitest"
	"imcd/evapi/evapitest/kit"
)

func TestOperators(t *testing.T) {
	k := kit.Kamailio(t, evapitest.Options{})
	first, w := hello(t, k, k.OperatorSecret())
	if w.Params["role"] != "operator" || w.Params["header"] != "" || w.Params["next_hop"] != "" {
		t.Errorf("welcome %s", w.Raw)
	}
	ask := func(p *evapitest.Peer, frame, want string) {
		t.Helper()
		send(t, p, frame)
		if ev := next(t, p, ""); ev.Raw != want {
			t.Errorf("%s\nwant %s\ngot  %s", frame, want, ev.Raw)
		}
	}
	down := func(id string) string {
		return `{"jsonrpc":"2.0","error":{"code":-32000,` +
			`"message":"imcd does not answer or is not connected to Kamailio"},"id":` + id + `}`
	}
	ask(first, `{"jsonrpc":"2.0","method":"imc.stats","id":7}`, down("7"))
	ask(first, `{"id" : "a b" , "method":"imc.stats"}`, down(`"a b"`))
	ask(first, `{"jsonrpc":"2.0","method":"imc.stats","id":"\"}"}`, down("null"))
	ask(first, `garbage`, down("null"))

	engine, _ := hello(t, k, k.Secret())
	second, _ := hello(t, k, k.OperatorSecret())
	tags := make(map[string]bool)
	for _, p := range []*evapitest.Peer{first, second} {
		query := `{"jsonrpc":"2.0","method":"imc.stats","params":["\"ä"],"id":1}`
		send(t, p, query)
		ev := next(t, engine, "imc.call")
		if unb64(t, ev.Params["msg"]) != query {
			t.Errorf("call %s", ev.Raw)
		}
		tag := ev.Params["tag"]
		tags[tag] = true
		answer := `{"jsonrpc":"2.0","result":"for ` + tag + `","id":1}`
		send(t, engine, call("imc.answer", tag, b64(answer)))
		if got := next(t, p, ""); got.Raw != answer {
			t.Errorf("answer %s, want %s", got.Raw, answer)
		}
	}
	if len(tags) != 2 {
		t.Errorf("tags %v", tags)
	}
}

// An operator may ask, and nothing else.
func TestOperatorIsNoEngine(t *testing.T) {
	k := kit.Kamailio(t, evapitest.Options{})
	engine, w := hello(t, k, k.Secret())
	operator, _ := hello(t, k, k.OperatorSecret())
	bob := kit.Registered(t, k, evapitest.UAConfig{User: "bob"})
	next(t, engine, "imc.registered")
	got := say(t, bob, "sip:chat-1@x", "hello")
	message := next(t, engine, "imc.message")
	frames := []string{
		reply(message, "200", "1", "0", "hijacked"),
		copyFrame(unb64(t, w.Params["header"]), unb64(t, w.Params["next_hop"]), "sip:bob@x", "id", "x"),
		call("imc.ping", "1"),
		call("imc.answer", "op-1", b64("{}")),
		`{"jsonrpc":"2.0","method":"core.kill","id":1}`,
	}
	for _, frame := range frames {
		send(t, operator, frame)
		if ev := next(t, engine, "imc.call"); unb64(t, ev.Params["msg"]) != frame {
			t.Errorf("call %s", ev.Raw)
		}
	}
	send(t, engine, reply(message, "202", "1", "0", "by imcd"))
	if s := expect(t, got, 202); s.reason != "by imcd" {
		t.Errorf("answer %s", s)
	}
	barrier(t, engine)
	if n := operator.Pending(); n != 0 {
		t.Errorf("the operator got %d frames", n)
	}
	if n := len(bob.Received()); n != 0 {
		t.Errorf("bob got %d requests", n)
	}
	// An engine cannot send to itself or to strangers by imc.answer.
	for _, tag := range []string{"imc-1", "stranger", "nobody", ""} {
		send(t, engine, call("imc.answer", tag, b64(`{"method":"forged"}`)))
	}
	barrier(t, engine)
}

func TestStranger(t *testing.T) {
	k := kit.Kamailio(t, evapitest.Options{})
	engine, w := hello(t, k, k.Secret())
	bob := kit.Registered(t, k, evapitest.UAConfig{User: "bob"})
	next(t, engine, "imc.registered")
	stranger := kit.Peer(t, k)
	got := say(t, bob, "sip:chat-1@x", "hello")
	message := next(t, engine, "imc.message")
	for _, frame := range []string{
		"hello", "hello ", "hello wrong", "hello " + k.Secret() + " ", "hello " + k.Secret() + "x", " hello " +
			k.Secret(),
		"HELLO " + k.Secret(), "garbage", "{", "\x00\x01\xff",
		reply(message, "200", "1", "0", "hijacked"),
		copyFrame(unb64(t, w.Params["header"]), unb64(t, w.Params["next_hop"]), "sip:bob@x", "id", "x"),
		call("imc.ping", "1"),
		`{"jsonrpc":"2.0","method":"core.kill","id":1}`,
		`{"jsonrpc":"2.0","method":"imc.list_rooms","id":1}`,
	} {
		send(t, stranger, frame)
	}
	if err := stranger.SendRaw([]byte("99999999:x,:::,-1:,\x00 0:,")); err != nil {
		t.Fatal(err)
	}
	// A right hello proves that all before it was looked at.
	other, _ := hello(t, k, k.OperatorSecret())
	barrier(t, engine)
	send(t, engine, reply(message, "200", "1", "0", "OK"))
	expect(t, got, 200)
	if n := stranger.Pending() + other.Pending(); n != 0 {
		t.Errorf("strangers got %d frames", n)
	}
	if n := len(bob.Received()); n != 0 {
		t.Errorf("bob got %d requests", n)
	}
}

// A client in the slot of one that has gone gets nothing meant for that one.
func TestReusedSlot(t *testing.T) {
	k := kit.Kamailio(t, evapitest.Options{})
	for _, secret := range []string{k.Secret(), k.OperatorSecret()} {
		old, _ := hello(t, k, secret)
		tag := "nobody"
		if secret == k.OperatorSecret() {
			engine, _ := hello(t, k, k.Secret())
			send(t, old, "{}")
			tag = next(t, engine, "imc.call").Params["tag"]
			engine.Close()
		}
		old.Close()
		fresh := kit.Peer(t, k)
		engine, _ := hello(t, k, k.Secret())
		send(t, engine, call("imc.answer", tag, b64("{}")))
		send(t, fresh, "{}")
		barrier(t, engine)
		if n := fresh.Pending(); n != 0 {
			t.Errorf("%s: %d frames for the old client", tag, n)
		}
		engine.Close()
		fresh.Close()
	}
}

func TestTakeOver(t *testing.T) {
	k := kit.Kamailio(t, evapitest.Options{})
	old, _ := hello(t, k, k.Secret())
	alice := kit.UA(t, evapitest.UAConfig{User: "alice", Proxy: k.SIPAddr()})
	got := say(t, alice, "sip:chat-1@x", "before")
	message := next(t, old, "imc.message")
	engine, w := hello(t, k, k.Secret())
	if w.Params["gen"] != "2" {
		t.Errorf("welcome %s", w.Raw)
	}
	again := next(t, engine, "imc.message")
	if again.Params["tindex"] != message.Params["tindex"] || again.Params["tlabel"] != message.Params["tlabel"] ||
		again.Params["tries"] != "2" {
		t.Errorf("event %s", again.Raw)
	}
	send(t, old, reply(message, "200", "1", "0", "too late"))
	send(t, old, call("imc.ping", "1"))
	barrier(t, engine)
	if n := old.Pending(); n != 0 {
		t.Errorf("the old engine got %d frames", n)
	}
	// The new one answers what the old one was asked.
	send(t, engine, reply(again, "202", "1", "0", "by the new one"))
	expect(t, got, 202)
	old.Close()
	barrier(t, engine)
	got = say(t, alice, "sip:chat-1@x", "after")
	send(t, engine, reply(next(t, engine, "imc.message"), "200", "1", "0", "OK"))
	expect(t, got, 200)
}

// The same connection says hello again, in either role.
func TestHelloTwice(t *testing.T) {
	k := kit.Kamailio(t, evapitest.Options{})
	p, _ := hello(t, k, k.Secret())
	for _, secret := range []string{k.Secret(), k.OperatorSecret(), k.OperatorSecret(), k.Secret()} {
		send(t, p, "hello "+secret)
		next(t, p, "imc.welcome")
	}
	barrier(t, p)
	send(t, p, "hello "+k.OperatorSecret())
	next(t, p, "imc.welcome")
	alice := kit.UA(t, evapitest.UAConfig{User: "alice", Proxy: k.SIPAddr()})
	expect(t, say(t, alice, "sip:chat-1@x", "nobody is there"), 503)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if ev, err := p.Next(ctx); err == nil || err == io.EOF {
		t.Errorf("unexpected %s %v", ev.Raw, err)
	}
}
