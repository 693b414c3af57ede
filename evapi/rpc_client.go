package evapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync"
	"time"
)

// maxResponse bounds what a Client takes for a response: imcd's own port may
// answer with long lists.
const maxResponse = 16 << 20

// Client calls JSON-RPC methods over one connection, one call at a time. It is
// safe for concurrent use.
type Client struct {
	mu     sync.Mutex // held during a call
	nc     net.Conn
	in     *NetstringReader
	limit  int   // largest request
	lastID int   //
	broken error // why no more calls are possible
}

// NewClient returns a Client over nc, which Close closes.
func NewClient(nc net.Conn) *Client {
	return &Client{nc: nc, in: NewNetstringReader(newWireConn(nc, 0), maxResponse), limit: maxResponse}
}

// Dial connects to imcd's own RPC port.
func Dial(ctx context.Context, addr string) (*Client, error) {
	var d net.Dialer
	nc, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("connect to imcd: %w", err)
	}
	return NewClient(nc), nil
}

// DialToken connects to imcd's own RPC port and says hello with its token. A wrong
// one is an *RPCError.
func DialToken(ctx context.Context, addr, token string) (*Client, error) {
	if err := checkSecret(token); err != nil {
		return nil, err
	}
	c, err := Dial(ctx, addr)
	if err != nil {
		return nil, err
	}
	if err := c.hello(ctx, token); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// DialKamailio connects to Kamailio's evapi as an operator: it says hello with
// secret and awaits the welcome, for 5 seconds at most. Calls then go through
// Kamailio to the engine.
func DialKamailio(ctx context.Context, addr, secret string) (*Client, error) {
	if err := checkSecret(secret); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, defaultDialTimeout)
	defer cancel()
	var d net.Dialer
	nc, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("connect to Kamailio: %w", err)
	}
	c := NewClient(nc)
	c.limit = maxPayload
	if err := c.hello(ctx, secret); err != nil {
		nc.Close()
		return nil, err
	}
	return c, nil
}

func (c *Client) hello(ctx context.Context, secret string) error {
	restore := c.follow(ctx)
	defer restore()
	if _, err := c.nc.Write(helloFrame(secret)); err != nil {
		return fmt.Errorf("say hello: %w", err)
	}
	payload, err := c.in.Read()
	if err != nil {
		return welcomeError(err)
	}
	if r, err := DecodeResponse(payload); err == nil && r.Error != nil {
		return r.Error
	}
	ev, err := DecodeEvent(payload)
	if err != nil {
		return fmt.Errorf("await welcome of Kamailio: %w", err)
	}
	w, ok := ev.(*WelcomeEvent)
	if !ok {
		return fmt.Errorf("await welcome of Kamailio: got %T first", ev)
	}
	if w.Role != RoleOperator {
		return fmt.Errorf("hello to Kamailio: the secret is that of role %q, not the operator's", w.Role)
	}
	return nil
}

// follow makes reads and writes fail once ctx ends. What it returns undoes that.
func (c *Client) follow(ctx context.Context) (restore func()) {
	stop := context.AfterFunc(ctx, func() { _ = c.nc.SetDeadline(time.Unix(1, 0)) })
	return func() {
		if stop() {
			_ = c.nc.SetDeadline(time.Time{})
		}
	}
}

// Call calls method with params (nil, or what marshals to an array or an
// object) and decodes the result into result (a pointer, or nil). An error of
// the other side is an *RPCError. After any other error but a wrong argument the
// Client is of no further use: a late response could be taken for that of the
// next call.
func (c *Client) Call(ctx context.Context, method string, params, result any) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.broken != nil {
		return fmt.Errorf("call %s: an earlier call failed: %w", method, c.broken)
	}
	frame, err := c.request(method, params)
	if err != nil {
		return fmt.Errorf("call %s: %w", method, err)
	}
	resp, err := c.exchange(ctx, frame)
	if err != nil {
		c.broken = err
		c.nc.Close()
		if ctx.Err() != nil {
			err = errors.Join(ctx.Err(), err)
		}
		return fmt.Errorf("call %s: %w", method, err)
	}
	if resp.Error != nil {
		return resp.Error
	}
	if result == nil {
		return nil
	}
	if err := json.Unmarshal(resp.Result, result); err != nil {
		return fmt.Errorf("call %s: decode result: %w", method, err)
	}
	return nil
}

func (c *Client) request(method string, params any) ([]byte, error) {
	c.lastID++
	req := &Request{Method: method, ID: strconv.AppendInt(nil, int64(c.lastID), 10)}
	if params != nil {
		raw, err := json.Marshal(params)
		if err != nil {
			return nil, fmt.Errorf("encode params: %w", err)
		}
		if k := kindOf(raw); k != '[' && k != '{' {
			return nil, errors.New("params are neither an array nor an object")
		}
		req.Params = raw
	}
	payload, err := json.Marshal(req)
	if err != nil {
		return nil, fmt.Errorf("encode request: %w", err)
	}
	if len(payload) > c.limit {
		return nil, fmt.Errorf("%w: request has %d bytes, limit is %d", ErrTooLarge, len(payload), c.limit)
	}
	return AppendNetstring(nil, payload), nil
}

// exchange writes one request and reads its response.
func (c *Client) exchange(ctx context.Context, frame []byte) (Response, error) {
	restore := c.follow(ctx)
	defer restore()
	if _, err := c.nc.Write(frame); err != nil {
		return Response{}, fmt.Errorf("write request: %w", err)
	}
	payload, err := c.in.Read()
	if err != nil {
		return Response{}, fmt.Errorf("read response: %w", err)
	}
	resp, err := DecodeResponse(payload)
	if err != nil {
		return Response{}, fmt.Errorf("decode response: %w", err)
	}
	// An error may come without the id, if the request was not understood.
	unnamed := resp.Error != nil && string(resp.ID) == "null"
	if want := strconv.Itoa(c.lastID); string(resp.ID) != want && !unnamed {
		return Response{}, fmt.Errorf("response has id %s, not %s", clip(string(resp.ID), 32), want)
	}
	// The payload is overwritten by the next read.
	resp.Result = append(json.RawMessage(nil), resp.Result...)
	return resp, nil
}

// Close closes the connection.
func (c *Client) Close() error { return c.nc.Close() }
