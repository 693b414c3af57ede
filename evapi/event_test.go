package evapi

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"
)

const plainRequest = "MESSAGE sip:chat-a@example.org SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1;branch=z9hG4bK1\r\n" +
	"From: \"Al\" <sip:al@example.org>;tag=1\r\nTo: <sip:chat-a@example.org>\r\nCall-ID: c1\r\nCSeq: 1 MESSAGE\r\n" +
	"Content-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello"

func event(method, params string) string {
	return fmt.Sprintf(`{"jsonrpc":"2.0","method":%q,"params":%s}`, method, params)
}

func TestDecodeEvent(t *testing.T) {
	t.Parallel()
	welcome := &WelcomeEvent{Role: "engine", Welcome: Welcome{Gen: 3, Version: "kamailio 5.6.3", HeaderSecret: "hdr-secret",
		NextHop: "sip:127.0.0.1:5060", Features: []string{"send", "registered"}}}
	tests := []struct {
		in   string
		want Event
	}{
		{welcomeJSON("engine", 3), welcome},
		{event("imc.welcome", `{"role":"operator"}`), &WelcomeEvent{Role: "operator"}},
		{event("imc.pong", `{"id":"17"}`), PongEvent{ID: "17"}},
		{event("imc.result", `{"id":"`+enc("c@\"x")+`","code":480,"retry":"`+enc("120 (busy);duration=1")+`"}`),
			Result{CallID: "c@\"x", Code: 480, RetryAfter: 2 * time.Minute}},
		{event("imc.result", `{"id":"","code":200,"retry":""}`), Result{Code: 200}},
		{event("imc.result", `{"id":"","code":200}`), Result{Code: 200}},
		{event("imc.result", `{"id":"","code":503,"retry":"`+enc("99999999999999999999")+`"}`), Result{Code: 503, RetryAfter: maxRetryAfter}},
		{event("imc.result", `{"id":"","code":503,"retry":"`+enc("soon")+`"}`), Result{Code: 503}},
		{event("imc.error", `{"id":"","code":400,"reply":"`+enc(`{"jsonrpc":"2.0","error":{"code":400,"message":"Invalid uri"},"id":12}`)+`"}`),
			ErrorEvent{ID: "12", Code: 400, Reason: "Invalid uri"}},
		{event("imc.error", `{"id":"5","code":500,"reply":""}`), ErrorEvent{ID: "5", Code: 500}},
		{event("imc.error", `{"id":"5","code":500,"reply":"`+enc("no route")+`"}`), ErrorEvent{ID: "5", Code: 500, Reason: "no route"}},
		{event("imc.registered", `{"aor":"`+enc("sip:al@example.org")+`"}`), RegisteredEvent{AOR: "sip:al@example.org"}},
		{event("imc.call", `{"tag":"op-1-5","msg":"`+enc("{}")+`"}`), &Call{Tag: "op-1-5", JSON: []byte("{}")}},
	}
	for _, tt := range tests {
		got, err := DecodeEvent([]byte(tt.in))
		if err != nil || !equalEvents(got, tt.want) {
			t.Errorf("%s:\n got %+v, %v\nwant %+v", tt.in, got, err, tt.want)
		}
	}
}

func equalEvents(a, b Event) bool {
	if w, ok := a.(*WelcomeEvent); ok && len(w.Features) == 0 {
		w.Features = nil
	}
	return reflect.DeepEqual(a, b)
}

func TestDecodeMessage(t *testing.T) {
	t.Parallel()
	msg := func(request string) string {
		return event("imc.message", `{"tindex":7,"tlabel":2147483649,"proto":"udp","src_ip":"127.0.0.1","src_port":5061,"auth_user":"`+
			enc("al")+`","ruri":"`+enc("sip:chat-a@example.org")+`","msg":"`+enc(request)+`"}`)
	}
	ev, err := DecodeEvent([]byte(msg(plainRequest)))
	if err != nil {
		t.Fatal(err)
	}
	m := ev.(*Message)
	if m.Err != nil || m.Tx != (TxID{7, 2147483649}) || m.Proto != "udp" || m.SrcIP != "127.0.0.1" || m.SrcPort != 5061 ||
		m.AuthUser != "al" || m.RURI != "sip:chat-a@example.org" || string(m.Request.Body()) != "hello" || m.Received.IsZero() {
		t.Errorf("%+v", m)
	}
	// A broken request is the client's fault, not Kamailio's.
	for _, bad := range []string{"", "x", strings.Replace(plainRequest, "From", "Fro", 1)} {
		ev, err := DecodeEvent([]byte(msg(bad)))
		if err != nil {
			t.Fatal(err)
		}
		if m := ev.(*Message); m.Err == nil || m.Request != nil || m.Tx.Index != 7 {
			t.Errorf("%q: %+v", bad, m)
		}
	}
}

func TestDecodeEventErrors(t *testing.T) {
	t.Parallel()
	for _, in := range []string{
		"", "x", "{}", "[]", "null", `"imc.pong"`, `{"jsonrpc":"2.0"}`, `{"jsonrpc":"1.0","method":"imc.pong","params":{"id":"1"}}`,
		`{"method":"imc.pong","params":{"id":"1"}}`,
		event("imc.pong", `{"id":"1"}`) + "x", event("imc.pong", `{}`), event("imc.pong", `[]`), event("imc.pong", `{"id":1}`),
		`{"jsonrpc":"2.0","method":"imc.pong"}`,
		event("imc.result", `{"id":"x","code":200}`), event("imc.result", `{"id":"YQ==","code":"200"}`),
		event("imc.result", `{"id":"YQ=="}`), event("imc.result", `{"code":200}`), event("imc.result", `{"id":17,"code":200}`),
		event("imc.result", `{"id":"YQ==\n","code":200}`), event("imc.result", `{"id":"Y Q==","code":200}`),
		event("imc.message", `{"tindex":1}`), event("imc.message", `{"tindex":1,"tlabel":2,"ruri":"","msg":17}`),
		event("imc.message", `{"tindex":"1","tlabel":2,"ruri":"","msg":""}`),
		event("imc.error", `{"id":""}`), event("imc.registered", `{}`), event("imc.call", `{"tag":"x"}`), event("imc.welcome", `{}`),
		event("imc.welcome", `{"role":"engine","gen":"x"}`),
	} {
		if ev, err := DecodeEvent([]byte(in)); err == nil || errors.Is(err, ErrUnknownEvent) {
			t.Errorf("%s: %+v, %v", in, ev, err)
		}
	}
	if _, err := DecodeEvent([]byte(event("imc.future", `{"x":1}`))); !errors.Is(err, ErrUnknownEvent) {
		t.Errorf("unknown method: %v", err)
	}
}

// TestFastResult holds the short way against the JSON decoder.
func TestFastResult(t *testing.T) {
	t.Parallel()
	taken := 0
	for _, in := range []string{
		`{"id":"YUBi","code":200,"retry":""}`, `{"id":"","code":699,"retry":""}`, `{"id":"` + enc(strings.Repeat("x", 141)) + `","code":404,"retry":""}`,
		`{"id":"` + enc(strings.Repeat("x", 1000)) + `","code":404,"retry":""}`, `{"id":"YUBi","code":0200,"retry":""}`, `{"id":"YUBi","code":20,"retry":""}`,
		`{"id":"YUBi","code":-20,"retry":""}`, `{"id":"YUBi","code":2e1,"retry":""}`, `{"id":"YUBi","code":"20","retry":""}`, `{"id":"YUB","code":200,"retry":""}`,
		`{"id":"YUBj=","code":200,"retry":""}`, `{"id":"YU Bi","code":200,"retry":""}`, `{"id":"YU\nBi","code":200,"retry":""}`, "{\"id\":\"YU\nBi\",\"code\":200,\"retry\":\"\"}",
		`{"id":"YUBi","code":200,"retry":"","code":300,"retry":""}`, `{"id":"x","code":200,"id":"YUBi","code":200,"retry":""}`,
		`{"id":"YUBi","code":200,"retry":"MQ=="}`, `{"id":"YUBi", "code":200,"retry":""}`,
	} {
		frame := []byte(event("imc.result", in))
		fast, ok := fastResult(frame)
		slow, err := DecodeEvent(append([]byte(" "), frame...)) // the blank leads round the short way
		if !ok {
			continue
		}
		taken++
		if err != nil || slow != fast {
			t.Errorf("%s: %+v but %+v, %v", in, fast, slow, err)
		}
	}
	if taken != 3 {
		t.Errorf("the short way took %d", taken)
	}
}

func FuzzDecodeEvent(f *testing.F) {
	f.Add([]byte(welcomeJSON("engine", 3)))
	f.Add([]byte(event("imc.result", `{"id":"YQ==","code":200,"retry":"MTIw"}`)))
	f.Add([]byte(event("imc.result", `{"id":"YUBi","code":486,"retry":""}`)))
	f.Add([]byte(event("imc.error", `{"id":"","code":400,"reply":"e30="}`)))
	f.Add([]byte(event("imc.call", `{"tag":"op-1-5","msg":"e30="}`)))
	f.Add([]byte(event("imc.message", `{"tindex":7,"tlabel":2,"proto":"udp","src_ip":"::1","src_port":1,"auth_user":"","ruri":"","msg":"`+enc(plainRequest)+`"}`)))
	f.Fuzz(func(t *testing.T, in []byte) {
		ev, err := DecodeEvent(in)
		if (ev == nil) != (err != nil) {
			t.Fatalf("%+v, %v", ev, err)
		}
		if fast, ok := fastResult(in); ok {
			if slow, err := DecodeEvent(append([]byte(" "), in...)); err != nil || slow != fast {
				t.Fatalf("%+v but %+v, %v", fast, slow, err)
			}
		}
		if m, ok := ev.(*Message); ok && (m.Request == nil) != (m.Err != nil) {
			t.Fatalf("%+v", m)
		}
		if r, ok := ev.(Result); ok && (r.RetryAfter < 0 || r.RetryAfter > maxRetryAfter) {
			t.Fatalf("%+v", r)
		}
	})
}

func BenchmarkDecodeResult(b *testing.B) {
	in := []byte(event("imc.result", `{"id":"`+enc("0123456789abcdef-123456@imcd")+`","code":200,"retry":""}`))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := DecodeEvent(in); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDecodeMessage(b *testing.B) {
	in := []byte(event("imc.message", `{"tindex":7,"tlabel":2,"proto":"udp","src_ip":"::1","src_port":1,"auth_user":"","ruri":"","msg":"`+enc(plainRequest)+`"}`))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := DecodeEvent(in); err != nil {
			b.Fatal(err)
		}
	}
}
