package evapi_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"imcd/evapi"
	"imcd/evapi/evapitest"
	"imcd/evapi/evapitest/kit"
	"imcd/evapi/jsonrpc"
	"imcd/evapi/netstring"
)

// stranger is a connection to evapi that counts the bytes it is sent.
type stranger struct {
	net.Conn
	got chan int // the number, at the end of the connection
}

func dialStranger(t *testing.T, k *evapitest.Kamailio) *stranger {
	t.Helper()
	nc, err := net.Dial("tcp", k.EvapiAddr())
	if err != nil {
		t.Fatal(err)
	}
	s := &stranger{Conn: nc, got: make(chan int, 1)}
	go func() {
		n, _ := io.Copy(io.Discard, nc)
		s.got <- int(n)
	}()
	return s
}

// learned closes the connection and returns what it had been sent.
func (s *stranger) learned() int {
	s.Close()
	return <-s.got
}

func frame(payload string) []byte { return netstring.Append(nil, []byte(payload)) }

// attacks are what strangers send, none of them knowing a secret.
func attacks(victim string) map[string][]byte {
	uac := func(id int) string {
		return fmt.Sprintf(`{"jsonrpc":"2.0","method":"tm.t_uac_start","params":["MESSAGE","sip:bob@h",%q,".",`+
			`"From: <sip:eve@h>\r\nTo: <sip:bob@h>\r\nCall-ID: evil%d\r\nContent-Type: text/plain\r\n","evil"],"id":1}`,
			victim, id)
	}
	b64 := func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }
	send := fmt.Sprintf(`{"jsonrpc":"2.0","method":"imc.send","params":["1",%q,%q,%q,%q,%q,%q,%q]}`,
		b64("sip:bob@h"), b64(victim), b64("evil-send"), b64("<sip:eve@h>"), b64("<sip:bob@h>"), b64("X-A: b\r\n"),
		b64("evil"))
	ping := `{"jsonrpc":"2.0","method":"imc.ping","params":["1"]}`
	reply := `{"jsonrpc":"2.0","method":"imc.reply","params":["1","1","200","1","0","T0s="]}`
	answer := `{"jsonrpc":"2.0","method":"imc.answer","params":["op-1-1","e30="]}`
	kill := `{"jsonrpc":"2.0","method":"core.kill","id":1}`
	return map[string][]byte{
		"nothing":            nil,
		"ping":               frame(ping),
		"wrong secret":       append(frame("hello wrong"), frame(ping)...),
		"empty secret":       append(append(frame("hello "), frame("hello")...), frame(ping)...),
		"regular expression": append(frame("hello .*"), frame(ping)...),
		"secret and more":    append(frame("hello \x00"), frame(uac(1))...),
		"t_uac_start":        frame(uac(2)),
		"imc.send":           frame(send),
		"imc.reply":          frame(reply),
		"imc.answer":         frame(answer),
		"core.kill":          frame(kill),
		"operator's call":    frame(`{"jsonrpc":"2.0","method":"imc.list_rooms","id":1}`),
		"all at once":        []byte(strings.Repeat(string(frame(uac(3)))+string(frame(kill))+string(frame(reply)), 20)),
		"garbage":            []byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n" + strings.Repeat("\x00\xff,:9", 1000)),
		"32761 bytes":        frame(strings.Repeat("x", 32761)),
		"oversized":          frame(strings.Repeat("x", 40000)),
		// Not within 32 KB of 2^31: such a length crashes Kamailio's own parser
		// before any script runs, from 5.6.3 to the newest.
		"huge length":     []byte("2000000000:" + strings.Repeat("x", 70000)),
		"negative length": []byte("4294967295:x,-1:x," + string(frame(uac(4)))),
		"half a frame":    []byte("100:{"),
	}
}

// TestRealStrangers lets strangers do their worst beside an engine: they are
// sent nothing, nothing of theirs is executed, and the engine goes on.
func TestRealStrangers(t *testing.T) {
	k := kit.Kamailio(t, evapitest.Options{})
	good, victim := newSink(t, nil), newSink(t, nil)
	results := make(chan evapi.Result, 1000)
	ev := newEvents(func(r evapi.Result) { results <- r })
	c := connect(t, k, evapi.LaneAuto, good.uri(), ev)
	out, err := evapi.NewOutgoing(evapi.Content{From: "<sip:chat-r@example.org>", Body: []byte("x")})
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for name, bytes := range attacks(victim.uri()) {
		s := dialStranger(t, k)
		if _, err := s.Write(bytes); err != nil && !errors.Is(err, net.ErrClosed) {
			t.Logf("%s: %v", name, err) // Kamailio has closed it
		}
		// When the engine's own copy has got through, Kamailio has seen the rest.
		n++
		if err := c.Send(evapi.Copy{Out: out, To: "sip:bob@example.org", CallID: fmt.Sprint("good", n)}); err != nil {
			t.Fatal(name, err)
		}
		if r := kit.Await(t, "result beside "+name, results); r.Code != 200 {
			t.Errorf("%s: %+v", name, r)
		}
		if got := s.learned(); got != 0 {
			t.Errorf("%s: was sent %d bytes", name, got)
		}
	}
	if ids, _ := victim.counts(); ids != 0 {
		t.Errorf("%d frames of strangers were executed", ids)
	}
	if st := c.Stats(); st.Reconnects != 0 || st.Calls != 0 || !k.Running() {
		t.Errorf("%+v, Kamailio runs: %v", st, k.Running())
	}
}

// TestRealReusedSlot puts a stranger into the slot that an engine has left while
// results and messages are on their way to it.
func TestRealReusedSlot(t *testing.T) {
	k := kit.Kamailio(t, evapitest.Options{})
	late := newSlowSink(t, nil)
	ev := newEvents(func(evapi.Result) {})
	c := connect(t, k, evapi.LaneAuto, late.uri(), ev)
	out, err := evapi.NewOutgoing(evapi.Content{From: "<sip:chat-r@example.org>", Body: []byte("x")})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Send(evapi.Copy{Out: out, To: "sip:bob@example.org", CallID: "late"}); err != nil {
		t.Fatal(err)
	}
	answer, ok := late.step()
	if !ok {
		t.Fatal("nothing arrived")
	}
	alice := kit.UA(t, evapitest.UAConfig{User: "alice", Domain: "example.org", Proxy: k.SIPAddr()})
	ctx := kit.Context(t)
	type outcome struct {
		code int
		err  error
	}
	said := make(chan outcome, 1)
	go func() {
		res, err := alice.Say(ctx, "sip:chat-r@example.org", "hello")
		if err != nil {
			said <- outcome{err: err}
			return
		}
		said <- outcome{code: res.StatusCode}
	}()
	m := kit.Await(t, "the message", ev.messages)
	c.Stop()
	var all []*stranger
	for range 3 {
		all = append(all, dialStranger(t, k))
	}
	answer() // the result finds no engine
	// A new message is refused at once, the suspended one after its time.
	kit.Eventually(t, "503 without an engine", func() bool {
		res, err := alice.Say(ctx, "sip:chat-r@example.org", "hello?")
		return err == nil && res.StatusCode == 503
	})
	if o := kit.Await(t, "the suspended one's answer", said); o.err != nil || o.code != 503 {
		t.Errorf("%+v", o)
	}
	// A new engine takes over; a late answer from it does no harm.
	ev2 := newEvents(func(evapi.Result) {})
	c2 := connect(t, k, evapi.LaneAuto, "", ev2)
	if err := c2.Reply(m.Tx, evapi.Answer{Code: 200, Reason: "OK", RC: 1}); err != nil {
		t.Fatal(err)
	}
	before := c2.Stats().Pongs
	kit.Eventually(t, "pongs", func() bool { return c2.Stats().Pongs > before })
	for _, s := range all {
		if got := s.learned(); got != 0 {
			t.Errorf("a stranger was sent %d bytes", got)
		}
	}
}

func echo(_ context.Context, params json.RawMessage) (any, error) { return params, nil }

// TestRealOperator asks the engine through Kamailio, as imcctl does.
func TestRealOperator(t *testing.T) {
	k := kit.Kamailio(t, evapitest.Options{})
	ev := newEvents(func(evapi.Result) {})
	c := connect(t, k, evapi.LaneAuto, "", ev)
	server := jsonrpc.NewServer(map[string]jsonrpc.Method{"imc.echo": echo})
	done := make(chan struct{})
	stop := make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case q := <-ev.calls:
				if err := c.Answer(q.Tag, server.Handle(context.Background(), q.JSON)); err != nil {
					t.Error(err)
				}
			case <-stop:
				return
			}
		}
	}()
	defer func() { close(stop); <-done }()
	op, err := evapi.DialKamailio(t.Context(), k.EvapiAddr(), k.OperatorSecret())
	if err != nil {
		t.Fatal(err)
	}
	defer op.Close()
	ctx := kit.Context(t)
	for _, s := range []string{"hello", `"quotes" \ and ümlaut`, "sip:a@b", strings.Repeat("x", 20000)} {
		var got []string
		if err := op.Call(ctx, "imc.echo", []string{s}, &got); err != nil || len(got) != 1 || got[0] != s {
			t.Errorf("%.50q: %.50q, %v", s, got, err)
		}
	}
	var rpcErr *jsonrpc.Error
	if err := op.Call(ctx, "imc.nix", nil, nil); !errors.As(err, &rpcErr) || rpcErr.Code != jsonrpc.CodeMethodNotFound {
		t.Errorf("%v", err)
	}
	short, cancelShort := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancelShort()
	if _, err := evapi.DialKamailio(short, k.EvapiAddr(), k.Secret()+"x"); err == nil {
		t.Error("wrong secret accepted")
	}
}

// TestRealMessage answers a message of a real user agent.
func TestRealMessage(t *testing.T) {
	k := kit.Kamailio(t, evapitest.Options{})
	ev := newEvents(func(evapi.Result) {})
	c := connect(t, k, evapi.LaneAuto, "", ev)
	alice := kit.UA(t, evapitest.UAConfig{User: "alice", Domain: "example.org", Proxy: k.SIPAddr()})
	bodies := make(chan string, 1)
	go func() {
		m := <-ev.messages
		if m.Err != nil {
			t.Error(m.Err)
			bodies <- ""
			return
		}
		if err := c.Reply(m.Tx, evapi.Answer{Code: 480, Reason: "Not \"now\"", RC: -200,
			RetryAfter: 7 * time.Second}); err != nil {
			t.Error(err)
		}
		bodies <- string(m.Request.Body())
	}()
	ctx := kit.Context(t)
	body := "a\x00b\r\n\xff \"\\"
	res, err := alice.Message(ctx, "sip:chat-r@example.org", "text/plain", []byte(body))
	if err != nil {
		t.Fatal(err)
	}
	if got := <-bodies; got != body {
		t.Errorf("body %q", got)
	}
	retry := res.GetHeader("Retry-After")
	if res.StatusCode != 480 || res.Reason != `Not "now"` || retry == nil || retry.Value() != "7" {
		t.Errorf("%s", res)
	}
}
