package kamailiocfg_test

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"imcd/evapi/evapitest"
	"imcd/evapi/evapitest/kit"
)

// An operator that asks and never reads is cut off before its socket is full:
// then evapi would block, and Kamailio with it.
func TestOperatorDoesNotRead(t *testing.T) {
	k := kit.Kamailio(t, evapitest.Options{})
	idle, _ := hello(t, k, k.OperatorSecret())
	conn, err := net.Dial("tcp", k.EvapiAddr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	write := func(frames string) {
		t.Helper()
		if err := conn.SetWriteDeadline(time.Now().Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
		if _, err := fmt.Fprint(conn, frames); err != nil {
			t.Fatal(err)
		}
	}
	frame := "hello " + k.OperatorSecret()
	frame = fmt.Sprintf("%d:%s,", len(frame), frame)
	write(frame)
	// Nobody answers but Kamailio, with more than 100 bytes each time.
	for range 100 {
		write(strings.Repeat("2:{},", 1000))
	}
	// Hellos are no way to get more.
	for range 1000 {
		write(frame)
	}
	// Now it reads.
	got := readUntil(t, conn, "connect again", 1, func() { write(frame) })
	if got < 100_000 || got > 1_200_000 {
		t.Errorf("it was sent %d bytes", got)
	}
	engine, _ := hello(t, k, k.Secret())
	// What is left of the flood comes to the engine first.
	send(t, engine, call("imc.ping", "1"))
	if _, err := engine.NextOf(kit.Context(t), "imc.pong"); err != nil {
		t.Error(err)
	}
	if n := idle.Pending(); n != 0 {
		t.Errorf("the other operator got %d frames", n)
	}
}

// readUntil reads until word has come n times and returns the bytes read; again
// is called whenever nothing comes.
func readUntil(t *testing.T, conn net.Conn, word string, n int, again func()) int {
	t.Helper()
	ctx := kit.Context(t)
	var all bytes.Buffer
	buf := make([]byte, 65536)
	for bytes.Count(all.Bytes(), []byte(word)) < n {
		if err := conn.SetReadDeadline(time.Now().Add(200 * time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		m, err := conn.Read(buf)
		all.Write(buf[:m])
		if errors.Is(err, os.ErrDeadlineExceeded) {
			again()
		} else if err != nil {
			t.Fatal(err)
		}
		if ctx.Err() != nil {
			t.Fatalf("no %s in %d bytes", word, all.Len())
		}
	}
	return all.Len()
}

// Answers over one connection have a limit; a new connection starts again.
func TestAnswerBudget(t *testing.T) {
	k := kit.Kamailio(t, evapitest.Options{})
	engine, _ := hello(t, k, k.Secret())
	ask := func(p *evapitest.Peer, answer string) string {
		t.Helper()
		send(t, p, "{}")
		tag := next(t, engine, "imc.call").Params["tag"]
		send(t, engine, call("imc.answer", tag, b64(answer)))
		return next(t, p, "").Raw
	}
	first, _ := hello(t, k, k.OperatorSecret())
	second, _ := hello(t, k, k.OperatorSecret())
	answers := 0
	for !strings.Contains(ask(first, `{"result":"`+strings.Repeat("x", 20000)+`"}`), "connect again") {
		answers++
	}
	if answers < 40 || answers > 60 {
		t.Errorf("%d answers of 20 KB", answers)
	}
	send(t, first, "{}")
	send(t, engine, call("imc.answer", next(t, engine, "imc.call").Params["tag"], b64(`{}`)))
	barrier(t, engine)
	if n := first.Pending(); n != 0 {
		t.Errorf("%d frames after that", n)
	}
	if raw := ask(second, `{"result":1}`); raw != `{"result":1}` {
		t.Errorf("answer %s", raw)
	}
	first.Close()
	fresh, _ := hello(t, k, k.OperatorSecret())
	if raw := ask(fresh, `{"result":2}`); raw != `{"result":2}` {
		t.Errorf("answer %s", raw)
	}
}

// Operators that flood imcd do not take the rooms down.
func TestOperatorFlood(t *testing.T) {
	k := kit.Kamailio(t, evapitest.Options{})
	s := startStandIn(t, k)
	flooder, _ := hello(t, k, k.OperatorSecret())
	alice := kit.UA(t, evapitest.UAConfig{User: "alice", Proxy: k.SIPAddr()})
	question := strings.Repeat("x", 2000)
	for range 10 {
		for range 200 {
			send(t, flooder, question)
		}
		expect(t, say(t, alice, "sip:chat-1@x", "hello"), 202)
	}
	if calls, _ := s.seen("imc.call"); len(calls) == 0 {
		t.Error("imcd saw none of them")
	}
}
