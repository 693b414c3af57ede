package evapi

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"strings"
	"testing"

	"imcd/evapi/jsonrpc"
)

func TestDialKamailio(t *testing.T) {
	t.Parallel()
	echo := jsonrpc.NewServer(map[string]jsonrpc.Method{
		"echo": func(_ context.Context, p json.RawMessage) (any, error) { return p, nil },
	})
	f := newFake(t, func(p *fakePeer) {
		switch p.read() {
		case "hello operator":
			p.send(welcomeJSON("operator", 1))
			p.polite(func(frame string) { p.send(string(echo.Handle(context.Background(), []byte(frame)))) })
		case "hello " + testSecret:
			p.send(welcomeJSON("engine", 1))
		case "hello odd":
			p.send(event("imc.pong", `{"id":"1"}`))
		}
	})
	c, err := DialKamailio(t.Context(), f.addr(), "operator")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	if err := c.Call(t.Context(), "echo", []string{"a"}, &got); err != nil || len(got) != 1 {
		t.Errorf("%v, %v", got, err)
	}
	if err := c.Call(t.Context(), "echo", []string{strings.Repeat("x", MaxFrame)}, nil); !errors.Is(err,
		jsonrpc.ErrTooLarge) {
		t.Errorf("%v", err)
	}
	c.Close()
	for secret, want := range map[string]string{testSecret: "engine", "wrong": "welcome", "odd": "PongEvent",
		"": "secret", "a b": "secret"} {
		if _, err := DialKamailio(t.Context(), f.addr(), secret); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", secret, err)
		}
	}
	dead, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	dead.Close()
	if _, err := DialKamailio(t.Context(), dead.Addr().String(), "operator"); err == nil {
		t.Error("no error without a listener")
	}
}
