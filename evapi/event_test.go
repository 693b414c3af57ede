package evapi

import (
	"errors"
	"fmt"
	"math"
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
	welcome := &WelcomeEvent{Role: "engine", Welcome: Welcome{Gen: 3, Version: "kamailio 5.6.3",
		HeaderSecret: "hdr-secret",
		NextHop:      "sip:127.0.0.1:5060", Features: []string{"send", "registered", "outcomes"}}}
	tests := []struct {
		in   string
		want Event
	}{
		{welcomeJSON("engine", 3), welcome},
		{event("imc.welcome", `{"role":"operator"}`), &WelcomeEvent{Role: "operator"}},
		{event("imc.welcome",
			`{"role":"engine","room":"`+enc("^r.+$")+`","prefix":"","domains":"`+enc(" a.test b.test ")+`","any":0}`),
			&WelcomeEvent{Role: "engine", Welcome: Welcome{Rooms: &RoomRule{Expression: "^r.+$"}, Domains: []string{"a.test",
				"b.test"}}}},
		{event("imc.welcome", `{"role":"engine","room":"","prefix":"`+enc("r-")+`","domains":"","any":1}`),
			&WelcomeEvent{Role: "engine", Welcome: Welcome{Rooms: &RoomRule{Prefix: "r-"}, AnyDomain: true}}},
		{event("imc.pong", `{"id":"17"}`), PongEvent{ID: "17"}},
		{event("imc.pong", `{"id":"17","outcomes":""}`), PongEvent{ID: "17"}},
		{event("imc.pong",
			`{"id":"17","shm_free":1,"shm":2,"outcomes":"`+enc("a")+` 200 = 7 `+enc("c@\"x")+
				` 480/`+enc("120 (busy);duration=1")+` `+
				enc("b")+` f `+enc("d")+` 486*3 `+enc("e")+` 503*2/`+enc("soon")+`"}`), PongEvent{ID: "17", Free: 1, All: 2,
			Outcomes: []Outcome{
				{CallID: "a", Code: 200, Devices: 1}, {Batch: 7}, {CallID: "c@\"x", Code: 480, Devices: 1,
					RetryAfter: 2 * time.Minute},
				{CallID: "b", Devices: 1}, {CallID: "d", Code: 486, Devices: 3}, {CallID: "e", Code: 503, Devices: 2}}}},
		{event("imc.pong", `{"id":"1","outcomes":"`+enc("a")+` 503/`+enc("99999999999999999999")+`"}`),
			PongEvent{ID: "1", Outcomes: []Outcome{{CallID: "a", Code: 503, Devices: 1, RetryAfter: maxRetryAfter}}}},
		{event("imc.error", `{"id":"","code":400,"reply":"`+enc(`{"jsonrpc":"2.0","error":{"code":400,`+
			`"message":"Invalid uri"},"id":12}`)+`"}`),
			ErrorEvent{ID: "12", Code: 400, Reason: "Invalid uri"}},
		{event("imc.error", `{"id":"5","code":500,"reply":""}`), ErrorEvent{ID: "5", Code: 500}},
		{event("imc.error", `{"id":"5","code":500,"reply":"`+enc("no route")+`"}`), ErrorEvent{ID: "5", Code: 500,
			Reason: "no route"}},
		{event("imc.registered", `{"aor":"`+enc("sip:al@example.org")+`"}`), Registration{AOR: "sip:al@example.org"}},
		{event("imc.pong", `{"id":"1","dropped":18446744073709551615}`), PongEvent{ID: "1", Dropped: math.MaxUint64}},
		{event("imc.pong", `{"id":"1","time":"2.3","shm_free":4,"shm":5,"dropped":6,"missed":7,"outcomes":""}`),
			PongEvent{ID: "1", Time: "2.3", Free: 4, All: 5, Dropped: 6, Missed: 7}},
		{event("imc.located", `{"aor":"`+enc("sip:al@h")+`","from":9,"hash":"7222211","contacts":"uloc-1 3 60 `+
			enc("sip:al@a")+` `+enc(`"<urn:uuid:1>"`)+` `+enc("P/1")+` `+enc("sip:10.0.0.1:5062;transport=TCP")+` uloc-2 -5 9 `+
			enc("sip:al@b:5;ob")+`    ","native":"uloc-1 uloc-3 "}`), ContactsEvent{Registration{AOR: "sip:al@h", From: 9,
			Devices: []Device{{Contact: "sip:al@a", Instance: "urn:uuid:1", GRUU: "uloc-1-3c33e6", Left: time.Minute,
				Since: 3 * time.Second, Agent: "P/1", Source: "tcp:10.0.0.1:5062", Specs: groupSpecs},
				{Contact: "sip:al@b:5;ob", GRUU: "uloc-2-3c33e6", Left: 9 * time.Second, Source: "udp:b:5"}}}}},
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
	if w, ok := a.(*WelcomeEvent); ok && len(w.Domains) == 0 {
		w.Domains = nil
	}
	return reflect.DeepEqual(a, b)
}

func TestDecodeMessage(t *testing.T) {
	t.Parallel()
	msg := func(request string) string {
		return event("imc.message", `{"tindex":7,"tlabel":2147483649,"proto":"udp","src_ip":"127.0.0.1","src_port":5061,`+
			`"auth_user":"`+
			enc("al")+`","ruri":"`+enc("sip:chat-a@example.org")+`","msg":"`+enc(request)+`"}`)
	}
	ev, err := DecodeEvent([]byte(msg(plainRequest)))
	if err != nil {
		t.Fatal(err)
	}
	m := ev.(*Message)
	if m.Err != nil || m.Tx != (TxID{7, 2147483649}) || m.Proto != "udp" || m.SrcIP != "127.0.0.1" || m.SrcPort != 5061 ||
		m.AuthUser != "al" || m.RURI != "sip:chat-a@example.org" || string(m.Request.Body()) != "hello" ||
		m.Received.IsZero() {
		t.Errorf("%+v", m)
	}
	if m.Foreign || m.ByRule {
		t.Errorf("an include that says nothing of it: foreign %v, by rule %v", m.Foreign, m.ByRule)
	}
	for local, foreign := range map[string]bool{`"local":0,"room":1,`: true, `"local":1,"room":1,`: false} {
		ev, err := DecodeEvent([]byte(strings.Replace(msg(plainRequest), `"auth_user"`, local+`"auth_user"`, 1)))
		if err != nil || ev.(*Message).Foreign != foreign || !ev.(*Message).ByRule {
			t.Errorf("%s: %+v, %v", local, ev, err)
		}
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

func TestDecodeReceipt(t *testing.T) {
	t.Parallel()
	for raw, ok := range map[string]bool{plainRequest: true, "": false, "x": false, strings.Replace(plainRequest, "From",
		"Fro", 1): false} {
		ev, err := DecodeEvent([]byte(event("imc.receipt",
			`{"ruri":"`+enc("sip:chat-a@example.org")+`","msg":"`+enc(raw)+`"}`)))
		if err != nil {
			t.Fatal(err)
		}
		r := ev.(*Receipt)
		if r.RURI != "sip:chat-a@example.org" || (r.Err == nil) != ok || (r.Request != nil) != ok {
			t.Errorf("%q: %+v", raw, r)
		}
		if ok && string(r.Request.Body()) != "hello" {
			t.Errorf("body %q", r.Request.Body())
		}
	}
}

// TestDroppedSum: Kamailio begins at 0 again when it is restarted.
func TestDroppedSum(t *testing.T) {
	t.Parallel()
	var d droppedSum
	for _, n := range []uint64{0, 3, 3, 5, 2, 2, 0, 1} {
		d.update(n)
	}
	if got := d.sum.Load(); got != 5+2+1 {
		t.Errorf("%d, want 8", got)
	}
}

func TestDecodeEventErrors(t *testing.T) {
	t.Parallel()
	for _, in := range []string{
		"", "x", "{}", "[]", "null", `"imc.pong"`, `{"jsonrpc":"2.0"}`, `{"jsonrpc":"1.0","method":"imc.pong",` +
			`"params":{"id":"1"}}`,
		`{"method":"imc.pong","params":{"id":"1"}}`,
		event("imc.pong", `{"id":"1"}`) + "x", event("imc.pong", `{}`), event("imc.pong", `[]`), event("imc.pong",
			`{"id":1}`),
		`{"jsonrpc":"2.0","method":"imc.pong"}`,
		event("imc.pong", `{"id":"1","outcomes":17}`), event("imc.pong", `{"id":"1","outcomes":"x"}`),
		event("imc.pong", `{"id":"1","outcomes":"YQ=="}`), event("imc.pong", `{"id":"1","outcomes":"YQ== "}`),
		event("imc.pong", `{"id":"1","outcomes":"YQ== 99"}`), event("imc.pong", `{"id":"1","outcomes":"YQ== 700"}`),
		event("imc.pong", `{"id":"1","outcomes":"Y 200"}`), event("imc.pong", `{"id":"1","outcomes":" 200"}`),
		event("imc.pong", `{"id":"1","outcomes":"YQ== 200*0"}`), event("imc.pong", `{"id":"1","outcomes":"YQ== 200*x"}`),
		event("imc.pong", `{"id":"1","outcomes":"YQ== 200/x"}`), event("imc.pong", `{"id":"1","outcomes":"= x"}`),
		event("imc.pong", `{"id":"1","outcomes":"`+enc(strings.Repeat("x", 200))+` 200"}`),
		event("imc.message", `{"tindex":1}`), event("imc.message", `{"tindex":1,"tlabel":2,"ruri":"","msg":17}`),
		event("imc.message", `{"tindex":"1","tlabel":2,"ruri":"","msg":""}`),
		event("imc.request", `{"tindex":1}`),
		event("imc.error", `{"id":""}`), event("imc.registered", `{}`), event("imc.receipt", `{"ruri":""}`),
		event("imc.receipt", `{"msg":""}`),
		event("imc.receipt", `{"ruri":"","msg":"%"}`), event("imc.pong", `{"id":"1","dropped":-1}`), event("imc.call",
			`{"tag":"x"}`), event("imc.welcome", `{}`),
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

// TestFastPong holds the short way against the JSON decoder.
func TestFastPong(t *testing.T) {
	t.Parallel()
	taken := 0
	for _, in := range []string{
		`{"id":"1","time":"2.3","shm_free":4,"shm":5,"outcomes":""}`,
		`{"id":"1","time":"2.3","shm_free":4,"shm":5,"outcomes":"YQ== 200 = 7"}`,
		`{"id":"","time":"","shm_free":0,"shm":18446744073709551615,"outcomes":"YQ== f"}`,
		`{"id":"1","time":"2.3","shm_free":4,"shm":5,"dropped":6,"outcomes":""}`,
		`{"id":"1","time":"2.3","shm_free":4,"shm":5,"dropped":6,"missed":7,"outcomes":""}`,
		`{"id":"1","time":"2.3","shm_free":4,"shm":5,"missed":7,"outcomes":""}`,
		`{"id":"1","time":"2.3","shm_free":4,"shm":5,"dropped":06,"outcomes":""}`,
		`{"id":"1","time":"2.3","shm_free":4,"shm":5,"dropped":"","outcomes":""}`,
		`{"id":"1","time":"2.3","shm_free":4,"dropped":6,"shm":5,"outcomes":""}`,
		`{"id":"1","time":"2.3","shm_free":04,"shm":5,"outcomes":""}`, `{"id":"1","time":"2.3","shm_free":+4,"shm":5,` +
			`"outcomes":""}`,
		`{"id":"1","time":"2.3","shm_free":4e1,"shm":5,"outcomes":""}`, `{"id":"1","time":"2.3","shm_free":4,"shm":-5,` +
			`"outcomes":""}`,
		`{"id":"1","time":"2.3","shm_free":4,"shm":5,"outcomes":"x"}`, `{"id":"1","time":"\u0031","shm_free":4,"shm":5,` +
			`"outcomes":""}`,
		`{"id":"1","time":"2.3","shm_free":4,"shm":5,"outcomes":"","id":"2"}`,
		`{"id":"1","time":"2.3","shm_free":4,"shm":5,"outcomes":""}}`,
		`{"id":"1","time":"2.3","id":"7","shm_free":4,"shm":5,"outcomes":""}`,
		"{\"id\":\"\xff\",\"time\":\"\",\"shm_free\":4,\"shm\":5,\"outcomes\":\"\"}",
		`{"id":"1","time":"2.3","shm_free":4,"shm":5,"outcomes":""} `, `{"id":"1"}`,
	} {
		frame := []byte(event("imc.pong", in))
		fast, ok := fastPong(frame)
		if !ok {
			continue
		}
		taken++
		// The blank leads round the short way.
		if slow, err := DecodeEvent(append([]byte(" "), frame...)); err != nil || !reflect.DeepEqual(slow, fast) {
			t.Errorf("%s: %+v but %+v, %v", in, fast, slow, err)
		}
	}
	if taken != 5 {
		t.Errorf("the short way took %d", taken)
	}
}

func FuzzDecodeEvent(f *testing.F) {
	f.Add([]byte(welcomeJSON("engine", 3)))
	f.Add([]byte(event("imc.pong", `{"id":"1","time":"2.3","shm_free":4,"shm":5,"outcomes":"YQ== 200 = 7"}`)))
	f.Add([]byte(event("imc.pong", `{"id":"1","outcomes":"YQ== 200 = 7 YUBi 486*2/MTIw"}`)))
	f.Add([]byte(event("imc.error", `{"id":"","code":400,"reply":"e30="}`)))
	f.Add([]byte(event("imc.call", `{"tag":"op-1-5","msg":"e30="}`)))
	f.Add([]byte(event("imc.receipt", `{"ruri":"","msg":"`+enc(plainRequest)+`"}`)))
	f.Add([]byte(event("imc.message", `{"tindex":7,"tlabel":2,"proto":"udp","src_ip":"::1","src_port":1,`+
		`"auth_user":"","ruri":"","msg":"`+enc(plainRequest)+`"}`)))
	f.Add([]byte(event("imc.request", `{"tindex":7,"tlabel":2,"ruri":"","msg":"`+enc(plainRequest)+`"}`)))
	f.Add([]byte(event("imc.registered", `{"aor":"","saved":1,"contact":"`+enc("<sip:a@b>;expires=5")+
		`","ruid":"u","hash":"7"}`)))
	f.Add([]byte(event("imc.located", `{"aor":"","from":7,"hash":"7","contacts":"u 1 2 `+enc("sip:a@b")+`    "}`)))
	f.Fuzz(func(t *testing.T, in []byte) {
		ev, err := DecodeEvent(in)
		if (ev == nil) != (err != nil) {
			t.Fatalf("%+v, %v", ev, err)
		}
		if r, ok := ev.(*Receipt); ok && (r.Request == nil) != (r.Err != nil) {
			t.Fatalf("%+v", r)
		}
		if m, ok := ev.(*Message); ok && (m.Request == nil) != (m.Err != nil) {
			t.Fatalf("%+v", m)
		}
		if r, ok := ev.(Registration); ok {
			for _, d := range r.Devices {
				if d.Contact == "" || d.Left < 0 || d.Left > maxLeft || d.GRUU != "" && (d.Left == 0 || len(r.Devices) > 1) {
					t.Fatalf("%+v", d)
				}
			}
		}
		if c, ok := ev.(ContactsEvent); ok {
			for _, d := range c.Devices {
				if d.Left < 0 || d.Left > maxLeft || d.Since < 0 || d.GRUU != "" && !isGRUU(d.GRUU) {
					t.Fatalf("%+v", d)
				}
			}
		}
		if fast, ok := fastPong(in); ok {
			if slow, err := DecodeEvent(append([]byte(" "), in...)); err != nil || !reflect.DeepEqual(slow, fast) {
				t.Fatalf("%+v but %+v, %v", fast, slow, err)
			}
		}
		p, _ := ev.(PongEvent)
		for _, o := range p.Outcomes {
			if o.RetryAfter < 0 || o.RetryAfter > maxRetryAfter || o.Devices < 0 || (o.CallID == "") == (o.Devices > 0) &&
				o.CallID != "" {
				t.Fatalf("%+v", o)
			}
		}
	})
}

func BenchmarkDecodeOutcomes(b *testing.B) {
	in := []byte(event("imc.pong", `{"id":"1","time":"1795326945.921615","shm_free":265614256,"shm":268435456,`+
		`"outcomes":"`+strings.Repeat(enc("0123456789abcdef-123456@imcd")+" 200 ", 99)+`= 1"}`))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := DecodeEvent(in); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDecodeMessage(b *testing.B) {
	in := []byte(event("imc.message", `{"tindex":7,"tlabel":2,"proto":"udp","src_ip":"::1","src_port":1,`+
		`"auth_user":"","ruri":"","msg":"`+enc(plainRequest)+`"}`))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := DecodeEvent(in); err != nil {
			b.Fatal(err)
		}
	}
}

// TestRegistrations: what Kamailio says of registrations, with and without a registrar.
func TestRegistrations(t *testing.T) {
	for params, want := range map[string]RegistrationsEvent{
		`{"accepted":"12","reported":"1"}`:     {12, true},
		`{"accepted":"12","reported":"0"}`:     {12, false},
		`{"accepted":"<null>","reported":"0"}`: {-1, false},
		`{}`:                                   {-1, false},
	} {
		ev, err := DecodeEvent([]byte(event("imc.registrations", params)))
		if err != nil || ev != Event(want) {
			t.Errorf("%s: %+v %v", params, ev, err)
		}
	}
	if _, err := DecodeEvent([]byte(event("imc.registrations", `{"accepted":1}`))); err == nil {
		t.Error("a number was taken")
	}
}
