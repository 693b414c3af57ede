package evapitest

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
)

// peerFrames bounds the frames that a Peer has read and nobody has taken; more
// make it stop reading.
const peerFrames = 65536

// Peer is a bare connection to Kamailio's evapi that sends and receives whole
// netstrings as they are: a stranger, an operator, or a stand-in for imcd. Its
// methods are safe for concurrent use.
type Peer struct {
	conn   net.Conn
	frames chan string   // written by the reader, closed by it
	gone   chan struct{} // closed by Close
	once   sync.Once
	read   sync.WaitGroup

	mu sync.Mutex // one frame is written at a time
}

// Event is a frame from Kamailio, decoded.
type Event struct {
	Method string            // empty for an answer
	Params map[string]string // strings as they are, other values as JSON
	Raw    string
}

// DialPeer connects to an evapi and sends no hello.
func DialPeer(ctx context.Context, addr string) (*Peer, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("evapi peer: %w", err)
	}
	p := &Peer{conn: conn, frames: make(chan string, peerFrames), gone: make(chan struct{})}
	p.read.Add(1)
	go p.run()
	return p, nil
}

func (p *Peer) run() {
	defer p.read.Done()
	defer close(p.frames)
	r := bufio.NewReader(p.conn)
	for {
		frame, err := readFrame(r)
		if err != nil {
			return
		}
		for _, f := range append(outcomes(frame), frame) {
			select {
			case p.frames <- f:
			case <-p.gone:
				return
			}
		}
	}
}

// outcomes are the outcomes in a pong, as frames imc.outcome of their own: id (as
// in the pong), code and retry; batch for the end of a batch.
func outcomes(frame string) []string {
	ev, err := decodeEvent(frame)
	if err != nil || ev.Method != "imc.pong" {
		return nil
	}
	var all []string
	words := strings.Fields(ev.Params["outcomes"])
	for i := 0; i+1 < len(words); i += 2 {
		params := fmt.Sprintf(`"batch":%q`, words[i+1])
		if words[i] != "=" {
			code, retry, _ := strings.Cut(words[i+1], "/")
			params = fmt.Sprintf(`"id":%q,"code":%q,"retry":%q`, words[i], code, retry)
		}
		all = append(all, `{"jsonrpc":"2.0","method":"imc.outcome","params":{`+params+`}}`)
	}
	return all
}

func readFrame(r *bufio.Reader) (string, error) {
	head, err := r.ReadString(':')
	if err != nil {
		return "", err
	}
	n, err := strconv.Atoi(strings.TrimSuffix(head, ":"))
	if err != nil || n < 0 {
		return "", fmt.Errorf("bad netstring length %q", head)
	}
	buf := make([]byte, n+1)
	if _, err := io.ReadFull(r, buf); err != nil {
		return "", err
	}
	return string(buf[:n]), nil
}

// Hello says hello with a secret.
func (p *Peer) Hello(secret string) error { return p.Send("hello " + secret) }

// Send writes one frame.
func (p *Peer) Send(payload string) error {
	return p.SendRaw([]byte(strconv.Itoa(len(payload)) + ":" + payload + ","))
}

// SendRaw writes bytes without a frame around them.
func (p *Peer) SendRaw(data []byte) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, err := p.conn.Write(data)
	return err
}

// Next returns the next frame; io.EOF once Kamailio has closed the connection.
func (p *Peer) Next(ctx context.Context) (Event, error) {
	select {
	case frame, ok := <-p.frames:
		if !ok {
			return Event{}, io.EOF
		}
		return decodeEvent(frame)
	case <-ctx.Done():
		return Event{}, ctx.Err()
	}
}

// NextOf returns the next frame with that method and drops those before it.
func (p *Peer) NextOf(ctx context.Context, method string) (Event, error) {
	for {
		ev, err := p.Next(ctx)
		if err != nil {
			return ev, fmt.Errorf("waiting for %s: %w", method, err)
		}
		if ev.Method == method {
			return ev, nil
		}
	}
}

// Pending is the number of frames that have been read and not been taken.
func (p *Peer) Pending() int { return len(p.frames) }

// Close closes the connection and waits for the reader.
func (p *Peer) Close() error {
	var err error
	p.once.Do(func() {
		close(p.gone)
		err = p.conn.Close()
	})
	p.read.Wait()
	return err
}

func decodeEvent(frame string) (Event, error) {
	var raw struct {
		Method string                     `json:"method"`
		Params map[string]json.RawMessage `json:"params"`
	}
	if err := json.Unmarshal([]byte(frame), &raw); err != nil {
		return Event{}, fmt.Errorf("frame %.200q: %w", frame, err)
	}
	ev := Event{Method: raw.Method, Params: make(map[string]string, len(raw.Params)), Raw: frame}
	for name, value := range raw.Params {
		var s string
		if json.Unmarshal(value, &s) != nil {
			s = string(value)
		}
		ev.Params[name] = s
	}
	return ev, nil
}
