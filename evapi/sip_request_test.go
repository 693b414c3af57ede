package evapi

import (
	"errors"
	"regexp"
	"strings"
	"testing"
	"time"
)

func otherOutgoing(t *testing.T, method string) *Outgoing {
	t.Helper()
	o, err := NewOutgoing(Content{Method: method, From: "<sip:chat-1@h>", ContentType: "application/x", Body: []byte("b")})
	if err != nil {
		t.Fatal(err)
	}
	return o
}

const testGRUU = "sip:al@h;gr=urn:uuid:1"

// TestSIPOtherRequest: requests other than MESSAGE have the form of their method, and those of a dialog its tags.
func TestSIPOtherRequest(t *testing.T) {
	t.Parallel()
	f := newSIPFormat("127.0.0.1:1", "127.0.0.1:2")
	for _, c := range []struct {
		method string
		dialog *Dialog
		want   []string
	}{
		{"NOTIFY", nil, []string{`^NOTIFY sip:al@h;gr=urn:uuid:1 SIP/2\.0\r\n`, `\r\nTo: <sip:al@h;gr=urn:uuid:1>\r\n`,
			`\r\nFrom: <sip:chat-1@h>;tag=[0-9a-f]{16}\r\n`, `\r\nCSeq: 1 NOTIFY\r\n`}},
		{"INVITE", nil, []string{`^INVITE `, `\r\nCSeq: 1 INVITE\r\n`, `\r\nCall-ID: c\r\n`}},
		{"BYE", &Dialog{Local: "lo", Remote: "re", CSeq: 7}, []string{`^BYE `, `\r\nCSeq: 7 BYE\r\n`,
			`From: <sip:chat-1@h>;tag=lo\r\n`, `To: <sip:al@h;gr=urn:uuid:1>;tag=re\r\n`}},
	} {
		tx := newSIPTx(entry{out: otherOutgoing(t, c.method), to: testGRUU, callID: "c", dialog: c.dialog})
		got := string(f.appendRequest(nil, tx, true)) // Kamailio must parse it: it is not passed through
		for _, want := range append(c.want, `Via: SIP/2\.0/UDP 127\.0\.0\.1:1;`, `\r\nContent-Length: 1\r\n\r\nb$`) {
			if !regexp.MustCompile(want).MatchString(got) {
				t.Errorf("no %s in\n%s", want, got)
			}
		}
		if len(got) > tx.size() {
			t.Errorf("%d bytes, more than %d:\n%s", len(got), tx.size(), got)
		}
	}
}

// TestSIPRequestsRefused: what cannot be sent, or must not.
func TestSIPRequestsRefused(t *testing.T) {
	t.Parallel()
	for _, c := range []Content{{Method: "OPTIONS", From: "<sip:a@h>"}, {Method: "NOTIFY\r\nX: y", From: "<sip:a@h>"}} {
		if _, err := NewOutgoing(c); err == nil {
			t.Errorf("%q is sent", c.Method)
		}
	}
	var size *SizeError
	large := Content{Method: "NOTIFY", From: "<sip:a@h>", Body: make([]byte, maxDatagram)}
	if _, err := NewOutgoing(large); !errors.As(err, &size) || size.Limit != maxDatagram {
		t.Errorf("too large: %v", err)
	}
	out := otherOutgoing(t, "BYE")
	for _, d := range []Dialog{{}, {Local: "a"}, {Local: "a", Remote: "b\r\nX: y"}, {Local: strings.Repeat("a", maxTag+1),
		Remote: "b"}} {
		if err := checkCopy(&Copy{Out: out, To: testGRUU, CallID: "c", Dialog: &d}); !errors.Is(err, ErrBadCopy) {
			t.Errorf("%+v: %v", d, err)
		}
	}
	c, err := NewConn(Config{Addr: "127.0.0.1:1", Secret: "s"}, &recorder{})
	if err != nil {
		t.Fatal(err)
	}
	c.box.open(&peer{})
	if err := c.Send(Copy{Out: out, To: testGRUU, CallID: "c"}); !errors.Is(err, ErrDown) {
		t.Errorf("without the lane of SIP: %v", err)
	}
}

// TestSIPInvite: an INVITE is not sent again after a provisional response; its final response is acknowledged each time
// that it comes, and a 2xx makes a dialog.
func TestSIPInvite(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		status string
		dialog bool
	}{{"200 OK", true}, {"488 Not Here", false}} {
		l := stillLink(t, 10)
		if err := l.put(&Copy{Out: otherOutgoing(t, "INVITE"), To: testGRUU, CallID: "i"}); err != nil {
			t.Fatal(err)
		}
		_, r := l.round()
		if len(r.txs) != 1 {
			t.Fatalf("%d requests were sent", len(r.txs))
		}
		tx := r.txs[0]
		invite := string(l.format.appendRequest(nil, tx, false))
		_, _ = l.hearsTo([]byte(invite), "100 Trying")
		if again, _ := l.pending.due(time.Now().Add(time.Minute), 10, true, func(*sipTx) bool { return true }, nil,
			nil); len(again) > 0 {
			t.Error("it is sent again after a provisional response")
		}
		final := []byte(strings.Replace(invite, "\r\nTo: <"+testGRUU+">", "\r\nTo: <"+testGRUU+">;tag=theirs", 1))
		results, _ := l.hearsTo(final, c.status)
		if len(results) != 1 || results[0].CallID != "i" || (results[0].Dialog != nil) != c.dialog {
			t.Fatalf("%s: %+v", c.status, results)
		}
		if d := results[0].Dialog; d != nil && (d.Remote != "theirs" || !strings.Contains(invite, ";tag="+d.Local+"\r\n") ||
			d.Next().CSeq != 2) {
			t.Errorf("dialog %+v", d)
		}
		first := l.dueACKs()
		if more, _ := l.hearsTo(final, c.status); len(more) > 0 {
			t.Errorf("a second outcome: %+v", more)
		}
		second := l.dueACKs()
		if len(first) != 1 || len(second) != 1 || string(first[0]) != string(second[0]) {
			t.Fatalf("%s: ACKs %q and %q", c.status, first, second)
		}
		ack := string(first[0])
		same := strings.Contains(ack, branchOf(invite))
		if !strings.HasPrefix(ack, "ACK "+testGRUU) || !strings.Contains(ack, ";tag=theirs\r\n") ||
			!strings.Contains(ack, "\r\nCSeq: 1 ACK\r\n") || same == c.dialog {
			t.Errorf("%s:\n%s", c.status, ack)
		}
	}
}

func branchOf(request string) string {
	_, branch, _ := strings.Cut(request, ";branch=")
	branch, _, _ = strings.Cut(branch, "\r\n")
	return branch
}

// TestACKsAreBounded: the oldest go first.
func TestACKsAreBounded(t *testing.T) {
	t.Parallel()
	var a acks
	now := time.Now()
	for i := range uint64(maxAcks + 10) {
		a.add(i+1, []byte("x"), now)
	}
	if len(a.byBranch) != maxAcks || a.again(1) || !a.again(maxAcks+10) {
		t.Errorf("%d are kept", len(a.byBranch))
	}
	a.add(1, []byte("x"), now.Add(2*ackKept))
	if len(a.byBranch) != 1 || len(a.order) != 1 {
		t.Errorf("%d old ones are kept", len(a.byBranch))
	}
}

func TestReplyHeaders(t *testing.T) {
	t.Parallel()
	got, err := appendReply(nil, TxID{}, Answer{Code: 200, Headers: HeaderLines(
		Header{Name: "Contact", Value: "<sip:a@h>;isfocus"}, Header{Name: "Expires", Value: "600"})})
	want := `{"jsonrpc":"2.0","method":"imc.reply","params":["0","0","200","0","0","","` +
		enc("Contact: <sip:a@h>;isfocus\r\nExpires: 600\r\n") + `"]}`
	if err != nil || string(got) != want {
		t.Errorf("%s, %v", got, err)
	}
	for _, lines := range []string{"Via: x\r\n", "To: x\r\n", "t: x\r\n", "Record-Route: x\r\n", "A b: x\r\n", "X: a",
		"X\r\n", "\r\n", "X: a\nb\r\n", "X: a\r\n b\r\n", "X: " + strings.Repeat("x", maxReplyLines) + "\r\n"} {
		if _, err := appendReply(nil, TxID{}, Answer{Code: 200, Headers: lines}); err == nil {
			t.Errorf("%.20q is accepted", lines)
		}
	}
	if got := HeaderLines(Header{Name: "X", Value: "a\r\nVia: b"}); got != "X: a  Via: b\r\n" {
		t.Errorf("got %q", got)
	}
}

// requestRecorder is a Handler that takes requests other than MESSAGE.
type requestRecorder struct {
	recorder
	got []*Message
}

func (r *requestRecorder) Request(m *Message) { r.got = append(r.got, m) }

// TestRequestEvent: a request that is no MESSAGE goes to a Handler that takes such, and is answered 405 without one.
func TestRequestEvent(t *testing.T) {
	t.Parallel()
	in := []byte(event("imc.request", `{"tindex":7,"tlabel":2,"auth_user":"`+enc("al")+`","ruri":"`+enc("sip:chat-1@h")+
		`","msg":"`+enc(strings.ReplaceAll(plainRequest, "MESSAGE", "REFER"))+`"}`))
	ev, err := DecodeEvent(in)
	if err != nil {
		t.Fatal(err)
	}
	m := ev.(*RequestEvent).Message
	if m.Err != nil || m.Request.Method != "REFER" || m.AuthUser != "al" || m.Tx != (TxID{7, 2}) {
		t.Errorf("%+v", m)
	}
	taker := &requestRecorder{}
	for _, h := range []Handler{taker, &recorder{}} {
		c, err := NewConn(Config{Addr: "127.0.0.1:1", Secret: "s"}, h)
		if err != nil {
			t.Fatal(err)
		}
		c.box.open(&peer{})
		s := &session{c: c}
		s.dispatch(ev)
		if answered := c.box.pending() == 1; answered == (h == taker) {
			t.Errorf("%T: %d answers", h, c.box.pending())
		}
	}
	if len(taker.got) != 1 || taker.got[0].Conn == nil {
		t.Errorf("got %+v", taker.got)
	}
}
