package jsonrpc

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

	"go.uber.org/goleak"

	"imcd/evapi/netstring"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func testServer() *Server {
	return NewServer(map[string]Method{
		"echo": func(_ context.Context, p json.RawMessage) (any, error) { return p, nil },
		"none": func(context.Context, json.RawMessage) (any, error) { return nil, nil },
		"fail": func(context.Context, json.RawMessage) (any, error) { return nil, errors.New("pq: password is hunter2") },
		"chan": func(context.Context, json.RawMessage) (any, error) { return make(chan int), nil },
		"data": func(context.Context, json.RawMessage) (any, error) {
			return nil, &Error{Code: 1, Message: "m", Data: make(chan int)}
		},
		"count": func(context.Context, json.RawMessage) (any, error) { return []int{1, 2}, nil },
		"wrong": func(context.Context, json.RawMessage) (any, error) {
			return nil, fmt.Errorf("deep: %w", &Error{Code: CodeInvalidParams, Message: "no such room", Data: "x"})
		},
	})
}

func TestServerHandle(t *testing.T) {
	t.Parallel()
	tests := []struct{ in, want string }{
		{`{"jsonrpc":"2.0","method":"echo","params":[1,"a"],"id":1}`, `{"jsonrpc":"2.0","result":[1,"a"],"id":1}`},
		{` {"id":"x" , "params":{"a":null},"method":"echo","jsonrpc":"2.0"} `,
			`{"jsonrpc":"2.0","result":{"a":null},"id":"x"}`},
		{`{"jsonrpc":"2.0","method":"echo","id":null}`, `{"jsonrpc":"2.0","result":null,"id":null}`},
		{`{"jsonrpc":"2.0","method":"none","id":-1.5}`, `{"jsonrpc":"2.0","result":null,"id":-1.5}`},
		{`{"jsonrpc":"2.0","method":"none"}`, ``},
		{`{"jsonrpc":"2.0","method":"nix"}`, ``},
		{`{"jsonrpc":"2.0","method":"fail"}`, ``},
		{`{"jsonrpc":"2.0","method":"nix","id":1}`, `{"jsonrpc":"2.0","error":{"code":-32601,"message":"method \"nix\" ` +
			`not found"},"id":1}`},
		{`{"jsonrpc":"2.0","method":"ECHO","id":1}`, `{"jsonrpc":"2.0","error":{"code":-32601,"message":"method ` +
			`\"ECHO\" not found"},"id":1}`},
		{`{"jsonrpc":"2.0","method":"fail","id":1}`, `{"jsonrpc":"2.0","error":{"code":-32603,"message":"internal ` +
			`error"},"id":1}`},
		{`{"jsonrpc":"2.0","method":"chan","id":1}`, `{"jsonrpc":"2.0","error":{"code":-32603,"message":"internal ` +
			`error"},"id":1}`},
		{`{"jsonrpc":"2.0","method":"data","id":1}`, `{"jsonrpc":"2.0","error":{"code":-32603,"message":"internal ` +
			`error"},"id":1}`},
		{`{"jsonrpc":"2.0","method":"wrong","id":1}`, `{"jsonrpc":"2.0","error":{"code":-32602,"message":"no such room",` +
			`"data":"x"},"id":1}`},
		{``, `{"jsonrpc":"2.0","error":{"code":-32700,"message":"not valid JSON"},"id":null}`},
		{`{"jsonrpc":"2.0","method":"echo","id":1`, `{"jsonrpc":"2.0","error":{"code":-32700,"message":"not valid ` +
			`JSON"},"id":null}`},
		{`[1,`, `{"jsonrpc":"2.0","error":{"code":-32700,"message":"not valid JSON"},"id":null}`},
		{`[]`, `{"jsonrpc":"2.0","error":{"code":-32600,"message":"invalid request: a batch must have 1 to 100 ` +
			`requests"},"id":null}`},
		{`[1,{"jsonrpc":"2.0","method":"none"},{"jsonrpc":"2.0","method":"count","id":2}]`,
			`[{"jsonrpc":"2.0","error":{"code":-32600,"message":"invalid request: not an object"},"id":null},` +
				`{"jsonrpc":"2.0","result":[1,2],"id":2}]`},
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
		`1`, `"x"`, `null`, `{}`, `{"method":"none","id":1}`, `{"jsonrpc":2.0,"method":"none","id":1}`,
		`{"jsonrpc":"1.0","method":"none","id":1}`,
		`{"jsonrpc":"2.0","method":1,"id":1}`, `{"jsonrpc":"2.0","method":"","id":1}`, `{"jsonrpc":"2.0","id":1}`,
		`{"jsonrpc":"2.0","METHOD":"none","id":1}`, `{"jsonrpc":"2.0","method":"none","id":true}`,
		`{"jsonrpc":"2.0","method":"none","id":{}}`,
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
		``, `[]`, `{}`, `{"jsonrpc":"2.0","id":1}`, `{"jsonrpc":"2.0","result":1}`,
		`{"jsonrpc":"2.0","result":1,"error":{},"id":1}`,
		`{"jsonrpc":"2.0","error":"x","id":1}`, `{"jsonrpc":"2.0","error":{"code":"x"},"id":1}`,
		`{"jsonrpc":"2.0","result":1,"id":[]}`,
		`{"jsonrpc":"1.0","result":1,"id":1}`,
	} {
		if r, err := DecodeResponse([]byte(in)); err == nil {
			t.Errorf("%s: %+v", in, r)
		}
	}
}

// connected returns a Client whose other side is served by serve until it returns.
func connected(t *testing.T, serve func(net.Conn)) *Client {
	t.Helper()
	near, far := net.Pipe()
	over := make(chan struct{})
	go func() {
		defer close(over)
		serve(far)
	}()
	c := NewClient(near, 1000)
	t.Cleanup(func() {
		c.Close()
		far.Close()
		<-over
	})
	return c
}

func TestClientCalls(t *testing.T) {
	t.Parallel()
	c := connected(t, func(nc net.Conn) { _ = testServer().Serve(context.Background(), nc, 1000, nil) })
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
	var refused *Error
	if err := c.Call(t.Context(), "wrong", nil, nil); !errors.As(err, &refused) || refused.Code != CodeInvalidParams ||
		refused.Data != "x" {
		t.Errorf("%v", err)
	}
	// An error of the other side, or a wrong argument, does not spoil the connection.
	if err := c.Call(t.Context(), "echo", 17, nil); err == nil {
		t.Error("a number was taken for params")
	}
	if err := c.Call(t.Context(), "echo", []string{strings.Repeat("x", 1000)}, nil); !errors.Is(err, ErrTooLarge) {
		t.Errorf("%v", err)
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
	c := connected(t, func(nc net.Conn) { _, _ = io.Copy(io.Discard, nc) }) // never answers
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
	for _, answer := range []string{`{"jsonrpc":"2.0","result":1,"id":99}`, `{"jsonrpc":"2.0","result":1,"id":null}`,
		`x`, `{}`} {
		c := connected(t, func(nc net.Conn) {
			if _, err := netstring.NewReader(nc, 1000).Read(); err == nil {
				_, _ = nc.Write(netstring.Append(nil, []byte(answer)))
			}
		})
		if err := c.Call(t.Context(), "echo", nil, nil); err == nil {
			t.Errorf("%s accepted", answer)
		}
	}
}

func FuzzServer(f *testing.F) {
	for _, s := range []string{`{"jsonrpc":"2.0","method":"echo","params":[1],"id":1}`,
		`[{"jsonrpc":"2.0","method":"none","id":"x"},1]`, `[]`, `{"id":{}}`, `[[[`} {
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

func TestServeEnds(t *testing.T) {
	t.Parallel()
	tests := []struct {
		in  string
		err error
	}{
		{"", nil},
		{"2:{},", nil},
		{"01:x,", netstring.ErrFraming},
		{"9999999:", netstring.ErrFraming},
		{"5:x", io.ErrUnexpectedEOF},
	}
	for _, tt := range tests {
		client, server := net.Pipe()
		ended := make(chan error, 1)
		go func() { ended <- testServer().Serve(context.Background(), server, 1000, nil) }()
		if _, err := client.Write([]byte(tt.in)); err != nil && tt.err == nil {
			t.Errorf("%q: %v", tt.in, err)
		}
		if tt.in == "2:{}," {
			if _, err := netstring.NewReader(client, 1000).Read(); err != nil {
				t.Error(err)
			}
		}
		if !errors.Is(tt.err, netstring.ErrFraming) {
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
	if err := testServer().Serve(ctx, server, 1000, nil); err != nil {
		t.Errorf("cancelled: %v", err)
	}
}
