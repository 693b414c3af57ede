package evapi

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"
)

func testTx(t testing.TB, c Content, to, callID string) *sipTx {
	t.Helper()
	return &sipTx{branch: 0x123456789abcdef0, out: mustOutgoing(t, c), to: to, callID: callID}
}

// TestSIPRequest has a SIP parser of others' read what is sent.
func TestSIPRequest(t *testing.T) {
	t.Run("own", func(t *testing.T) { sipRequest(t, false, "127.0.0.1:5099", "z9hG4bK") })
	t.Run("through", func(t *testing.T) { sipRequest(t, true, "127.0.0.2:5060", "z9hG4bK.") })
}

// TestSIPPlace: the branch of a copy that passes as it is names the place of its engine, for imc.cfg alone.
func TestSIPPlace(t *testing.T) {
	t.Parallel()
	f := newSIPFormat("127.0.0.1:5099", "127.0.0.2:5060")
	tx := testTx(t, Content{From: "<sip:chat-r@example.org>", Body: []byte("x")}, "sip:bob@example.org", "id")
	for _, place := range []int{3, 0, 7} {
		f.atPlace(place)
		own, through := string(f.appendRequest(nil, tx, false)), string(f.appendRequest(nil, tx, true))
		want := ";branch=z9hG4bK.imcopy-"
		if place > 0 {
			want = fmt.Sprintf(";branch=z9hG4bK.imcopy%d-", place)
		}
		if !strings.Contains(own, ";branch=z9hG4bKimcopy-") || !strings.Contains(through, want) {
			t.Errorf("place %d:\n%s\n%s", place, own, through)
		}
		for _, wire := range []string{own, through} {
			_, via, _ := strings.Cut(wire, "\r\n")
			if r, ok := f.parseReply([]byte("SIP/2.0 200 OK\r\n" + via)); !ok || r.branch != tx.branch {
				t.Errorf("place %d: a response to\n%s\nis not known", place, wire)
			}
		}
	}
}

func sipRequest(t *testing.T, through bool, via, before string) {
	t.Parallel()
	every := make([]byte, 256)
	for i := range every {
		every[i] = byte(i)
	}
	f := newSIPFormat("127.0.0.1:5099", "127.0.0.2:5060")
	tx := testTx(t, Content{From: `"Al \"the\" !" <sip:chat-r@example.org>`, ContentType: `a/b; c="d!"`, Body: every,
		Headers: []Header{{Name: "In-Reply-To", Value: "x!y!"}}}, "sip:bob@example.org", "00b-abc-1-x")
	wire := f.appendRequest(nil, tx, through)
	if n := tx.out.sipSize(len(tx.to), len(tx.callID)); len(wire) > n {
		t.Errorf("%d bytes, sipSize says %d", len(wire), n)
	}
	tx.dest = "sip:[2001:db8::1]:5060;transport=tcp"
	if led := f.appendRequest(nil, tx, through); len(led) > tx.size() || !strings.Contains(string(led),
		"\r\nX-IMC-Dest: "+tx.dest+"\r\n") {
		t.Errorf("%d bytes, size says %d:\n%s", len(led), tx.size(), led)
	}
	if strings.Contains(string(wire), "X-IMC-Dest") {
		t.Errorf("a destination of nobody:\n%s", wire)
	}
	m, err := sip.ParseMessage(wire)
	if err != nil {
		t.Fatal(err)
	}
	req := m.(*sip.Request)
	branch, _ := req.Via().Params.Get("branch")
	tag, _ := req.From().Params.Get("tag")
	if rport, has := req.Via().Params.Get("rport"); has != through || rport != "" || len(req.GetHeaders("Via")) != 1 {
		t.Errorf("Via %q", req.Via())
	}
	for what, pair := range map[string][2]string{
		"method":         {string(req.Method), "MESSAGE"},
		"request URI":    {req.Recipient.String(), "sip:bob@example.org"},
		"To":             {req.To().Value(), "<sip:bob@example.org>"},
		"From":           {req.From().Address.String(), "sip:chat-r@example.org"},
		"tag":            {tag, "123456789abcdef0"},
		"branch":         {branch, before + "imcopy" + string(f.cookie) + "123456789abcdef0"},
		"Via":            {req.Via().Host + ":" + fmt.Sprint(req.Via().Port), via},
		"Call-ID":        {req.CallID().Value(), "00b-abc-1-x"},
		"CSeq":           {req.CSeq().Value(), "1 MESSAGE"},
		"Max-Forwards":   {req.MaxForwards().Value(), "70"},
		"Content-Type":   {req.ContentType().Value(), `a/b; c="d!"`},
		"In-Reply-To":    {req.GetHeader("In-Reply-To").Value(), "x!y!"},
		"Content-Length": {req.ContentLength().Value(), "256"},
		"body":           {string(req.Body()), string(every)},
	} {
		if pair[0] != pair[1] {
			t.Errorf("%s is %q, want %q", what, pair[0], pair[1])
		}
	}
	other := f.appendRequest(nil, &sipTx{branch: newBranch(), out: tx.out, to: tx.to, callID: tx.callID}, through)
	if bytes.Equal(wire, other) {
		t.Error("two transactions with the same branch and tag")
	}
}

func TestSIPReply(t *testing.T) {
	t.Parallel()
	f := newSIPFormat("127.0.0.1:5099", "127.0.0.2:5060")
	via := "Via: SIP/2.0/UDP 127.0.0.1:5099;branch=z9hG4bKimcopy" + string(f.cookie) + "00000000000000ff"
	for name, tt := range map[string]struct {
		wire string
		want sipReply
		ok   bool
	}{
		"through": {"SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP 127.0.0.2:5060;branch=z9hG4bK.imcopy" + string(f.cookie) +
			"00000000000000ff;rport=5060\r\n\r\n", sipReply{code: 200, branch: 0xff}, true},
		"200":         {"SIP/2.0 200 OK\r\n" + via + "\r\nCall-ID: x\r\n\r\n", sipReply{code: 200, branch: 0xff}, true},
		"provisional": {"SIP/2.0 100 Trying\r\n" + via + "\r\n\r\n", sipReply{code: 100, branch: 0xff}, true},
		"no reason":   {"SIP/2.0 404\r\n" + via + "\r\n\r\n", sipReply{code: 404, branch: 0xff}, true},
		"compact, joined": {"SIP/2.0 200 OK\r\nv: SIP/2.0/UDP  127.0.0.1:5099 ;received=1.2.3.4;branch=z9hG4bK" +
			string(f.cookie) + "00000000000000ff, SIP/2.0/UDP x;branch=z9hG4bKimc-0\r\n\r\n", sipReply{code: 200,
			branch: 0xff}, true},
		"retry after": {"SIP/2.0 503 Busy\r\n" + via + "\r\nretry-after : 7 (later)\r\n\r\n", sipReply{code: 503,
			branch: 0xff, retryAfter: 7 * time.Second}, true},
		"no end":      {"SIP/2.0 200 OK\r\n" + via, sipReply{code: 200, branch: 0xff}, true},
		"in the body": {"SIP/2.0 200 OK\r\nCall-ID: x\r\n\r\n" + via + "\r\n", sipReply{}, false},
		"a request":   {"MESSAGE sip:x SIP/2.0\r\n" + via + "\r\n\r\n", sipReply{}, false},
		"code 99":     {"SIP/2.0 099 No\r\n" + via + "\r\n\r\n", sipReply{}, false},
		"code 700":    {"SIP/2.0 700 No\r\n" + via + "\r\n\r\n", sipReply{}, false},
		"long code":   {"SIP/2.0 2000 No\r\n" + via + "\r\n\r\n", sipReply{}, false},
		"no number":   {"SIP/2.0 2x0 No\r\n" + via + "\r\n\r\n", sipReply{}, false},
		"others' branch": {"SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP h;branch=z9hG4bKimcx-00000000000000ff\r\n\r\n", sipReply{},
			false},
		"cut branch": {"SIP/2.0 200 OK\r\n" + via[:len(via)-1], sipReply{}, false},
		"no hex":     {"SIP/2.0 200 OK\r\n" + strings.Replace(via, "ff", "xx", 1) + "\r\n\r\n", sipReply{}, false},
		"nothing":    {"", sipReply{}, false},
	} {
		got, ok := f.parseReply([]byte(tt.wire))
		if ok != tt.ok || ok && (got.code != tt.want.code || got.branch != tt.want.branch ||
			got.retryAfter != tt.want.retryAfter) {
			t.Errorf("%s: %+v, %v; want %+v, %v", name, got, ok, tt.want, tt.ok)
		}
	}
}

// FuzzSIPReply: what is taken for a response names one of our branches in its head.
func FuzzSIPReply(f *testing.F) {
	form := newSIPFormat("127.0.0.1:5099", "127.0.0.2:5060")
	f.Add("SIP/2.0 200 OK\r\nVia: x;branch=", uint64(7), "\r\nRetry-After: 5\r\n\r\n")
	f.Add("SIP/2.0 503 ", uint64(1), "\r\n\r\n")
	f.Add("\r\n\r\nSIP/2.0 200 OK\r\n", uint64(1), "")
	f.Fuzz(func(t *testing.T, before string, branch uint64, after string) {
		wire := appendBranch(append([]byte(before), form.cookie...), branch)
		wire = append(wire, after...)
		r, ok := form.parseReply(wire)
		if !ok {
			return
		}
		if r.code < 100 || r.code > 699 || r.retryAfter < 0 {
			t.Errorf("%+v", r)
		}
		if r.branch != branch && !strings.Contains(before+after, string(form.cookie)) {
			t.Errorf("branch %x, was %x", r.branch, branch)
		}
		if head, _, _ := bytes.Cut(wire, []byte("\r\n\r\n")); !bytes.Contains(head, form.cookie) {
			t.Errorf("taken from the body: %q", wire)
		}
	})
}

func TestSIPPending(t *testing.T) {
	t.Parallel()
	start := time.Now()
	at := func(ms int) time.Time { return start.Add(time.Duration(ms) * time.Millisecond) }
	p := newSIPTransactions()
	answered, silent := p.begin(entry{callID: "answered"}, start), p.begin(entry{callID: "silent"}, start)
	if answered.branch == silent.branch {
		t.Fatal("two with the same branch")
	}
	if p.wait(start) != 500*time.Millisecond {
		t.Errorf("first wait %v", p.wait(start))
	}
	if p.end(answered.branch) != answered || p.end(answered.branch) != nil || p.end(7) != nil {
		t.Error("the answer does not end its transaction, once")
	}
	var sent []int
	expired := 0
	take := func(*sipTx) bool { return true }
	for ms := 0; ms <= 20000; ms += 10 {
		// Paused from 3 s to 4 s: what is due meanwhile is left out.
		again, gone := p.due(at(ms), 10, ms < 3000 || ms > 4000, take, nil, nil)
		for _, tx := range again {
			if tx != silent {
				t.Errorf("%s sent again", tx.callID)
			}
			sent = append(sent, ms)
		}
		if len(gone) > 0 {
			expired = ms
		}
	}
	if fmt.Sprint(sent) != "[500 1500 7500]" || expired != 9500 {
		t.Errorf("sent again at %v, given up at %d", sent, expired)
	}
	if len(p.byBranch) != 0 || p.wait(at(20000)) != idle {
		t.Errorf("left behind: %+v", p)
	}
	// No more than most at a time, and the rest the next time.
	for range 5 {
		p.begin(entry{}, start)
	}
	if again, _ := p.due(at(600), 3, true, take, nil, nil); len(again) != 3 {
		t.Errorf("%d of at most 3", len(again))
	}
	if again, _ := p.due(at(600), 3, true, func(*sipTx) bool { return false }, nil, nil); len(again) != 0 {
		t.Errorf("%d that take not go", len(again))
	}
	if again, _ := p.due(at(600), 3, true, take, nil, nil); len(again) != 2 {
		t.Errorf("then %d", len(again))
	}
}

// TestReplyWithoutVia: a response that has no Via at all, as topos makes them, is known by
// the tag of its From; one with somebody else's Via is not.
func TestReplyWithoutVia(t *testing.T) {
	f := newSIPFormat("127.0.0.1:5555", "127.0.0.1:5060")
	const branch = 0x0123456789abcdef
	tag := string(appendBranch(nil, branch))
	from := "From: <sip:chat-a@x.org>;tag=" + tag + "\r\n"
	for name, tc := range map[string]struct {
		head  string
		ok    bool
		noVia bool
	}{
		"ours": {"Via: SIP/2.0/UDP 127.0.0.1:5555;branch=z9hG4bKimcopy" + string(f.cookie) + tag + "\r\n" + from,
			true, false},
		"no Via":            {from, true, true},
		"no Via, short":     {"f: \"Al\" <sip:chat-a@x.org>;tag=" + tag + ";x=y\r\n", true, true},
		"somebody's Via":    {"Via: SIP/2.0/UDP 127.0.0.1:7;branch=z9hG4bK1\r\n" + from, false, false},
		"somebody's, short": {from + "v : SIP/2.0/UDP 127.0.0.1:7;branch=z9hG4bK1\r\n", false, false},
		"no tag":            {"From: <sip:chat-a@x.org>\r\n", false, false},
		"short tag":         {"From: <sip:chat-a@x.org>;tag=0123\r\n", false, false},
		"other tag":         {"From: <sip:chat-a@x.org>;tag=zzzzzzzzzzzzzzzzzz\r\n", false, false},
		"tag of To":         {"To: <sip:chat-a@x.org>;tag=" + tag + "\r\n", false, false},
	} {
		r, ok := f.parseReply(fmt.Appendf(nil, "SIP/2.0 486 Busy\r\n%sCall-ID: x\r\nCSeq: 1 MESSAGE\r\n\r\n", tc.head))
		if ok != tc.ok || ok && (r.branch != branch || r.code != 486 || r.noVia != tc.noVia) {
			t.Errorf("%s: %+v %t", name, r, ok)
		}
	}
}
