package load

import (
	"hash/maphash"
	"strings"
	"testing"
)

const sample = "MESSAGE sip:m42@127.0.0.1:9 SIP/2.0\r\n" +
	"Via: SIP/2.0/UDP 127.0.0.1:5060;branch=z9hG4bKa;rport\r\n" +
	"Via: SIP/2.0/UDP 127.0.0.1:5061;branch=z9hG4bKb\r\n" +
	"To: <sip:m42@bench.example>\r\nFrom: <sip:chat-0-5@bench.example>;tag=1\r\n" +
	"CSeq: 10 MESSAGE\r\nCall-ID: x@y\r\nContent-Type: text/plain\r\nContent-Length: 30\r\n\r\n" +
	"[s0]: bench-7-12.xxxxx"

func TestAnswer(t *testing.T) {
	p := parser{seed: maphash.MakeSeed()}
	res, a, ok := p.answer(nil, []byte(sample))
	if !ok || a.member != 42 || a.mark != (mark{7, 12}) {
		t.Fatalf("%v %+v", ok, a)
	}
	want := "SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP 127.0.0.1:5060;branch=z9hG4bKa;rport\r\n" +
		"Via: SIP/2.0/UDP 127.0.0.1:5061;branch=z9hG4bKb\r\nTo: <sip:m42@bench.example>;tag=sink\r\n" +
		"From: <sip:chat-0-5@bench.example>;tag=1\r\nCSeq: 10 MESSAGE\r\nCall-ID: x@y\r\nContent-Length: 0\r\n\r\n"
	if string(res) != want {
		t.Errorf("got %q", res)
	}
	_, again, _ := p.answer(nil, []byte(sample))
	_, other, _ := p.answer(nil, []byte(strings.Replace(sample, "bKa", "bKc", 1)))
	if again.branch != a.branch || other.branch == a.branch {
		t.Errorf("branches %d, again %d, another %d", a.branch, again.branch, other.branch)
	}
	for _, other := range []string{strings.Replace(sample, "bench-7-12.", "", 1), strings.Replace(sample, "sip:m42@127",
		"sip:alice@127", 1)} {
		if res, a, ok := p.answer(nil, []byte(other)); !ok || a.mark != (mark{}) || len(res) == 0 {
			t.Errorf("%q: %+v %v", other, a, ok)
		}
	}
	for _, bad := range []string{"", "MESSAGE sip:", "OPTIONS sip:m42@x SIP/2.0\r\n\r\n",
		strings.Replace(sample, "Via", "Wia", 2)} {
		if _, _, ok := p.answer(nil, []byte(bad)); ok {
			t.Errorf("taken: %q", bad)
		}
	}
}

func TestMarkBack(t *testing.T) {
	for _, m := range []mark{{0, 0}, {1, 999999999}, {999999999, 3}} {
		if got, ok := findMark(append([]byte("abc bench"), m.append([]byte(": "))...)); !ok || got != m {
			t.Errorf("%+v became %+v, %v", m, got, ok)
		}
	}
}

func TestReply(t *testing.T) {
	r, ok := parseReply([]byte("SIP/2.0 503 No\r\nVia: SIP/2.0/UDP x;branch=z9hG4bKbench-1-2.\r\nRetry-After: 5\r\n" +
		"\r\n"))
	if !ok || r != (reply{mark{1, 2}, 503, true}) {
		t.Errorf("%+v %v", r, ok)
	}
}

// FuzzPackets: whatever arrives is taken or not, and a response never holds what
// the request did not.
func FuzzPackets(f *testing.F) {
	f.Add([]byte(sample))
	f.Add([]byte("SIP/2.0 503 No\r\nVia: SIP/2.0/UDP x;branch=z9hG4bKbench-1-2.\r\nRetry-After: 5\r\n\r\n"))
	p := parser{seed: maphash.MakeSeed()}
	f.Fuzz(func(t *testing.T, packet []byte) {
		if res, a, ok := p.answer(nil, packet); ok {
			if a.branch == 0 || len(res) > len(packet)+len(responseLine)+len(responseEnd)+16*len(packet) {
				t.Errorf("%+v, %d bytes from %d", a, len(res), len(packet))
			}
		}
		if r, ok := parseReply(packet); ok && (r.code < 100 || r.code > 699) {
			t.Errorf("code %d", r.code)
		}
	})
}
