package evapi

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
)

// Error codes of JSON-RPC 2.0.
const (
	CodeParseError     = -32700
	CodeInvalidRequest = -32600
	CodeMethodNotFound = -32601
	CodeInvalidParams  = -32602
	CodeInternalError  = -32603
)

// RPCError is the error object of a JSON-RPC 2.0 response. A Method that
// returns one (wrapped or not) decides what the caller sees.
type RPCError struct {
	Code    int    `json:"code"`
	Message string `json:"message"`
	Data    any    `json:"data,omitempty"`
}

// Error implements error.
func (e *RPCError) Error() string { return fmt.Sprintf("%s (%d)", e.Message, e.Code) }

// Method answers one JSON-RPC method. Params is nil if the request had none.
// An error that is no *RPCError reaches the caller as -32603 without its text.
type Method func(ctx context.Context, params json.RawMessage) (any, error)

// Server answers JSON-RPC 2.0 requests from a table of methods.
type Server struct{}

// NewServer returns a Server for methods; the table is copied.
func NewServer(methods map[string]Method) *Server { return &Server{} }

// Handle answers one payload: a request, a notification or a batch. It returns
// nil if there is nothing to answer.
func (s *Server) Handle(ctx context.Context, payload []byte) []byte { return nil }

// Client calls JSON-RPC methods over one connection, one call at a time.
type Client struct{ nc net.Conn }

// NewClient returns a Client over nc, which Close closes.
func NewClient(nc net.Conn) *Client { return &Client{nc: nc} }

// DialKamailio connects to Kamailio's evapi as an operator and awaits its welcome.
func DialKamailio(ctx context.Context, addr, secret string) (*Client, error) { return nil, ErrDown }

// Dial connects to imcd's own RPC port.
func Dial(ctx context.Context, addr string) (*Client, error) { return nil, ErrDown }

// Call calls method with params and decodes the result into result (a pointer, or nil).
func (c *Client) Call(ctx context.Context, method string, params, result any) error { return ErrDown }

// Close closes the connection.
func (c *Client) Close() error { return c.nc.Close() }
