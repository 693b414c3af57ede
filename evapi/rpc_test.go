package evapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
)

func testServer() *Server {
	return NewServer(map[string]Method{
		"echo": func(_ context.Context, p json.RawMessage) (any, error) { return p, nil },
		"none": func(context.Context, json.RawMessage) (any, error) { return nil, nil },
		"fail": func(context.Context, json.RawMessage) (any, error) { return nil, errors.New("pq: password is hunter2") },
		"chan": func(context.Context, json.RawMessage) (any, error) { return make(chan int), nil },
		"data": func(context.Context, json.RawMessage) (any, error) {
			return nil, &RPCError{Code: 1, Message: "m", Data: make(chan int)}
		},
		"count": func(context.Context, json.RawMessage) (any, error) { return []int{1, 2}, nil },
		"wrong": func(context.Context, json.RawMessage) (any, error) {
			return nil, fmt.Errorf("deep: %w", &RPCError{Code: CodeInvalidParams, Message: "no such room", Data: "x"})
		},
	})
}

func TestServerHandle(t *testing.T) {
	t.Parallel()
	tests := []struct{ in, want string }{
		{`{"jsonrpc":"2.0","method":"echo","params":[1,"a"],"id":1}`, `{"jsonrpc":"2.0","result":[1,"a"],"id":1}`},
		{` {"id":"x" , "params":{"a":null},"method":"echo","jsonrpc":"2.0"} `, `{"jsonrpc":"2.0","result":{"a":null},"id":"x"}`},
		{`{"jsonrpc":"2.0","method":"echo","id":null}`, `{"jsonrpc":"2.0","result":null,"id":null}`},
		{`{"jsonrpc":"2.0","method":"none","id":-1.5}`, `{"jsonrpc":"2.0","result":null,"id":-1.5}`},
		{`{"jsonrpc":"2.0","method":"none"}`, ``},
		{`{"jsonrpc":"2.0","method":"nix"}`, ``},
		{`{"jsonrpc":"2.0","method":"fail"}`, ``},
		{`{"jsonrpc":"2.0","method":"nix","id":1}`, `{"jsonrpc":"2.0","error":{"code":-32601,"message":"method \"nix\" not found"},"id":1}`},
		{`{"jsonrpc":"2.0","method":"ECHO","id":1}`, `{"jsonrpc":"2.0","error":{"code":-32601,"message":"method \"ECHO\" not found"},"id":1}`},
		{`{"jsonrpc":"2.0","method":"fail","id":1}`, `{"jsonrpc":"2.0","error":{"code":-32603,"message":"internal error"},"id":1}`},
		{`{"jsonrpc":"2.0","method":"chan","id":1}`, `{"jsonrpc":"2.0","error":{"code":-32603,"message":"internal error"},"id":1}`},
		{`{"jsonrpc":"2.0","method":"data","id":1}`, `{"jsonrpc":"2.0","error":{"code":-32603,"message":"internal error"},"id":1}`},
		{`{"jsonrpc":"2.0","method":"wrong","id":1}`, `{"jsonrpc":"2.0","error":{"code":-32602,"message":"no such room","data":"x"},"id":1}`},
		{``, `{"jsonrpc":"2.0","error":{"code":-32700,"message":"not valid JSON"},"id":null}`},
		{`{"jsonrpc":"2.0","method":"echo","id":1`, `{"jsonrpc":"2.0","error":{"code":-32700,"message":"not valid JSON"},"id":null}`},
		{`[1,`, `{"jsonrpc":"2.0","error":{"code":-32700,"message":"not valid JSON"},"id":null}`},
		{`[]`, `{"jsonrpc":"2.0","error":{"code":-32600,"message":"invalid request: a batch must have 1 to 100 requests"},"id":null}`},
		{`[1,{"jsonrpc":"2.0","method":"none"},{"jsonrpc":"2.0","method":"count","id":2}]`,
			`[{"jsonrpc":"2.0","error":{"code":-32600,"message":"invalid request: not an object"},"id":null},{"jsonrpc":"2.0","result":[1,2],"id":2}]`},
		{`[{"jsonrpc":"2.0","method":"none"}]`, ``},
		{`[[]]`, `[{"jsonrpc":"2.0","error":{"code":-32600,"message":"invalid request: not an object"},"id":null}]`},
	}
	for _, tt := range tests {
		if got := testServer().Handle(t.Context(), []byte(tt.in)); string(got) != tt.want {
			t.Errorf("%s:\n got %s\nwant %s", tt.in, got, tt.want)
		}
	}
}

func TestServerRefusesInvalidRequests(t *testing.T) {
	t.Parallel()
	for _, in := range []string{
		`1`, `"x"`, `null`, `{}`, `{"method":"none","id":1}`, `{"jsonrpc":2.0,"method":"none","id":1}`, `{"jsonrpc":"1.0","method":"none","id":1}`,
		`{"jsonrpc":"2.0","method":1,"id":1}`, `{"jsonrpc":"2.0","method":"","id":1}`, `{"jsonrpc":"2.0","id":1}`,
		`{"jsonrpc":"2.0","METHOD":"none","id":1}`, `{"jsonrpc":"2.0","method":"none","id":true}`, `{"jsonrpc":"2.0","method":"none","id":{}}`,
		`{"jsonrpc":"2.0","method":"none","id":[1]}`, `{"jsonrpc":"2.0","method":"none","params":1,"id":1}`,
		`{"jsonrpc":"2.0","method":"none","params":null,"id":1}`, `{"jsonrpc":"2.0","method":"none","params":"x","id":1}`,
	} {
		resp, err := DecodeResponse(testServer().Handle(t.Context(), []byte(in)))
		if err != nil || resp.Error == nil || resp.Error.Code != CodeInvalidRequest {
			t.Errorf("%s: %+v, %v", in, resp, err)
		}
	}
	big := "[" + strings.Repeat("1,", maxBatch) + "1]"
	if got := testServer().Handle(t.Context(), []byte(big)); got[0] != '{' {
		t.Errorf("batch of %d: %s", maxBatch+1, got)
	}
}

func TestDecodeResponseErrors(t *testing.T) {
	t.Parallel()
	for _, in := range []string{
		``, `[]`, `{}`, `{"jsonrpc":"2.0","id":1}`, `{"jsonrpc":"2.0","result":1}`, `{"jsonrpc":"2.0","result":1,"error":{},"id":1}`,
		`{"jsonrpc":"2.0","error":"x","id":1}`, `{"jsonrpc":"2.0","error":{"code":"x"},"id":1}`, `{"jsonrpc":"2.0","result":1,"id":[]}`,
		`{"jsonrpc":"1.0","result":1,"id":1}`,
	} {
		if r, err := DecodeResponse([]byte(in)); err == nil {
			t.Errorf("%s: %+v", in, r)
		}
	}
}

// serveRPC runs testServer on a loopback port until the end of the test.
func serveRPC(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { _ = testServer().ServeConn(ctx, nc, 1<<20) })
		}
	})
	t.Cleanup(func() {
		ln.Close()
		cancel()
		wg.Wait()
	})
	return ln.Addr().String()
}

func TestClientCalls(t *testing.T) {
	t.Parallel()
	c, err := Dial(t.Context(), serveRPC(t))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			var got []int
			if err := c.Call(t.Context(), "echo", []int{i}, &got); err != nil || len(got) != 1 || got[0] != i {
				t.Errorf("%v, %v", got, err)
			}
		})
	}
	wg.Wait()
	var rpcErr *RPCError
	if err := c.Call(t.Context(), "wrong", nil, nil); !errors.As(err, &rpcErr) || rpcErr.Code != CodeInvalidParams || rpcErr.Data != "x" {
		t.Errorf("%v", err)
	}
	// An error of the other side, or a wrong argument, does not spoil the connection.
	if err := c.Call(t.Context(), "echo", 17, nil); err == nil {
		t.Error("a number was taken for params")
	}
	var list []int
	if err := c.Call(t.Context(), "count", map[string]int{"a": 1}, &list); err != nil || len(list) != 2 {
		t.Errorf("%v, %v", list, err)
	}
	if err := c.Call(t.Context(), "count", nil, nil); err != nil {
		t.Error(err)
	}
}

func TestClientCancelled(t *testing.T) {
	t.Parallel()
	f := newFake(t, func(p *fakePeer) { p.read(); p.read() }) // never answers
	c, err := Dial(t.Context(), f.addr())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := c.Call(ctx, "echo", nil, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	if err := c.Call(t.Context(), "echo", nil, nil); err == nil || !strings.Contains(err.Error(), "earlier") {
		t.Errorf("a spoilt connection was used again: %v", err)
	}
}

func TestClientRefusesWrongID(t *testing.T) {
	t.Parallel()
	for _, answer := range []string{`{"jsonrpc":"2.0","result":1,"id":99}`, `{"jsonrpc":"2.0","result":1,"id":null}`, `x`, `{}`} {
		f := newFake(t, func(p *fakePeer) { p.read(); p.send(answer); p.read() })
		c, err := Dial(t.Context(), f.addr())
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Call(t.Context(), "echo", nil, nil); err == nil {
			t.Errorf("%s accepted", answer)
		}
		c.Close()
	}
}

func TestDialKamailio(t *testing.T) {
	t.Parallel()
	f := newFake(t, func(p *fakePeer) {
		switch p.read() {
		case "hello operator":
			p.send(welcomeJSON("operator", 1))
			p.polite(func(frame string) { p.send(string(testServer().Handle(context.Background(), []byte(frame)))) })
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
	if err := c.Call(t.Context(), "echo", []string{strings.Repeat("x", MaxFrame)}, nil); !errors.Is(err, ErrTooLarge) {
		t.Errorf("%v", err)
	}
	c.Close()
	for secret, want := range map[string]string{testSecret: "engine", "wrong": "welcome", "odd": "PongEvent", "": "secret", "a b": "secret"} {
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

func FuzzServer(f *testing.F) {
	for _, s := range []string{`{"jsonrpc":"2.0","method":"echo","params":[1],"id":1}`, `[{"jsonrpc":"2.0","method":"none","id":"x"},1]`, `[]`, `{"id":{}}`, `[[[`} {
		f.Add([]byte(s))
	}
	s := testServer()
	f.Fuzz(func(t *testing.T, in []byte) {
		out := s.Handle(context.Background(), in)
		if out == nil {
			return
		}
		if out[0] == '[' {
			var all []json.RawMessage
			if err := json.Unmarshal(out, &all); err != nil || len(all) == 0 {
				t.Fatalf("%s: %v", out, err)
			}
			for _, one := range all {
				if _, err := DecodeResponse(one); err != nil {
					t.Fatalf("%s: %v", one, err)
				}
			}
			return
		}
		if _, err := DecodeResponse(out); err != nil {
			t.Fatalf("%s: %v", out, err)
		}
	})
}

func TestServeConnEnds(t *testing.T) {
	t.Parallel()
	tests := []struct {
		in  string
		err error
	}{
		{"", nil},
		{"2:{},", nil},
		{"01:x,", ErrFraming},
		{"9999999:", ErrFraming},
		{"5:x", io.ErrUnexpectedEOF},
	}
	for _, tt := range tests {
		client, server := net.Pipe()
		ended := make(chan error, 1)
		go func() { ended <- testServer().ServeConn(context.Background(), server, 1000) }()
		if _, err := client.Write([]byte(tt.in)); err != nil && tt.err == nil {
			t.Errorf("%q: %v", tt.in, err)
		}
		if tt.in == "2:{}," {
			if _, err := NewNetstringReader(client, 1000).Read(); err != nil {
				t.Error(err)
			}
		}
		if !errors.Is(tt.err, ErrFraming) {
			client.Close()
		}
		if err := <-ended; !errors.Is(err, tt.err) {
			t.Errorf("%q: %v", tt.in, err)
		}
		client.Close()
	}
	client, server := net.Pipe()
	defer client.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := testServer().ServeConn(ctx, server, 1000); err != nil {
		t.Errorf("cancelled: %v", err)
	}
}
