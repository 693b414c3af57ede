package evapi_test

import (
	"context"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"imcd/evapi"
	"imcd/evapi/evapitest"
)

// throughLocal has a Kamailio pass copies for a next hop elsewhere on as they are.
const throughLocal = "#!define IMC_THROUGH 1\n"

// nextHop is a next hop whose responses a test writes by itself.
type nextHop struct{ pc *net.UDPConn }

func newNextHop(t *testing.T) *nextHop {
	t.Helper()
	pc, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { pc.Close() })
	return &nextHop{pc}
}

func (h *nextHop) uri() string { return "sip:" + h.pc.LocalAddr().String() }

// take returns the headers of the next request by name, its request line as "", and
// where it came from. A name that stands twice has both values, a comma between.
func (h *nextHop) take(t *testing.T) (map[string]string, *net.UDPAddr) {
	t.Helper()
	buf := make([]byte, 65536)
	if err := h.pc.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	n, from, err := h.pc.ReadFromUDP(buf)
	if err != nil {
		t.Fatal("no request at the next hop:", err)
	}
	head, _, _ := strings.Cut(string(buf[:n]), "\r\n\r\n")
	lines := strings.Split(head, "\r\n")
	headers := map[string]string{"": lines[0]}
	for _, line := range lines[1:] {
		name, value, _ := strings.Cut(line, ": ")
		if headers[name] != "" {
			value = headers[name] + ", " + value
		}
		headers[name] = value
	}
	return headers, from
}

// send sends a message whose head begins with top; a response has a tag in To.
func (h *nextHop) send(t *testing.T, to *net.UDPAddr, top string, req map[string]string) {
	t.Helper()
	tag := ""
	if strings.HasPrefix(top, "SIP/2.0 ") {
		tag = ";tag=hop"
	}
	_, err := h.pc.WriteTo(fmt.Appendf(nil, "%s\r\nFrom: %s\r\nTo: %s%s\r\nCall-ID: %s\r\nCSeq: %s\r\nContent-Length: 0\r\n\r\n",
		top, req["From"], req["To"], tag, req["Call-ID"], req["CSeq"]), to)
	if err != nil {
		t.Fatal(err)
	}
}

// TestThrough: copies go to the next hop with the Via of Kamailio alone, and every
// legal form of a response to them is heard.
func TestThrough(t *testing.T) {
	t.Parallel()
	for name, local := range map[string]string{"as it is": throughLocal, "with a log": throughLocal + "#!define IMC_LOG\n"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			passThrough(t, local)
		})
	}
}

func passThrough(t *testing.T, local string) {
	k := startKamailio(t, evapitest.Options{IMCLocal: local})
	hop := newNextHop(t)
	results := make(chan evapi.Result, 100)
	c := connect(t, k, evapi.LaneSIP, hop.uri(), newEvents(func(r evapi.Result) { results <- r }))
	out := mustOutgoing(t, "x")
	tests := []struct {
		name string
		top  string // VIA and BRANCH stand for those of the copy
		want int
		wait time.Duration
	}{
		{"usual", "SIP/2.0 200 OK\r\nVia: VIA", 200, 0},
		{"port filled in", "SIP/2.0 202 Accepted\r\nVia: SIP/2.0/UDP KAM;branch=BRANCH;rport=PORT;received=127.0.0.1", 202, 0},
		{"another order", "SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP KAM;rport=PORT;branch=BRANCH", 200, 0},
		{"short name", "SIP/2.0 200 OK\r\nv: SIP/2.0/UDP KAM ;branch=BRANCH", 200, 0},
		{"Via not first", "SIP/2.0 200 OK\r\nServer: a;b;c\r\nVia: VIA", 200, 0},
		{"folded", "SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP KAM\r\n ;rport\r\n ;branch=BRANCH", 200, 0},
		{"much of it", "SIP/2.0 200 OK\r\nVia: VIA\r\nX-Much: " + strings.Repeat("x", 40000), 200, 0},
		{"refused", "SIP/2.0 503 Busy; later\r\nVia: VIA\r\nRetry-After: 17", 503, 17 * time.Second},
	}
	for i, tt := range tests {
		if err := c.Send(evapi.Copy{Out: out, To: "sip:bob@example.org", CallID: fmt.Sprint("id-", i)}); err != nil {
			t.Fatal(err)
		}
		req, from := hop.take(t)
		via, branch, _ := strings.Cut(req["Via"], ";branch=")
		branch, rport, _ := strings.Cut(branch, ";")
		if from.String() != k.SIPAddr() || via != "SIP/2.0/UDP "+k.SIPAddr() || rport != "rport" || req[""] != "MESSAGE sip:bob@example.org SIP/2.0" {
			t.Errorf("%s: from %v: %v", tt.name, from, req)
		}
		top := strings.NewReplacer("VIA", req["Via"], "KAM", k.SIPAddr(), "BRANCH", branch, "PORT", fmt.Sprint(from.Port)).Replace(tt.top)
		hop.send(t, from, top, req)
		if r := await(t, "result: "+tt.name, results); r.Local || r.Code != tt.want || r.RetryAfter != tt.wait || r.CallID != fmt.Sprint("id-", i) {
			t.Errorf("%s: %+v, want %d", tt.name, r, tt.want)
		}
	}
	if st := c.Stats(); st.SIPSent != uint64(len(tests)) || st.SIPStray != 0 || st.Errors != 0 {
		t.Errorf("%+v", st)
	}
}

// TestThroughOthers: what is not imcd's takes its way as ever, whatever it looks like,
// and brings nothing to the next hop.
func TestThroughOthers(t *testing.T) {
	t.Parallel()
	k := startKamailio(t, evapitest.Options{IMCLocal: throughLocal})
	hop := newNextHop(t)
	results := make(chan evapi.Result, 100)
	c := connect(t, k, evapi.LaneSIP, hop.uri(), newEvents(func(r evapi.Result) { results <- r }))
	bob := newDevice(t, k, "bob", "udp", 200)
	bind(t, bob.ua, "<"+bob.ua.Contact()+">")
	stranger := newNextHop(t)
	kam, err := net.ResolveUDPAddr("udp4", k.SIPAddr())
	if err != nil {
		t.Fatal(err)
	}
	const branch = "z9hG4bK.imcopyabc-0123456789abcdef"
	send := func(via string) {
		t.Helper()
		req := map[string]string{"From": "<sip:eve@example.org>;tag=e", "To": "<sip:bob@example.org>", "Call-ID": "eve", "CSeq": "1 MESSAGE"}
		stranger.send(t, kam, "MESSAGE sip:bob@example.org SIP/2.0\r\nMax-Forwards: 9\r\nVia: "+via, req)
	}
	own := stranger.pc.LocalAddr().String()
	// As if imcd's: no routing may take it for a user's.
	send("SIP/2.0/UDP " + k.SIPAddr() + ";rport;branch=" + branch)
	if got := status(t, stranger); got != "SIP/2.0 503 Not from here now" {
		t.Errorf("a copy of nobody's: %q", got)
	}
	// As another Kamailio's, whose copies pass like that, too: a message like any other.
	send("SIP/2.0/UDP " + own + ";rport;branch=" + branch)
	if got := status(t, stranger); got != "SIP/2.0 200 OK" {
		t.Errorf("another Kamailio's copy: %q", got)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if m, err := bob.ua.Next(ctx); err != nil || m.CallID != "eve" {
		t.Errorf("%v, %v", m, err)
	}
	// Responses to nothing, and requests that look like responses.
	for _, top := range []string{"SIP/2.0 200 OK", "MESSAGE sip:bob@example.org SIP/2.0"} {
		stranger.send(t, kam, top+"\r\nVia: SIP/2.0/UDP "+k.SIPAddr()+";branch="+branch,
			map[string]string{"From": "<sip:e@h>;tag=e", "To": "<sip:b@h>", "Call-ID": "x", "CSeq": "1 MESSAGE"})
	}
	eventually(t, "imcd to have seen them", func() bool { return c.Stats().SIPStray == 2 })
	// And a copy behind all that, the first thing the next hop hears.
	if err := c.Send(evapi.Copy{Out: mustOutgoing(t, "x"), To: "sip:bob@example.org", CallID: "mine"}); err != nil {
		t.Fatal(err)
	}
	req, from := hop.take(t)
	hop.send(t, from, "SIP/2.0 200 OK\r\nVia: "+req["Via"], req)
	if r := await(t, "result", results); req["Call-ID"] != "mine" || r.CallID != "mine" || r.Code != 200 {
		t.Errorf("%v, %+v", req, r)
	}
}

// status returns the status line of the next response that h hears.
func status(t *testing.T, h *nextHop) string {
	t.Helper()
	headers, _ := h.take(t)
	return headers[""]
}

// TestThroughAway: a response reaches the imcd that sent the copy also when Kamailio's
// evapi connection is not that one's any more.
func TestThroughAway(t *testing.T) {
	t.Parallel()
	k := startKamailio(t, evapitest.Options{IMCLocal: throughLocal})
	hop := newNextHop(t)
	results := make(chan evapi.Result, 100)
	c := connect(t, k, evapi.LaneSIP, hop.uri(), newEvents(func(r evapi.Result) { results <- r }))
	if err := c.Send(evapi.Copy{Out: mustOutgoing(t, "x"), To: "sip:bob@example.org", CallID: "one"}); err != nil {
		t.Fatal(err)
	}
	req, from := hop.take(t)
	connect(t, k, evapi.LaneRPC, "", newEvents(nil)) // takes its place
	hop.send(t, from, "SIP/2.0 200 OK\r\nVia: "+req["Via"], req)
	if r := await(t, "result", results); r.CallID != "one" || r.Code != 200 {
		t.Errorf("%+v", r)
	}
}
