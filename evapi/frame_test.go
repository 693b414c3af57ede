package evapi

import (
	"errors"
	"strings"
	"testing"
)

func TestCheckCopy(t *testing.T) {
	t.Parallel()
	o := simpleOutgoing(t, "x")
	good := []Copy{
		{Out: o, To: "sip:bob@example.org;transport=tcp", CallID: "a@b"},
		{Out: o, To: "sip:b\xc3\xb6b@[::1]:5060", CallID: "!!"},
		{Out: o, To: "tel:+1-234", CallID: strings.Repeat("c", 127)},
	}
	for _, c := range good {
		if err := checkCopy(&c); err != nil {
			t.Errorf("%+v: %v", c, err)
		}
	}
	bad := []Copy{
		{To: "sip:b@h", CallID: "a"},
		{Out: o, CallID: "a"},
		{Out: o, To: "sip:b@h"},
		{Out: o, To: "sip:b@h", CallID: strings.Repeat("c", 128)},
		{Out: o, To: "sip:" + strings.Repeat("b", 1024), CallID: "a"},
	}
	for _, s := range []string{"\r", "\n", "\x00", `"`, `\`, "<", ">", " ", "\t", "\x7f"} {
		bad = append(bad, Copy{Out: o, To: "sip:b" + s + "@h", CallID: "a"}, Copy{Out: o, To: "sip:b@h", CallID: "a" + s})
	}
	for _, c := range bad {
		if err := checkCopy(&c); !errors.Is(err, ErrBadCopy) {
			t.Errorf("%+v: %v", c, err)
		}
	}
}

func TestReplyFrame(t *testing.T) {
	t.Parallel()
	got, err := appendReply(nil, TxID{Index: 4294967295, Label: -7}, Answer{Code: 480, RC: -200, Reason: "a\r\nb\x00",
		RetryAfter: 1500e6})
	want := `{"jsonrpc":"2.0","method":"imc.reply","params":["-1","-7","480","-200","2","` + enc("a  b ") + `"]}`
	if err != nil || string(got) != want {
		t.Errorf("%s, %v", got, err)
	}
	got, err = appendReply(nil, TxID{}, Answer{Code: 420, Unsupported: "a, b"})
	want = `{"jsonrpc":"2.0","method":"imc.reply","params":["0","0","420","0","0","","` + enc("Unsupported: a, b\r\n") +
		`"]}`
	if err != nil || string(got) != want {
		t.Errorf("%s, %v", got, err)
	}
	for reason, want := range map[string]string{
		strings.Repeat("a", maxReason):          strings.Repeat("a", maxReason),
		strings.Repeat("a", maxReason-1) + "éa": strings.Repeat("a", maxReason-1),
		strings.Repeat("a", maxReason-3) + "😀":  strings.Repeat("a", maxReason-3),
		strings.Repeat("a", maxReason-4) + "😀a": strings.Repeat("a", maxReason-4) + "😀",
		strings.Repeat("é", maxReason):          strings.Repeat("é", maxReason/2),
	} {
		got, err = appendReply(nil, TxID{}, Answer{Code: 404, Reason: reason})
		if want = enc(want) + `"]}`; err != nil || !strings.HasSuffix(string(got), paramSep+want) {
			t.Errorf("reason %q: %s, %v", reason, got, err)
		}
	}
	for _, bad := range []string{"a\r\nb", "a\x00", strings.Repeat("a", maxUnsupported+1)} {
		if _, err := appendReply(nil, TxID{}, Answer{Code: 420, Unsupported: bad}); err == nil {
			t.Errorf("Unsupported: %.20q is accepted", bad)
		}
	}
	for _, code := range []int{0, 100, 199, 700} {
		if _, err := appendReply(nil, TxID{}, Answer{Code: code}); err == nil {
			t.Errorf("code %d accepted", code)
		}
	}
}

// TestCut: a text that is cut has no part of a character at its end.
func TestCut(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		s    string
		n    int
		want string
	}{
		{"abc", 3, "abc"}, {"abc", 2, "ab"}, {"abc", 0, ""}, {"", 0, ""}, {"é", 1, ""}, {"aé", 2, "a"}, {"aé", 3, "aé"},
		{"a€b", 3, "a"}, {"a€b", 2, "a"}, {"a€b", 4, "a€"}, {"😀😀", 7, "😀"}, {"😀", 3, ""},
		{"\x80\x80\x80\x80\x80\x80\x80\x80", 7, "\x80\x80\x80\x80"}, // no text at all
	} {
		if got := cut(tt.s, tt.n); got != tt.want {
			t.Errorf("%q, %d bytes: %q, want %q", tt.s, tt.n, got, tt.want)
		}
	}
}

func TestAnswerFrame(t *testing.T) {
	t.Parallel()
	got, err := appendAnswer(nil, "op-1-2", []byte(`{"a":"b"}`))
	if want := `{"jsonrpc":"2.0","method":"imc.answer","params":["op-1-2","` + enc(`{"a":"b"}`) + `"]}`; err != nil ||
		string(got) != want {
		t.Errorf("%s, %v", got, err)
	}
	if _, err := appendAnswer(nil, `op"`, nil); err == nil {
		t.Error("tag with a quote accepted")
	}
	if _, err := appendAnswer(nil, "op-1", make([]byte, 24500)); !errors.Is(err, ErrTooLarge) {
		t.Error(err)
	}
}

func BenchmarkWindow(b *testing.B) {
	o := simpleOutgoing(b, strings.Repeat("x", 100))
	s := &session{c: &Conn{}}
	w := newWriter(s, testPeer)
	b.ReportAllocs()
	for b.Loop() {
		w.window.reset(maxBatches)
		for range 40 {
			if !w.window.add(&entry{out: o, to: "sip:bob@example.org", callID: "0123456789abcdef-123456@imcd"}, w.peer) {
				b.Fatal("no room")
			}
		}
		w.build()
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/40, "ns/copy")
}
