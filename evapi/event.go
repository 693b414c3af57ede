package evapi

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"imcd/evapi/sipmsg"
)

// maxInbound bounds a frame from Kamailio. Its base64 transformation makes at most 65535
// bytes, and a frame holds one such field and some small ones.
const maxInbound = 128 << 10

// Kamailio gives these roles to a connection for its secret.
const (
	RoleEngine   = "engine"
	RoleOperator = "operator"
)

// ErrUnknownEvent is wrapped by DecodeEvent for a well-formed frame with an unknown method,
// which may be ignored.
var ErrUnknownEvent = errors.New("evapi: unknown event")

// Event is one frame from Kamailio: *WelcomeEvent, PongEvent, *Message, *RequestEvent, *Receipt, ErrorEvent,
// RegistrationsEvent, Registration, ContactsEvent, GoneEvent, FullEvent or *Call. Message and Call have no Conn yet.
type Event interface{ event() }

// WelcomeEvent is imc.welcome. Of an operator's only Role is set.
type WelcomeEvent struct {
	Role string
	Time string // Kamailio's clock, see ageClock
	Welcome
}

// PongEvent is imc.pong.
type PongEvent struct {
	ID   string
	Time string // Kamailio's clock, see ageClock
	Free uint64 // bytes of Kamailio's shared memory that are free
	All  uint64 // all bytes of its shared memory; 0: unknown
	// Dropped counts the receipts that it has answered since its start and not handed on,
	// because there were too many.
	Dropped uint64
	Parked  int    // requests that wait for an engine, at least
	Missed  uint64 // registrations that it has not reported since its start

	Outcomes []Outcome // since the last pong, as far as they fit, in their order
}

// ErrorEvent is imc.error: a frame that Kamailio could not execute.
type ErrorEvent struct {
	ID     string // of the frame; empty if unknown
	Code   int    // SIP status code or JSON-RPC error code
	Reason string
}

// RegistrationsEvent is imc.registrations.
type RegistrationsEvent struct {
	Accepted int64 // since Kamailio's start; -1: it has no registrar
	Reported bool  // its script has reported one, by imc.registered
}

// RequestEvent is imc.request: a request for a room that is no MESSAGE, which waits in the same way.
type RequestEvent struct{ Message *Message }

// GoneEvent is imc.gone: another engine has lost its connection to this Kamailio.
type GoneEvent struct{ Engine string }

// FullEvent is imc.full: Kamailio has no place for another engine.
type FullEvent struct{}

func (GoneEvent) event() {}
func (FullEvent) event() {}

func (*WelcomeEvent) event() {}
func (PongEvent) event()     {}
func (*Message) event()      {}
func (*RequestEvent) event() {}
func (*Receipt) event()      {}
func (ErrorEvent) event()    {}
func (Registration) event()  {}

func (RegistrationsEvent) event() {}
func (*Call) event()              {}

// envelope holds a notification before its method is known.
type envelope struct {
	Version string          `json:"jsonrpc"`
	Method  string          `json:"method"`
	Params  json.RawMessage `json:"params"`
}

// DecodeEvent decodes one frame of Kamailio, see the package doc. A SIP request that cannot
// be parsed sets Message.Err or Receipt.Err; any other deviation is an error,
// ErrUnknownEvent for an unknown method. The Event shares no memory with payload.
func DecodeEvent(payload []byte) (Event, error) {
	if p, ok := fastPong(payload); ok {
		return p, nil
	}
	var e envelope
	if err := json.Unmarshal(payload, &e); err != nil {
		return nil, fmt.Errorf("evapi: frame of %d bytes: %w", len(payload), err)
	}
	if e.Version != "2.0" || e.Method == "" {
		return nil, fmt.Errorf("evapi: frame of %d bytes is no JSON-RPC 2.0 notification", len(payload))
	}
	ev, err := decodeParams(e.Method, e.Params)
	if err != nil {
		return nil, fmt.Errorf("evapi: %.64s: %w", e.Method, err)
	}
	return ev, nil
}

func decodeParams(method string, params json.RawMessage) (Event, error) {
	switch method {
	case "imc.message":
		return decodeMessage(params)
	case "imc.request":
		m, err := decodeMessage(params)
		if err != nil {
			return nil, err
		}
		return &RequestEvent{m}, nil
	case "imc.receipt":
		return decodeReceipt(params)
	case "imc.pong":
		return decodePong(params)
	case "imc.error":
		return decodeError(params)
	case "imc.located":
		return decodeContacts(params)
	case "imc.registrations":
		var p struct{ Accepted, Reported string }
		if err := json.Unmarshal(params, &p); err != nil {
			return nil, badParams(err)
		}
		n, err := strconv.ParseInt(p.Accepted, 10, 64)
		if err != nil {
			n = -1
		}
		return RegistrationsEvent{Accepted: n, Reported: p.Reported != "0" && p.Reported != ""}, nil
	case "imc.registered":
		return decodeRegistration(params)
	case "imc.call":
		var p struct {
			Tag *string
			Msg *b64
		}
		if err := json.Unmarshal(params, &p); err != nil || p.Tag == nil || p.Msg == nil {
			return nil, badParams(err)
		}
		return &Call{Tag: *p.Tag, JSON: *p.Msg}, nil
	case "imc.welcome":
		return decodeWelcome(params)
	case "imc.gone":
		var p struct{ Engine string }
		if err := json.Unmarshal(params, &p); err != nil || p.Engine == "" {
			return nil, badParams(err)
		}
		return GoneEvent(p), nil
	case "imc.full":
		return FullEvent{}, nil
	default:
		return nil, ErrUnknownEvent
	}
}

func decodeWelcome(params json.RawMessage) (Event, error) {
	var p struct {
		Role     *string
		Time     string
		Gen      int64
		Place    int
		Start    string
		Version  b64
		Header   b64
		NextHop  b64 `json:"next_hop"`
		Features b64
		Room     *b64
		Prefix   b64
		Domains  b64
		Any      int
		Peer     b64
	}
	if err := json.Unmarshal(params, &p); err != nil || p.Role == nil {
		return nil, badParams(err)
	}
	w := &WelcomeEvent{Role: *p.Role, Time: p.Time}
	w.Gen, w.Place, w.Start, w.Version = p.Gen, p.Place, p.Start, string(p.Version)
	w.HeaderSecret, w.NextHop, w.Peer = string(p.Header), string(p.NextHop), string(p.Peer)
	w.Features = strings.Fields(string(p.Features))
	if p.Room != nil {
		w.Rooms = &RoomRule{Expression: string(*p.Room), Prefix: string(p.Prefix)}
	}
	w.Domains, w.AnyDomain = strings.Fields(string(p.Domains)), p.Any == 1
	return w, nil
}

func decodeMessage(params json.RawMessage) (*Message, error) {
	var p struct {
		TIndex   *int64
		TLabel   *int64
		Proto    string
		SrcIP    string `json:"src_ip"`
		SrcPort  int    `json:"src_port"`
		Time     string
		Age      int64 // ms
		Tries    int
		Slot     int
		AuthUser b64 `json:"auth_user"`
		Local    *int
		Room     int
		RURI     *b64
		Msg      *b64
	}
	err := json.Unmarshal(params, &p)
	if err != nil || p.TIndex == nil || p.TLabel == nil || p.RURI == nil || p.Msg == nil {
		return nil, badParams(err)
	}
	m := &Message{
		Tx: TxID{Index: *p.TIndex, Label: *p.TLabel}, Received: time.Now(),
		Proto: p.Proto, SrcIP: p.SrcIP, SrcPort: p.SrcPort,
		Age: time.Duration(p.Age) * time.Millisecond, Tries: p.Tries, Slot: p.Slot,
		AuthUser: string(p.AuthUser), RURI: string(*p.RURI), sent: p.Time,
		Foreign: p.Local != nil && *p.Local == 0, ByRule: p.Room == 1, Factory: p.Room == 2,
	}
	m.Request, m.Err = sipmsg.ParseRequest(*p.Msg)
	return m, nil
}

func decodeReceipt(params json.RawMessage) (Event, error) {
	var p struct{ RURI, Msg *b64 }
	if err := json.Unmarshal(params, &p); err != nil || p.RURI == nil || p.Msg == nil {
		return nil, badParams(err)
	}
	r := &Receipt{RURI: string(*p.RURI)}
	r.Request, r.Err = sipmsg.ParseRequest(*p.Msg)
	return r, nil
}

// fastPong decodes an imc.pong in the layout of the routing script: pongs with outcomes are
// the larger part of all frames. The JSON decoder takes any other layout.
func fastPong(payload []byte) (PongEvent, bool) {
	var p PongEvent
	rest, ok := strings.CutPrefix(string(payload), `{"jsonrpc":"2.0","method":"imc.pong","params":{"id":"`)
	if !ok || strings.IndexByte(rest, '\\') >= 0 {
		return p, false
	}
	var free, all, outcomes string
	for _, part := range []struct {
		to    *string
		until string
	}{{&p.ID, `","time":"`}, {&p.Time, `","shm_free":`}, {&free, `,"shm":`}, {&all, `,"outcomes":"`}, {&outcomes, `"}}`}} {
		if *part.to, rest, ok = strings.Cut(rest, part.until); !ok ||
			part.to != &all && strings.IndexByte(*part.to, '"') >= 0 {
			return p, false
		}
	}
	all, dropped, says := strings.Cut(all, `,"dropped":`)
	if !says { // an older routing script
		dropped = "0"
	}
	dropped, missed, says := strings.Cut(dropped, `,"missed":`)
	if !says { // none, or an older one
		missed = "0"
	}
	var errs [5]error
	p.Free, errs[0] = strconv.ParseUint(free, 10, 64)
	p.All, errs[1] = strconv.ParseUint(all, 10, 64)
	p.Dropped, errs[2] = strconv.ParseUint(dropped, 10, 64)
	p.Outcomes, errs[3] = parseOutcomes(outcomes)
	p.Missed, errs[4] = strconv.ParseUint(missed, 10, 64)
	return p, rest == "" && errs == [5]error{} && plain(p.ID) && plain(p.Time) &&
		decimal(free) && decimal(all) && decimal(dropped) && decimal(missed)
}

// decimal refuses the numbers that ParseUint takes and JSON does not.
func decimal(s string) bool { return len(s) == 1 || s[0] != '0' && s[0] != '+' }

// plain reports whether s needs no escapes in JSON.
func plain(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

func decodePong(params json.RawMessage) (Event, error) {
	var p struct {
		ID       *string
		Time     string
		Free     uint64 `json:"shm_free"`
		All      uint64 `json:"shm"`
		Dropped  uint64
		Parked   int
		Missed   uint64
		Outcomes string
	}
	err := json.Unmarshal(params, &p)
	if err != nil || p.ID == nil {
		return nil, badParams(err)
	}
	e := PongEvent{ID: *p.ID, Time: p.Time, Free: p.Free, All: p.All, Dropped: p.Dropped,
		Parked: p.Parked, Missed: p.Missed}
	if e.Outcomes, err = parseOutcomes(p.Outcomes); err != nil {
		return nil, err
	}
	return e, nil
}

func decodeError(params json.RawMessage) (Event, error) {
	var p struct {
		ID    *string
		Code  *int
		Reply b64
	}
	if err := json.Unmarshal(params, &p); err != nil || p.ID == nil || p.Code == nil {
		return nil, badParams(err)
	}
	e := ErrorEvent{ID: *p.ID, Code: *p.Code, Reason: cut(string(p.Reply), 200)}
	// For tm.t_uac_start the reply is Kamailio's JSON-RPC response; it may also be free text,
	// which does not decode.
	var reply struct {
		ID    json.Number
		Error struct {
			Code    int
			Message string
		}
	}
	if json.Unmarshal(p.Reply, &reply) != nil {
		return e, nil
	}
	if e.ID == "" {
		e.ID = reply.ID.String()
	}
	if reply.Error.Message != "" {
		e.Reason = cut(reply.Error.Message, 200)
	}
	if reply.Error.Code != 0 {
		e.Code = reply.Error.Code
	}
	return e, nil
}

func badParams(err error) error {
	if err == nil {
		err = errors.New("a parameter is missing")
	}
	return fmt.Errorf("params: %w", err)
}

// b64 is a JSON string that holds standard base64.
type b64 []byte

// UnmarshalJSON implements json.Unmarshaler.
func (b *b64) UnmarshalJSON(raw []byte) error {
	if len(raw) < 2 || raw[0] != '"' {
		return errors.New("base64: not a string")
	}
	// Base64 has no character that JSON escapes but '/', which Kamailio leaves alone.
	raw = raw[1 : len(raw)-1]
	out := make([]byte, base64.StdEncoding.DecodedLen(len(raw)))
	n, err := base64.StdEncoding.Strict().Decode(out, raw)
	if err != nil {
		return fmt.Errorf("base64: %w", err)
	}
	*b = out[:n]
	return nil
}
