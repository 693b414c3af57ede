package evapi

import (
	"crypto/sha256"
	"fmt"
	"strings"
	"testing"

	"imcd/evapi/evapitest/kit"
)

// TestSIPLinkOwn: what a device answers in imc.cfg's words is its final response, and
// nothing else; a Kamailio's own answers have a header that no device knows.
func TestSIPLinkOwn(t *testing.T) {
	t.Parallel()
	p := newSIPPeer(t)
	p.own = true
	frames := make(chan string, 100)
	f := newFake(t, p.serve(func(frame string) { frames <- frame }))
	mark := sha256.Sum256([]byte("hdr-secret"))
	p.answer = func(req string) (string, bool) {
		switch {
		case strings.Contains(req, "Call-ID: own\r\n"):
			return fmt.Sprintf("300 imc other way\r\nX-IMC-Own: %x", mark), true
		case strings.Contains(req, "Call-ID: other\r\n"):
			return "300 imc other way", true
		case strings.Contains(req, "Call-ID: guess\r\n"):
			return "300 imc other way\r\nX-IMC-Own: ", true
		case strings.Contains(req, "Call-ID: name\r\n"):
			return "300 imc name evil.example:53\r\nX-IMC-Own: 0000", true
		case strings.Contains(req, "Call-ID: stop\r\n"):
			return "503 Not from here now", true
		}
		return "200 OK", true
	}
	r := &namingRecorder{}
	c := startConn(t, testConfig(f.addr()), r)
	kit.Eventually(t, "up", func() bool { return r.has("up 1") })
	<-frames // the link's
	for _, id := range []string{"other", "guess", "name", "stop", "own"} {
		if err := c.Send(Copy{Out: simpleOutgoing(t, "x"), To: "sip:a@h", CallID: id}); err != nil {
			t.Fatal(err)
		}
	}
	for _, want := range []string{"other 300", "guess 300", "name 300", "stop 503"} {
		kit.Eventually(t, want, func() bool { return r.has("result " + want + " local=false") })
	}
	if frame := <-frames; !strings.Contains(frame, "sip:a@h own ") {
		t.Errorf("frame %s", frame)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.options != 1 || len(frames) > 0 || r.names.Load() > 0 { // the probe's
		t.Errorf("%d OPTIONS, %d frames, %d names", p.options, len(frames), r.names.Load())
	}
}
