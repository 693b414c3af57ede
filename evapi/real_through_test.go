package evapi_test

import (
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"imcd/evapi"
	"imcd/evapi/evapitest"
	"imcd/evapi/evapitest/kit"
)

// throughLocal has a Kamailio pass copies for a next hop elsewhere on as they are.
const throughLocal = "#!define IMC_THROUGH 1\n"

// rawUA is a user agent, or next hop, whose messages a test writes by itself.
type rawUA struct{ pc *net.UDPConn }

func newRawUA(t *testing.T) *rawUA {
	t.Helper()
	pc, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { pc.Close() })
	return &rawUA{pc}
}

func (h *rawUA) uri() string { return "sip:" + h.pc.LocalAddr().String() }

// take returns the headers of the next message by name, its first line as "", and where
// it came from. A name that stands twice has both values, a comma between.
func (h *rawUA) take(t *testing.T) (map[string]string, *net.UDPAddr) {
	t.Helper()
	buf := make([]byte, 65536)
	if err := h.pc.SetReadDeadline(time.Now().Add(kit.Patience)); err != nil {
		t.Fatal(err)
	}
	n, from, err := h.pc.ReadFromUDP(buf)
	if err != nil {
		t.Fatal("no message came:", err)
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
func (h *rawUA) send(t *testing.T, to *net.UDPAddr, top string, req map[string]string) {
	t.Helper()
	tag := ""
	if strings.HasPrefix(top, "SIP/2.0 ") {
		tag = ";tag=hop"
	}
	_, err := h.pc.WriteTo(fmt.Appendf(nil, "%s\r\nFrom: %s\r\nTo: %s%s\r\nCall-ID: %s\r\nCSeq: %s\r\n"+
		"Content-Length: 0\r\n\r\n",
		top, req["From"], req["To"], tag, req["Call-ID"], req["CSeq"]), to)
	if err != nil {
		t.Fatal(err)
	}
}

// startThrough connects to a Kamailio that passes copies for a raw next hop on as they
// are; local is added to its settings.
func startThrough(t *testing.T, local string) (*evapitest.Kamailio, *rawUA, *evapi.Conn, <-chan evapi.Result) {
	t.Helper()
	k, hop, results := kit.Kamailio(t, evapitest.Options{IMCLocal: throughLocal + local}), newRawUA(t),
		make(chan evapi.Result, 100)
	c := connect(t, k, evapi.LaneSIP, hop.uri(), newEvents(func(r evapi.Result) { results <- r }))
	return k, hop, c, results
}

// leftLocal logs what does not pass as it is: a line with LEFT and its first word.
const leftLocal = `#!define IMC_OWN_RECEIVED 1
event_route[core:msg-received] {
	route(IMC_RECEIVED);
	xlog("L_ERR", "LEFT $(rcv(buf){s.select,0, })\n");
}
`

// TestThrough: copies go to the next hop with the Via of Kamailio alone, and every
// legal form of a response to them is heard.
func TestThrough(t *testing.T) {
	t.Parallel()
	t.Run("as it is", func(t *testing.T) {
		t.Parallel()
		passThrough(t, "", false)
	})
	t.Run("with a log", func(t *testing.T) {
		t.Parallel()
		passThrough(t, "#!define IMC_LOG\n", true)
	})
}

// passThrough sends copies; if logged, none of them passes at once.
func passThrough(t *testing.T, local string, logged bool) {
	k, hop, c, results := startThrough(t, local+leftLocal)
	out := mustOutgoing(t, "x")
	tests := []struct {
		name string
		top  string // VIA and BRANCH stand for those of the copy
		want int
		wait time.Duration
		left bool // it is one that does not pass at once
	}{
		{"usual", "SIP/2.0 200 OK\r\nVia: VIA", 200, 0, false},
		{"port filled in", "SIP/2.0 202 Accepted\r\nVia: SIP/2.0/UDP KAM;branch=BRANCH;rport=PORT;received=127.0.0.1", 202,
			0, false},
		{"another order", "SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP KAM;rport=PORT;branch=BRANCH", 200, 0, true},
		{"short name", "SIP/2.0 200 OK\r\nv: SIP/2.0/UDP KAM ;branch=BRANCH", 200, 0, false},
		{"Via not first", "SIP/2.0 200 OK\r\nServer: a;b;c\r\nVia: VIA", 200, 0, true},
		{"folded", "SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP KAM\r\n ;rport\r\n ;branch=BRANCH", 200, 0, true},
		{"much of it", "SIP/2.0 200 OK\r\nVia: VIA\r\nX-Much: " + strings.Repeat("x", 40000), 200, 0, true},
		{"refused", "SIP/2.0 503 Busy; later\r\nVia: VIA\r\nRetry-After: 17", 503, 17 * time.Second, true},
	}
	requests, responses := 0, 0 // that were left
	for i, tt := range tests {
		if logged {
			requests++
		}
		if tt.left {
			responses++
		}
		if err := c.Send(evapi.Copy{Out: out, To: "sip:bob@example.org", CallID: fmt.Sprint("id-", i)}); err != nil {
			t.Fatal(err)
		}
		req, from := hop.take(t)
		via, branch, _ := strings.Cut(req["Via"], ";branch=")
		branch, rport, _ := strings.Cut(branch, ";")
		if from.String() != k.SIPAddr() || via != "SIP/2.0/UDP "+k.SIPAddr() || rport != "rport" ||
			req[""] != "MESSAGE sip:bob@example.org SIP/2.0" {
			t.Errorf("%s: from %v: %v", tt.name, from, req)
		}
		top := strings.NewReplacer("VIA", req["Via"], "KAM", k.SIPAddr(), "BRANCH", branch, "PORT",
			fmt.Sprint(from.Port)).Replace(tt.top)
		hop.send(t, from, top, req)
		if r := kit.Await(t, "result: "+tt.name, results); r.Local || r.Code != tt.want || r.RetryAfter != tt.wait ||
			r.CallID != fmt.Sprint("id-", i) {
			t.Errorf("%s: %+v, want %d", tt.name, r, tt.want)
		}
	}
	left := func(what string) int { return strings.Count(k.LogTail(), "LEFT "+what) }
	// The last response was one of them.
	kit.Eventually(t, "what did not pass at once in the log", func() bool { return left("SIP/2.0") >= responses })
	if n, m := left("MESSAGE"), left("SIP/2.0"); n != requests || m != responses {
		t.Errorf("%d copies and %d responses did not pass at once, want %d and %d", n, m, requests, responses)
	}
	// On a slow machine imcd asks again with OPTIONS, and awaits no answer to the first one any more.
	if st := c.Stats(); st.SIPSent != uint64(len(tests)) || st.SIPStray >= uint64(left("OPTIONS")) || st.Errors != 0 {
		t.Errorf("%+v", st)
	}
}

// TestThroughOthers: what is not imcd's takes its way as ever, whatever it looks like,
// and brings nothing to the next hop.
func TestThroughOthers(t *testing.T) {
	t.Parallel()
	k, hop, c, results := startThrough(t, "")
	bob := newDevice(t, k, "bob", "udp", 200)
	bind(t, bob.ua, "<"+bob.ua.Contact()+">")
	stranger := newRawUA(t)
	kam, err := net.ResolveUDPAddr("udp4", k.SIPAddr())
	if err != nil {
		t.Fatal(err)
	}
	const branch = "z9hG4bK.imcopy-abc-0123456789abcdef"
	send := func(callID, via string) { // another one each time, or it is a retransmission
		t.Helper()
		req := map[string]string{"From": "<sip:eve@example.org>;tag=e", "To": "<sip:bob@example.org>", "Call-ID": callID,
			"CSeq": "1 MESSAGE"}
		stranger.send(t, kam, "MESSAGE sip:bob@example.org SIP/2.0\r\nMax-Forwards: 9\r\nVia: "+via, req)
	}
	own := stranger.pc.LocalAddr().String()
	// As if imcd's: no routing may take it for a user's.
	send("own", "SIP/2.0/UDP "+k.SIPAddr()+";branch="+branch+";rport")
	if got := status(t, stranger); got != "SIP/2.0 503 Not from here now" {
		t.Errorf("a copy of nobody's: %q", got)
	}
	// As another Kamailio's, which has let it pass: a message like any other.
	send("another", "SIP/2.0/UDP "+own+";branch="+branch+";rport")
	if got := status(t, stranger); got != "SIP/2.0 200 OK" {
		t.Errorf("another Kamailio's copy: %q", got)
	}
	ctx := kit.Context(t)
	if m, err := bob.ua.Next(ctx); err != nil || m.CallID != "another" {
		t.Errorf("%v, %v", m, err)
	}
	// A request whose URI has what a response has in its Via.
	req := map[string]string{"From": "<sip:eve@example.org>;tag=e", "To": "<sip:nobody@example.org>", "Call-ID": "param",
		"CSeq": "1 MESSAGE"}
	stranger.send(t, kam, "MESSAGE sip:nobody@example.org;branch="+branch+" SIP/2.0\r\nMax-Forwards: 9\r\nVia: "+
		"SIP/2.0/UDP "+own+";branch=z9hG4bKp", req)
	if got := status(t, stranger); got != "SIP/2.0 404 Not Found" {
		t.Errorf("a request with a parameter: %q", got)
	}
	// What is no SIP makes no trouble on its way, and a response to nothing is no harm.
	for _, junk := range []string{strings.Repeat("x", 64), strings.Repeat(";", 64), "SIP/2.0 200 OK;;\r\n" +
		strings.Repeat("\x00", 64)} {
		if _, err := stranger.pc.WriteTo([]byte(junk), kam); err != nil {
			t.Fatal(err)
		}
	}
	stranger.send(t, kam, "SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP "+k.SIPAddr()+";branch="+branch, req)
	kit.Eventually(t, "imcd to have seen it", func() bool { return c.Stats().SIPStray == 1 })
	if log := k.LogTail(); strings.Contains(log, "pv_trans") || strings.Contains(log, "tr_eval") {
		t.Error("a transformation of imc.cfg failed")
	}
	// And a copy behind all that, the first thing the next hop hears.
	if err := c.Send(evapi.Copy{Out: mustOutgoing(t, "x"), To: "sip:bob@example.org", CallID: "mine"}); err != nil {
		t.Fatal(err)
	}
	req, from := hop.take(t)
	hop.send(t, from, "SIP/2.0 200 OK\r\nVia: "+req["Via"], req)
	if r := kit.Await(t, "result", results); req["Call-ID"] != "mine" || r.CallID != "mine" || r.Code != 200 {
		t.Errorf("%v, %+v", req, r)
	}
}

// status returns the status line of the next response that h hears.
func status(t *testing.T, h *rawUA) string {
	t.Helper()
	headers, _ := h.take(t)
	return headers[""]
}

// TestThroughAway: a response reaches the imcd that sent the copy also when the
// connection is another one's, unless that has said where it sends copies from.
func TestThroughAway(t *testing.T) {
	t.Parallel()
	k, hop, c, results := startThrough(t, "")
	if err := c.Send(evapi.Copy{Out: mustOutgoing(t, "x"), To: "sip:bob@example.org", CallID: "one"}); err != nil {
		t.Fatal(err)
	}
	req, from := hop.take(t)
	connect(t, k, evapi.LaneRPC, "", newEvents(nil)) // takes its place
	hop.send(t, from, "SIP/2.0 200 OK\r\nVia: "+req["Via"], req)
	if r := kit.Await(t, "result", results); r.CallID != "one" || r.Code != 200 {
		t.Errorf("%+v", r)
	}
}
