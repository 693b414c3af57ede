package evapi_test

import (
	"bytes"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"

	"imcd/evapi/sipmsg"
)

// sink is a SIP user agent that answers every MESSAGE with 200 and counts the
// transactions per Call-ID. A retransmission is no new transaction.
type sink struct {
	pc    net.PacketConn
	buf   []byte                                 // of step
	check func(callID string, body []byte) error // called by who answers

	mu       sync.Mutex
	branches map[string]map[string]bool // by Call-ID
	heads    map[string]string          // head of the last request, by Call-ID
	problems []string
}

// sinkQueue is how many requests a sink may have read and not answered. The kernel's queue is for a few dozen large
// ones only, whatever it is asked for: what is sent while a busy machine runs something else would be lost.
const sinkQueue = 4096

// newSink returns a sink that answers at once.
func newSink(t *testing.T, check func(callID string, body []byte) error) *sink {
	t.Helper()
	s := newSlowSink(t, check)
	done := make(chan struct{})
	received := make(chan func(), sinkQueue)
	go func() {
		defer close(received)
		for {
			answer, ok := s.step()
			if !ok {
				return
			}
			received <- answer
		}
	}()
	go func() {
		defer close(done)
		for answer := range received {
			answer()
		}
	}()
	t.Cleanup(func() {
		s.pc.Close()
		<-done
	})
	return s
}

// newSlowSink returns a sink whose step the test calls.
func newSlowSink(t *testing.T, check func(callID string, body []byte) error) *sink {
	t.Helper()
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := pc.(*net.UDPConn).SetReadBuffer(8 << 20); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { pc.Close() })
	return &sink{pc: pc, buf: make([]byte, 65536), check: check, branches: map[string]map[string]bool{},
		heads: map[string]string{}}
}

func (s *sink) uri() string { return "sip:" + s.pc.LocalAddr().String() }

// step takes one request; false once the sink is closed. What it returns sends
// the answer.
func (s *sink) step() (answer func(), ok bool) {
	n, from, err := s.pc.ReadFrom(s.buf)
	if err != nil {
		return nil, false
	}
	raw := bytes.Clone(s.buf[:n])
	return func() {
		if reply := s.take(raw); reply != nil {
			_, _ = s.pc.WriteTo(reply, from)
		}
	}, true
}

func (s *sink) take(raw []byte) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	req, err := sipmsg.ParseRequest(raw)
	if err != nil {
		s.problems = append(s.problems, err.Error())
		return nil
	}
	callID := req.CallID().Value()
	head, _, _ := bytes.Cut(raw, []byte("\r\n\r\n"))
	var answer bytes.Buffer
	answer.WriteString("SIP/2.0 200 OK\r\n")
	branch := ""
	for _, line := range strings.Split(string(head), "\r\n") {
		name, value, _ := strings.Cut(line, ":")
		switch name {
		case "Via":
			branch += value
		case "From", "Call-ID", "CSeq":
		case "To":
			line += ";tag=sink"
		default:
			continue
		}
		answer.WriteString(line + "\r\n")
	}
	answer.WriteString("Content-Length: 0\r\n\r\n")
	if s.branches[callID] == nil {
		s.branches[callID] = map[string]bool{}
	}
	if s.branches[callID][branch] {
		return answer.Bytes()
	}
	s.branches[callID][branch] = true
	s.heads[callID] = string(head)
	if s.check != nil {
		if err := s.check(callID, req.Body()); err != nil {
			s.problems = append(s.problems, callID+": "+err.Error())
		}
	}
	return answer.Bytes()
}

// counts returns how many Call-IDs came, and how many of them more than once.
func (s *sink) counts() (ids, twice int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, b := range s.branches {
		if len(b) > 1 {
			twice++
		}
	}
	return len(s.branches), twice
}

func (s *sink) head(callID string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.heads[callID]
}

func (s *sink) trouble() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.problems)
}
