package kamailiocfg_test

import (
	"strings"
	"testing"

	"imcd/evapi/evapitest"
	"imcd/evapi/evapitest/kit"
	kamailiocfg "imcd/kamailio-cfg"
)

func TestWelcome(t *testing.T) {
	k := kit.Kamailio(t, evapitest.Options{})
	_, w := hello(t, k, k.Secret())
	if w.Params["role"] != "engine" || w.Params["gen"] != "1" {
		t.Errorf("welcome %s", w.Raw)
	}
	if got, want := unb64(t, w.Params["next_hop"]), "sip:"+k.SIPAddr(); got != want {
		t.Errorf("next hop %s, want %s", got, want)
	}
	if header := unb64(t, w.Params["header"]); len(header) != 64 || strings.Contains(header, k.Secret()) {
		t.Errorf("header secret %q", header)
	}
	if v := unb64(t, w.Params["version"]); !strings.HasPrefix(v, "kamailio ") {
		t.Errorf("version %q", v)
	}
	if f := unb64(t, w.Params["features"]); f != "send registered outcomes sip own fleet devices batch direct contacts" {
		t.Errorf("features %q", f)
	}
}

// TestFeatures is what imcd is offered with other settings.
func TestFeatures(t *testing.T) {
	stock := strings.ReplaceAll(kamailiocfg.File(kamailiocfg.Demo), "#!trydef IMC_DIRECT", "#!trydef NOT_IMC_DIRECT")
	for imcLocal, want := range map[string]string{
		"":                               "send registered outcomes sip own fleet devices batch",
		"#!define IMC_RPC_ONLY":          "send registered outcomes sip own fleet devices",
		`#!define IMC_DIRECT "location"`: "send registered outcomes sip own fleet devices batch direct contacts",
	} {
		k := kit.Kamailio(t, evapitest.Options{Config: stock, IMCLocal: imcLocal})
		engine, w := hello(t, k, k.Secret())
		if got := unb64(t, w.Params["features"]); got != want {
			t.Errorf("%q: features %q, want %q", imcLocal, got, want)
		}
		send(t, engine, call("imc.batch", "1", "batch", "", "", "", "", "."))
		// What is not offered is refused, and does no harm. The end of the batch may
		// be reported before the pong.
		send(t, engine, call("imc.ping", "barrier"))
		nextBut(t, engine, "imc.pong", "imc.outcome")
	}
}

// reply answers a message event.
func reply(ev evapitest.Event, code, rc, retry, reason string) string {
	return call("imc.reply", ev.Params["tindex"], ev.Params["tlabel"], code, rc, retry, b64(reason))
}

func TestRoomMessage(t *testing.T) {
	k := kit.Kamailio(t, evapitest.Options{})
	engine, _ := hello(t, k, k.Secret())
	alice := kit.UA(t, evapitest.UAConfig{User: "alice", Proxy: k.SIPAddr(), Domain: "a.example", DisplayName: `A"\`})
	body := "\x00\xff\r\n\"}{\\ $var(x) #ä"
	got := do(t, alice, evapitest.Request{
		Method: "MESSAGE", URI: "sip:chat-1@any.example:99;x=y", ContentType: "x/y", Body: []byte(body),
	})
	ev := next(t, engine, "imc.message")
	if ev.Params["proto"] != "udp" || ev.Params["src_ip"] != "127.0.0.1" || ev.Params["auth_user"] != "" {
		t.Errorf("event %s", ev.Raw)
	}
	if uri := unb64(t, ev.Params["ruri"]); uri != "sip:chat-1@any.example:99;x=y" {
		t.Errorf("request URI %q", uri)
	}
	msg := unb64(t, ev.Params["msg"])
	if !strings.HasSuffix(msg, "\r\n\r\n"+body) || !strings.Contains(msg, `From: "A\"\\" <sip:alice@a.example>`) {
		t.Errorf("message %q", msg)
	}
	send(t, engine, reply(ev, "403", "-41", "7", `not "you", {friend}`))
	if s := expect(t, got, 403); s.reason != `not "you", {friend}` || s.after != "7" {
		t.Errorf("answer %s", s)
	}
	got = say(t, alice, "sip:chat-1@any.example", "hello")
	send(t, engine, reply(next(t, engine, "imc.message"), "200", "1", "0", "OK"))
	if s := expect(t, got, 200); s.after != "" {
		t.Errorf("answer %s", s)
	}
}

// TestReplyHeaders: an answer can have headers of imcd's; one without them is as ever.
func TestReplyHeaders(t *testing.T) {
	k := kit.Kamailio(t, evapitest.Options{})
	engine, _ := hello(t, k, k.Secret())
	alice := kit.UA(t, evapitest.UAConfig{User: "alice", Proxy: k.SIPAddr(), Domain: "a.example"})
	for _, tt := range []struct{ headers, retry, unsupported string }{
		{"Unsupported: foo, bar\r\n", "0", "foo, bar"},
		{"", "0", ""},
		{"X: y\r\nUnsupported: baz\r\n", "3", "baz"},
	} {
		got := say(t, alice, "sip:chat-1@a.example", "hello")
		ev := next(t, engine, "imc.message")
		frame := reply(ev, "420", "-1", tt.retry, "Bad Extension")
		if tt.headers != "" {
			frame = strings.Replace(frame, `"]}`, `","`+b64(tt.headers)+`"]}`, 1)
		}
		send(t, engine, frame)
		if s := expect(t, got, 420); s.not != tt.unsupported || (s.after != "") != (tt.retry != "0") ||
			s.reason != "Bad Extension" {
			t.Errorf("%q: answer %s, Unsupported: %q", tt.headers, s, s.not)
		}
	}
	barrier(t, engine)
}

// copyFrame is what imcd sends for one copy; escape is for the body alone.
func copyFrame(w string, hop, to, callID, body string) string {
	hdrs := "From: <sip:chat-1@a.example>\\r\\nTo: <" + to + ">\\r\\nCall-ID: " + callID +
		"\\r\\nContent-Type: text/plain\\r\\nX-IMC-Secret: " + w + "\\r\\n"
	return `{"jsonrpc":"2.0","method":"tm.t_uac_start","params":["MESSAGE","` + to + `","` + hop + `",".","` +
		hdrs + `","` + body + `"],"id":1}`
}

func TestCopies(t *testing.T) {
	k := kit.Kamailio(t, evapitest.Options{})
	engine, w := hello(t, k, k.Secret())
	header, hop := unb64(t, w.Params["header"]), unb64(t, w.Params["next_hop"])
	bob := kit.Registered(t, k, evapitest.UAConfig{User: "bob"})
	if ev := next(t, engine, "imc.registered"); unb64(t, ev.Params["aor"]) != bob.AOR() {
		t.Errorf("registered %s", ev.Raw)
	}
	result := func(callID, code, retry string) {
		t.Helper()
		ev := nextPinging(t, engine, "imc.outcome")
		if unb64(t, ev.Params["id"]) != callID || ev.Params["code"] != code || unb64(t, ev.Params["retry"]) != retry {
			t.Errorf("want %s %s, got %s", callID, code, ev.Raw)
		}
	}
	send(t, engine, copyFrame(header, hop, "sip:bob@b.example", "id-1", "caf\xe9 \\\"x\\\""))
	result("id-1", "200", "")
	got, err := bob.Next(kit.Context(t))
	if err != nil {
		t.Fatal(err)
	}
	if got.Text() != "caf\xe9 \"x\"" || got.From != "sip:chat-1@a.example" || got.Header("X-IMC-Secret") != "" ||
		got.CallID != "id-1" {
		t.Errorf("bob got %s", got.Request)
	}
	send(t, engine, copyFrame(header, hop, "sip:nobody@b.example", "id-2", "x"))
	result("id-2", "404", "")
	bob.AnswerWith(480)
	send(t, engine, copyFrame(header, hop, "sip:bob@b.example", "id-3", "x"))
	result("id-3", "480", "")
	bob.AnswerWith(0)
	send(t, engine, copyFrame(header, hop, "sip:bob@b.example", "id-4", "x"))
	ev := nextPinging(t, engine, "imc.outcome")
	if unb64(t, ev.Params["id"]) != "id-4" || ev.Params["code"] != "408" {
		t.Errorf("silent member: %s", ev.Raw)
	}
}

func TestSendLane(t *testing.T) {
	k := kit.Kamailio(t, evapitest.Options{})
	engine, w := hello(t, k, k.Secret())
	header, hop := unb64(t, w.Params["header"]), unb64(t, w.Params["next_hop"])
	bob := kit.Registered(t, k, evapitest.UAConfig{User: "bob"})
	next(t, engine, "imc.registered")
	body := "a\x00b!!\xff" + strings.Repeat("z", 20000)
	hdrs := "Content-Type: text/plain\r\nX-IMC-Secret: " + header + "\r\nSubject: wow!!x\r\n"
	send(t, engine, call("imc.send", "77", b64("sip:bob@b.example"), b64(hop), b64("id-5"),
		b64(`"Al \"the\" !!" <sip:chat-1@a.example>`), b64("sip:bob@b.example"), b64(hdrs), b64(body)))
	ev := nextPinging(t, engine, "imc.outcome")
	if unb64(t, ev.Params["id"]) != "id-5" || ev.Params["code"] != "200" {
		t.Errorf("result %s", ev.Raw)
	}
	got, err := bob.Next(kit.Context(t))
	if err != nil {
		t.Fatal(err)
	}
	if got.Text() != body || got.FromName != `Al "the" !!` || got.CallID != "id-5" ||
		got.Header("Subject") != "wow!!x" ||
		got.Header("X-IMC-Secret") != "" {
		t.Errorf("bob got %.600s", got.Request)
	}
	send(t, engine, call("imc.send", "78", b64("sip:bob@b.example"), b64("nonsense"), b64("id-6"),
		b64("<sip:chat-1@a.example>"), b64("sip:bob@b.example"), b64(hdrs), b64("x")))
	if ev := next(t, engine, "imc.error"); ev.Params["id"] != "78" {
		t.Errorf("error %s", ev.Raw)
	}
	// Nothing is sent without its headers.
	send(t, engine, call("imc.send", "79", b64("sip:bob@b.example"), b64(hop), b64("id-7"),
		b64("<sip:chat-1@a.example>"), b64("sip:bob@b.example"), b64(hdrs+"X-Long: "+strings.Repeat("x", 2048)+"\r\n"),
		b64("x")))
	if ev := next(t, engine, "imc.error"); ev.Params["id"] != "79" {
		t.Errorf("error %s", ev.Raw)
	}
	send(t, engine, call("imc.send", "80", b64("sip:bob@b.example"), b64(hop), b64("id-8"),
		b64("<sip:chat-1@a.example>"), b64("sip:bob@b.example"), b64(hdrs), ""))
	if ev := nextPinging(t, engine, "imc.outcome"); unb64(t, ev.Params["id"]) != "id-8" || ev.Params["code"] != "200" {
		t.Errorf("result %s", ev.Raw)
	}
	if all, err := bob.WaitN(kit.Context(t), 2); err != nil || len(all) != 2 || all[1].Text() != "" {
		t.Errorf("bob has %d requests: %v", len(all), err)
	}
}

func TestBadCopies(t *testing.T) {
	k := kit.Kamailio(t, evapitest.Options{})
	engine, w := hello(t, k, k.Secret())
	header, hop := unb64(t, w.Params["header"]), unb64(t, w.Params["next_hop"])
	for _, frame := range []string{
		copyFrame(header, hop, "nonsense", "id-1", "x"),
		strings.Replace(copyFrame(header, hop, "sip:bob@b.example", "id-2", "x"), `\r\nTo: `, `\r\nXX: `, 1),
		copyFrame(header, "sip:no-such-host.invalid", "sip:bob@b.example", "id-3", "x"),
	} {
		send(t, engine, frame)
		ev := next(t, engine, "imc.error")
		if ev.Params["id"] != "" || !strings.Contains(unb64(t, ev.Params["reply"]), `"id":`) {
			t.Errorf("%s: %s", frame, ev.Raw)
		}
	}
	// Not JSON: the last frame's reply must not be taken for this one's.
	send(t, engine, `{"jsonrpc":"2.0","method":"tm.t_uac_start","params":["MESSAGE",]`)
	if ev := next(t, engine, "imc.error"); ev.Params["code"] != "400" || ev.Params["reply"] != "" {
		t.Errorf("error %s", ev.Raw)
	}
	barrier(t, engine)
}
