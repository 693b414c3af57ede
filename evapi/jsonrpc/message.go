// Package jsonrpc speaks JSON-RPC 2.0: a Server with a table of methods, and a Client.
// Over a connection each message is one netstring.
package jsonrpc

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
)

// Error codes of JSON-RPC 2.0.
const (
	CodeParseError     = -32700
	CodeInvalidRequest = -32600
	CodeMethodNotFound = -32601
	CodeInvalidParams  = -32602
	CodeInternalError  = -32603
)

// Error is the error object of a response. A Method that returns one (wrapped or not)
// decides what the caller sees.
type Error struct {
	Code    int    `json:"code"`
	Message string `json:"message"`
	Data    any    `json:"data,omitempty"`
}

// Error implements error.
func (e *Error) Error() string { return fmt.Sprintf("%s (code %d)", e.Message, e.Code) }

// Request is one request or notification.
type Request struct {
	Method string
	Params json.RawMessage // an array or an object; nil: none
	ID     json.RawMessage // a string, a number or null; nil: a notification
}

// Response is one response: Error, or a Result that is not nil.
type Response struct {
	ID     json.RawMessage
	Result json.RawMessage
	Error  *Error
}

// wireMessage is the written form of requests and responses. Version stands first, for human
// readers.
type wireMessage struct {
	Version string          `json:"jsonrpc"`
	Method  string          `json:"method,omitempty"`
	Params  json.RawMessage `json:"params,omitempty"`
	Result  json.RawMessage `json:"result,omitempty"`
	Error   *Error          `json:"error,omitempty"`
	ID      json.RawMessage `json:"id,omitempty"`
}

// MarshalJSON implements json.Marshaler.
func (r *Request) MarshalJSON() ([]byte, error) {
	return json.Marshal(&wireMessage{Version: "2.0", Method: r.Method, Params: r.Params, ID: r.ID})
}

// MarshalJSON implements json.Marshaler. A missing ID is written as null.
func (r *Response) MarshalJSON() ([]byte, error) {
	id := r.ID
	if id == nil {
		id = jsonNull
	}
	return json.Marshal(&wireMessage{Version: "2.0", Result: r.Result, Error: r.Error, ID: id})
}

var jsonNull = json.RawMessage("null")

// DecodeRequest decodes one request that is no batch. The error is an
// *Error with CodeParseError or CodeInvalidRequest; the Request then has the
// ID, if one could be read.
func DecodeRequest(payload []byte) (Request, error) {
	m, err := decodeObject(payload)
	if err != nil {
		return Request{}, err
	}
	var r Request
	if id, ok := m["id"]; ok {
		if k := kindOf(id); k != '"' && k != '0' && k != 'n' {
			return r, invalidRequest("id must be a string, a number or null")
		}
		r.ID = id
	}
	if string(m["jsonrpc"]) != `"2.0"` {
		return r, invalidRequest(`jsonrpc must be "2.0"`)
	}
	if kindOf(m["method"]) != '"' || json.Unmarshal(m["method"], &r.Method) != nil || r.Method == "" {
		return r, invalidRequest("method must be a string that is not empty")
	}
	if p, ok := m["params"]; ok {
		if k := kindOf(p); k != '[' && k != '{' {
			return r, invalidRequest("params must be an array or an object")
		}
		r.Params = p
	}
	return r, nil
}

// DecodeResponse decodes one response that is no batch.
func DecodeResponse(payload []byte) (Response, error) {
	m, err := decodeObject(payload)
	if err != nil {
		return Response{}, err
	}
	r := Response{ID: m["id"]}
	if string(m["jsonrpc"]) != `"2.0"` {
		return r, invalidRequest(`response: jsonrpc must be "2.0"`)
	}
	if k := kindOf(r.ID); k != '"' && k != '0' && k != 'n' {
		return r, invalidRequest("response: id must be a string, a number or null")
	}
	result, hasResult := m["result"]
	failure, hasError := m["error"]
	if hasResult == hasError {
		return r, invalidRequest("response: there must be either result or error")
	}
	if hasResult {
		r.Result = result
		return r, nil
	}
	r.Error = new(Error)
	if kindOf(failure) != '{' {
		return r, invalidRequest("response: error must be an object")
	}
	if err := json.Unmarshal(failure, r.Error); err != nil {
		return r, invalidRequest("response: error: " + err.Error())
	}
	return r, nil
}

// decodeObject decodes into a map, because a struct's fields would also match
// keys in another case.
func decodeObject(payload []byte) (map[string]json.RawMessage, error) {
	if !json.Valid(payload) {
		return nil, &Error{Code: CodeParseError, Message: "not valid JSON"}
	}
	if kindOf(payload) != '{' {
		return nil, invalidRequest("not an object")
	}
	var m map[string]json.RawMessage
	if err := json.Unmarshal(payload, &m); err != nil {
		return nil, &Error{Code: CodeParseError, Message: err.Error()}
	}
	return m, nil
}

// kindOf is the kind of valid JSON: '{', '[', '"', '0' for a number, 'n' for null, 'b' for a
// boolean, 0 for nothing.
func kindOf(raw []byte) byte {
	raw = bytes.TrimLeft(raw, " \t\r\n")
	if len(raw) == 0 {
		return 0
	}
	switch c := raw[0]; {
	case c == '-' || c >= '0' && c <= '9':
		return '0'
	case c == 't' || c == 'f':
		return 'b'
	default:
		return c
	}
}

func invalidRequest(why string) *Error {
	return &Error{Code: CodeInvalidRequest, Message: "invalid request: " + why}
}

// asError is the part of err for the caller: an Error in it, or an internal error without the
// cause, which may hold secrets.
func asError(err error) *Error {
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	return &Error{Code: CodeInternalError, Message: "internal error"}
}
