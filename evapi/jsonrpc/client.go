package jsonrpc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync"
	"time"

	"imcd/evapi/netstring"
)

// maxResponse bounds a response: a server may answer with long lists.
const maxResponse = 16 << 20

// ErrTooLarge is wrapped by Call for a request that is larger than the other side takes.
var ErrTooLarge = errors.New("request too large")

// Client calls methods over one connection, one call at a time. It is safe for concurrent
// use.
type Client struct {
	mu     sync.Mutex // held during a call
	nc     net.Conn
	in     *netstring.Reader
	max    int   // largest request
	lastID int   //
	broken error // why no more calls are possible
}

// NewClient returns a Client over nc, which Close closes. It sends no request of more
// than maxRequest bytes.
func NewClient(nc net.Conn, maxRequest int) *Client {
	return &Client{nc: nc, in: netstring.NewReader(nc, maxResponse), max: maxRequest}
}

// Greet writes a frame that is no request, before the first call, and returns the other
// side's answer, which is valid until the next call.
func (c *Client) Greet(ctx context.Context, frame []byte) (answer []byte, err error) {
	restore := c.follow(ctx)
	defer restore()
	if _, err := c.nc.Write(netstring.Append(nil, frame)); err != nil {
		return nil, fmt.Errorf("write: %w", err)
	}
	if answer, err = c.in.Read(); err != nil {
		return nil, fmt.Errorf("read: %w", err)
	}
	return answer, nil
}

// follow makes reads and writes fail once ctx ends, until restore is called.
func (c *Client) follow(ctx context.Context) (restore func()) {
	stop := context.AfterFunc(ctx, func() { _ = c.nc.SetDeadline(time.Unix(1, 0)) })
	return func() {
		if stop() {
			_ = c.nc.SetDeadline(time.Time{})
		}
	}
}

// Call calls method with params (nil, or a value that marshals to an array or an object) and
// decodes the result into result (a pointer, or nil). An error of the other side is an *Error.
// After any other error but a wrong argument the Client is of no further use: it could take a
// late response for that of the next call.
func (c *Client) Call(ctx context.Context, method string, params, result any) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.broken != nil {
		return fmt.Errorf("call %s: an earlier call failed: %w", method, c.broken)
	}
	request, err := c.request(method, params)
	if err != nil {
		return fmt.Errorf("call %s: %w", method, err)
	}
	resp, err := c.exchange(ctx, request)
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
	if len(payload) > c.max {
		return nil, fmt.Errorf("%w: request has %d bytes, limit is %d", ErrTooLarge, len(payload), c.max)
	}
	return payload, nil
}

// exchange writes one request and reads its response.
func (c *Client) exchange(ctx context.Context, request []byte) (Response, error) {
	answer, err := c.Greet(ctx, request)
	if err != nil {
		return Response{}, err
	}
	resp, err := DecodeResponse(answer)
	if err != nil {
		return Response{}, fmt.Errorf("decode response: %w", err)
	}
	// An error may come without the id, if the request was not understood.
	unnamed := resp.Error != nil && string(resp.ID) == "null"
	if want := strconv.Itoa(c.lastID); string(resp.ID) != want && !unnamed {
		return Response{}, fmt.Errorf("response has id %.32s, not %s", resp.ID, want)
	}
	// The payload is overwritten by the next read.
	resp.Result = append(json.RawMessage(nil), resp.Result...)
	return resp, nil
}

// Close closes the connection.
func (c *Client) Close() error { return c.nc.Close() }
