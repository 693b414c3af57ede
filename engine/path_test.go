package engine

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"imcd/evapi"
	"imcd/evapi/sipmsg"
)

func TestPath(t *testing.T) {
	t.Parallel()
	own, other := markOf("a@x.org"), markOf("b@x.org")
	for _, tt := range []struct {
		headers []string
		loops   bool
		next    string // the value behind room a; empty: it begins a path
	}{
		{nil, false, ""},
		{[]string{"r-1." + other}, false, "r-1." + other + "." + own},
		{[]string{" r-1." + other + " "}, false, "r-1." + other + "." + own},
		{[]string{"r-1." + own}, true, "r-1." + own + "." + own},
		{[]string{"r-1." + other + "." + own}, true, ""},
		{[]string{"r-1.z.y." + other}, true, ""},
		{[]string{"r-1.z.y.x." + other}, true, ""},
		{[]string{"r-1.z", "r-2." + own}, true, ""},
		{[]string{"r-1"}, false, ""},
		{[]string{""}, false, ""},
		{[]string{"." + own}, false, ""},
		{[]string{"r-1." + own + "."}, false, ""},
		{[]string{"r-1." + own + ".A"}, false, ""},
		{[]string{strings.Repeat("r", maxPathID+1) + "." + own}, false, ""},
		{[]string{"r-1." + strings.Repeat("a", maxMark+1)}, false, ""},
		{[]string{"r-1.a.b.c.d.e"}, false, ""},
	} {
		var p path
		for _, h := range tt.headers {
			p.add(h)
		}
		if p.loops("a@x.org") != tt.loops {
			t.Errorf("%q: loops: %v", tt.headers, !tt.loops)
		}
		if next := p.through(own); next != tt.next && !tt.loops {
			t.Errorf("%q: goes on as %q, not %q", tt.headers, next, tt.next)
		}
	}
}

func FuzzPath(f *testing.F) {
	f.Add("r-1.a.b", "x.y")
	f.Fuzz(func(t *testing.T, a, b string) {
		var p path
		p.add(a)
		p.add(b)
		if len(p.rooms) > 2*(maxPath+1) || len(p.id) > maxPathID || !onlyOf(p.id, pathChars) {
			t.Fatalf("%+v", p)
		}
		if next := p.through("a"); len(next) > maxPathID+(len(p.rooms)+1)*(maxMark+1) ||
			strings.ContainsAny(next, "\r\n \x00") {
			t.Fatalf("%q", next)
		}
	})
}

// servers are engines whose rooms are each other's members: what one sends to a room of
// another comes to that as a request.
type servers struct {
	t      *testing.T
	houses map[string]*house // by domain
	passed int               // requests from server to server
}

// settle passes on what the servers have sent until that is nothing; it gives the copies
// of users. It fails after most requests.
func (s *servers) settle(most int) []string {
	s.t.Helper()
	var heard []string
	for busy := true; busy; {
		busy = false
		for domain, h := range s.houses {
			h.quiet()
			for _, c := range h.relay.take() {
				user, host, _ := strings.Cut(strings.TrimPrefix(c.to, "sip:"), "@")
				target := s.houses[host]
				if target == nil || !strings.HasPrefix(user, "chat-") {
					heard = append(heard, domain+" "+user+": "+c.body)
					continue
				}
				busy = true
				if s.passed++; s.passed > most {
					s.t.Fatalf("%d requests between the servers, and no end", s.passed)
				}
				s.pass(target, c)
			}
		}
	}
	return heard
}

// pass hands a copy to another server.
func (s *servers) pass(to *house, c got) {
	s.t.Helper()
	_, headers, _ := strings.Cut(c.headers, "Content-Type: ")
	raw := "MESSAGE " + c.to + " SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:5;branch=z9hG4bK1\r\nFrom: " + c.from +
		";tag=1\r\nTo: <" + c.to +
		">\r\nCall-ID: " + c.callID + "\r\nCSeq: 1 MESSAGE\r\nContent-Type: " + headers + "\r\n" + c.body
	m := &evapi.Message{Received: time.Now(), RURI: c.to}
	if m.Request, m.Err = sipmsg.ParseRequest([]byte(raw)); m.Err != nil {
		s.t.Fatalf("%v:\n%s", m.Err, raw)
	}
	if a := <-to.send(m); a.Code != 200 && a.Code != 482 {
		s.t.Errorf("%s to %s: %d %s", c.from, c.to, a.Code, a.Reason)
	}
}

// newServers makes two servers with the same number of rooms, each of which has all rooms
// of the other as members, and a user of its own.
func newServers(t *testing.T, rooms int) *servers {
	s := &servers{t: t, houses: map[string]*house{}}
	for _, domain := range []string{"a.test", "b.test"} {
		s.houses[domain] = newHouse(t, nil)
	}
	for domain, h := range s.houses {
		peer := map[string]string{"a.test": "b.test", "b.test": "a.test"}[domain]
		for i := range rooms {
			room := fmt.Sprintf("chat-%d@%s", i, domain)
			<-h.post("<sip:owner@"+domain+">", room, "#create")
			<-h.post(fmt.Sprintf("<sip:user%d@%s>", i, domain), room, "#join")
			for j := range rooms {
				<-h.post("<sip:owner@"+domain+">", room, fmt.Sprintf("#add chat-%d@%s", j, peer))
			}
		}
	}
	s.settle(1000)
	s.passed = 0
	return s
}

// TestRoomsOfTwoServers: what is said reaches everybody once, and ends; a picture, which
// nothing is put before, as well. Commands are none on the other side.
func TestRoomsOfTwoServers(t *testing.T) {
	for _, rooms := range []int{1, 2, 3} {
		for _, what := range []struct{ body, header string }{{"hello", ""}, {"PNG", "Content-Type: image/png\r\n"},
			{"##leave", ""}} {
			s := newServers(t, rooms)
			h := s.houses["a.test"]
			if a := <-h.post(`"M" <sip:owner@a.test>`, "chat-0@a.test", what.body, what.header); a.Code != 200 {
				t.Fatal(a)
			}
			heard := s.settle(1000)
			times := map[string]int{}
			for _, line := range heard {
				who, body, _ := strings.Cut(line, ": ")
				if !strings.Contains(body, strings.TrimPrefix(what.body, "#")) {
					t.Errorf("%d rooms: %s", rooms, line)
				}
				times[who]++
			}
			for domain := range s.houses {
				for i := range rooms {
					who := fmt.Sprintf("%s user%d", domain, i)
					if times[who] != 1 {
						t.Errorf("%d rooms, %s: %s heard it %d times", rooms, what.body, who, times[who])
					}
				}
			}
		}
	}
}

// TestLoopIsRefused: with 482 and without a notice; the loop of a member is no fault that
// limits count.
func TestLoopIsRefused(t *testing.T) {
	h := pair(t, nil)
	own := "X-IMC-Path: abc-1." + markOf("r@x.org") + "\r\n"
	for _, from := range []string{"alice", "eve"} {
		h.want(h.say(from, "r", "hello", own), 482, -202)
		h.want(h.say(from, "r", "hello", "X-IMC-Path: abc-1.x.y.z\r\n"), 482, -202)
	}
	h.wantHeard()
	h.want(h.say("alice", "r", "hello", "X-IMC-Path: abc-2.x.y\r\n"), 200, 1)
	h.wantHeard("bob<r: [alice]: hello")
	h.want(h.say("bob", "r", "hello", "X-IMC-Path: abc-2.z\r\n"), 200, 1) // has come another way
	h.wantHeard()
	h.want(h.say("eve", "r", "hello", "X-IMC-Path: abc-3.z\r\n"), 403, -202)
	h.want(h.say("alice", "r", "hello", "X-IMC-Path: abc-3.y\r\n"), 200, 1) // a stranger cannot be first
	h.wantHeard("bob<r: [alice]: hello")
}
