package chatter_test

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"
	"go.uber.org/goleak"

	"imcd/cmd/internal/chatter"
	"imcd/cmd/internal/judge"
	"imcd/evapi/evapitest/kit"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const lounge = "sip:chat-lounge@x.org"

// service is in the place of Kamailio and imcd. It refuses each message once, then stores it and sends
// copies to all who have registered.
type service struct {
	conn *net.UDPConn
	lose string // who gets no copies; empty: nobody

	mu       sync.Mutex
	contacts map[string]*net.UDPAddr // by user; by mu
	tries    map[string]int          // by Call-ID and branch; by mu
	stored   []judge.Row             // by mu
}

func newService(t *testing.T, lose string) *service {
	conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	s := &service{conn: conn, lose: lose, contacts: make(map[string]*net.UDPAddr), tries: make(map[string]int)}
	var all sync.WaitGroup
	all.Go(s.run)
	t.Cleanup(func() {
		_ = conn.Close() // once
		all.Wait()
	})
	return s
}

func (s *service) run() {
	buf := make([]byte, 65536)
	for {
		n, from, err := s.conn.ReadFromUDP(buf)
		if err != nil {
			return
		}
		msg, err := sip.NewParser().ParseSIP(slices.Clone(buf[:n]))
		if req, ok := msg.(*sip.Request); ok && err == nil {
			code := s.take(req, from)
			_, _ = s.conn.WriteToUDP([]byte(sip.NewResponseFromRequest(req, code, "As you say", nil).String()), from)
		}
	}
}

// take returns the answer to a request.
func (s *service) take(req *sip.Request, from *net.UDPAddr) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	sender := req.From().Address.User
	if req.Method == sip.REGISTER {
		s.contacts[sender] = from
		return 200
	}
	id := req.CallID().Value()
	if s.tries[id]++; s.tries[id] == 1 {
		return 503
	}
	if s.tries[id] > 2 {
		return 200
	}
	s.stored = append(s.stored, judge.Row{Room: req.To().Address.Addr(), Seq: int64(len(s.stored) + 1),
		Body: string(req.Body())})
	for user, contact := range s.contacts {
		if user != sender && user != s.lose {
			body := fmt.Sprintf("[%s]: %s", sender, req.Body())
			_, _ = fmt.Fprintf(writer{s.conn, contact}, "MESSAGE sip:%s@x.org SIP/2.0\r\n"+
				"Via: SIP/2.0/UDP %s;branch=z9hG4bK%s%s\r\n"+
				"From: <%s>;tag=1\r\nTo: <sip:%s@x.org>\r\nCall-ID: %s-%s\r\nCSeq: 1 MESSAGE\r\nContent-Length: %d\r\n\r\n%s",
				user, s.conn.LocalAddr(), id, user, lounge, user, id, user, len(body), body)
		}
	}
	return 202
}

// writer sends to one address.
type writer struct {
	conn *net.UDPConn
	to   *net.UDPAddr
}

func (w writer) Write(p []byte) (int, error) { return w.conn.WriteToUDP(p, w.to) }

// talk lets four phones talk at a service for a while.
func talk(t *testing.T, s *service) (*chatter.Crowd, []string) {
	members := []string{"alice", "bob", "carol", "dave"}
	c, err := chatter.New(kit.Context(t), chatter.Options{Domain: "x.org", Proxies: []string{s.conn.LocalAddr().String()},
		Rooms: []chatter.Room{{URI: lounge, Members: members}}, Rate: 200})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	c.Talk()
	kit.Eventually(t, "messages are accepted", func() bool { return c.Log().Accepted() > 20 })
	c.Hush()
	return c, members
}

// TestCrowdWritesDownWhatHappened: each message is refused once and accepted then, and reaches all. The
// judge believes that, and finds a row that is taken away.
func TestCrowdWritesDownWhatHappened(t *testing.T) {
	s := newService(t, "")
	c, members := talk(t, s)
	if err := c.Settle(kit.Context(t)); err != nil {
		t.Error(err)
	}
	n := c.Log().Accepted()
	codes := c.Log().Codes()
	copies, firsts := c.Log().Copies()
	if codes[503] != n || codes[202] != n || codes[0] > 0 || firsts != 3*n || copies != firsts || c.Dropped() > 0 {
		t.Errorf("%d accepted, codes %v, %d copies, %d first, %d dropped", n, codes, copies, firsts, c.Dropped())
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	e := c.Log().Evidence(map[string][]string{lounge: members})
	e.Stored, e.Heads = s.stored, map[string]int64{lounge: int64(n)}
	if err := judge.Judge(e).Err(); err != nil {
		t.Error(err)
	}
	e.Stored = e.Stored[:n-1]
	if v := judge.Judge(e); v[0].Wrong != 1 || v[2].Wrong != 1 || v[3].Wrong != 3 {
		t.Errorf("without a row: %v", v.Err())
	}
	if silences := c.Silences(); len(silences) != 1 || silences[0].Took < 200*time.Millisecond {
		t.Errorf("each message takes two tries, and the silences are %v", silences)
	}
}

// TestCrowdMissesCopies: who gets nothing is found.
func TestCrowdMissesCopies(t *testing.T) {
	c, _ := talk(t, newService(t, "carol"))
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := c.Settle(ctx); err == nil || !strings.Contains(err.Error(), "copies have not arrived") {
		t.Errorf("carol has everything: %v", err)
	}
}
