package jsonrpc

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"time"

	"imcd/evapi/netstring"
)

const (
	// maxBatch bounds the requests in one batch.
	maxBatch = 100
	// writeTimeout is how long a client may leave a response unread.
	writeTimeout = 10 * time.Second
)

// Method answers one JSON-RPC method. Params is an array or an object, nil if
// the request had none. An error that is no *Error reaches the caller as
// CodeInternalError without its text.
type Method func(ctx context.Context, params json.RawMessage) (any, error)

// Server answers JSON-RPC 2.0 requests from a table of methods. It is immutable
// and safe for concurrent use if its methods are.
type Server struct {
	methods map[string]Method
}

// NewServer returns a Server for methods; the table is copied.
func NewServer(methods map[string]Method) *Server {
	return &Server{methods: maps.Clone(methods)}
}

// Handle answers one payload: a request, a notification or a batch. It returns
// nil if there is nothing to answer. It calls the methods one after the other.
func (s *Server) Handle(ctx context.Context, payload []byte) []byte {
	if kindOf(payload) != '[' {
		return s.handleOne(ctx, payload)
	}
	var batch []json.RawMessage
	if err := json.Unmarshal(payload, &batch); err != nil {
		return encode(&Response{Error: &Error{Code: CodeParseError, Message: "not valid JSON"}})
	}
	if len(batch) == 0 || len(batch) > maxBatch {
		return encode(&Response{Error: invalidRequest(fmt.Sprintf("a batch must have 1 to %d requests", maxBatch))})
	}
	var answers [][]byte
	for _, one := range batch {
		if answer := s.handleOne(ctx, one); answer != nil {
			answers = append(answers, answer)
		}
	}
	if answers == nil {
		return nil
	}
	out := bytes.Join(answers, []byte{','})
	return append(append([]byte{'['}, out...), ']')
}

// handleOne returns nil for a notification, even for one that failed.
func (s *Server) handleOne(ctx context.Context, payload []byte) []byte {
	req, err := DecodeRequest(payload)
	if err != nil {
		return encode(&Response{ID: req.ID, Error: asError(err)})
	}
	resp := &Response{ID: req.ID}
	resp.Result, resp.Error = s.call(ctx, req)
	if req.ID == nil {
		return nil
	}
	return encode(resp)
}

func (s *Server) call(ctx context.Context, req Request) (json.RawMessage, *Error) {
	method, ok := s.methods[req.Method]
	if !ok {
		return nil, &Error{Code: CodeMethodNotFound, Message: fmt.Sprintf("method %.64q not found", req.Method)}
	}
	v, err := method(ctx, req.Params)
	if err != nil {
		return nil, asError(err)
	}
	raw, err := json.Marshal(v)
	if err != nil {
		return nil, asError(err)
	}
	return raw, nil
}

func encode(r *Response) []byte {
	b, err := json.Marshal(r)
	if err != nil {
		// Only an error's Data can be the cause: everything else is valid JSON already.
		b, _ = json.Marshal(&Response{ID: r.ID, Error: asError(err)})
	}
	return b
}

// Greeting looks at the first frame of a connection, which may be a hello. If so, it
// returns the answer (nil: none); if not, taken is false and the frame is a request like
// all others. After an error the answer is still written, and the connection ends.
type Greeting func(first []byte) (answer []byte, taken bool, err error)

// Serve answers the requests that arrive on nc as netstrings of at most max bytes, one
// after the other, until nc ends, bytes are no netstring (netstring.ErrFraming) or ctx
// does; then it closes nc. It cuts off a client that does not read. greet may be nil. The
// error is nil if the client closed between two requests or ctx ended.
func (s *Server) Serve(ctx context.Context, nc net.Conn, max int, greet Greeting) error {
	defer nc.Close()
	stop := context.AfterFunc(ctx, func() { nc.Close() })
	defer stop()
	in := netstring.NewReader(nc, max)
	for {
		payload, err := in.Read()
		if err != nil {
			if ctx.Err() != nil || errors.Is(err, io.EOF) {
				return nil
			}
			return fmt.Errorf("read request: %w", err)
		}
		var answer []byte
		var taken bool
		var refused error
		if greet != nil {
			answer, taken, refused = greet(payload)
			greet = nil
		}
		if !taken && refused == nil {
			answer = s.Handle(ctx, payload)
		}
		if err := writeAnswer(nc, answer); err != nil || refused != nil {
			return errors.Join(refused, err)
		}
	}
}

func writeAnswer(nc net.Conn, answer []byte) error {
	if answer == nil {
		return nil
	}
	if err := nc.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
		return fmt.Errorf("set write deadline: %w", err)
	}
	if _, err := nc.Write(netstring.Append(nil, answer)); err != nil {
		return fmt.Errorf("write response: %w", err)
	}
	return nil
}
