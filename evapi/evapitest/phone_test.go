package evapitest_test

import (
	"bytes"
	"compress/zlib"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"

	"imcd/evapi/evapitest"
	"imcd/evapi/evapitest/kit"
)

// TestManners: each phone does what its manners say, seen from its proxy's socket.
func TestManners(t *testing.T) {
	for _, c := range []struct {
		manners evapitest.Manners
		want    []string // first lines, for two requests
	}{
		{evapitest.Manners{}, []string{"200", "200"}},
		{evapitest.Manners{Codes: []int{0, 486}}, []string{"486"}},
		{evapitest.Manners{Codes: []int{486, 200}}, []string{"486", "200"}},
		{evapitest.Manners{Delay: time.Millisecond}, []string{"200", "200"}},
		{evapitest.Manners{Provisional: []int{100, 180}}, []string{"100", "180", "200", "100", "180", "200"}},
		{evapitest.Manners{Answers: 2}, []string{"200", "200", "200", "200"}},
		{evapitest.Manners{Codes: []int{486}, Then: 200}, []string{"486", "200", "486", "200"}},
		{evapitest.Manners{Hangup: true}, []string{"MESSAGE-END"}},
		{evapitest.Manners{Reply: "away"}, []string{"200", "MESSAGE away", "200", "MESSAGE away"}},
		{evapitest.Manners{Echo: true}, []string{"200", "MESSAGE text", "200", "MESSAGE text"}},
		{evapitest.Manners{Unregister: true}, []string{"200", "REGISTER", "200"}},
		{
			evapitest.Manners{Receipts: []evapitest.ReceiptForm{evapitest.PlainReceipt}},
			[]string{"200", "MESSAGE delivered", "MESSAGE displayed", "200", "MESSAGE delivered", "MESSAGE displayed"},
		},
		{
			evapitest.Manners{Receipts: []evapitest.ReceiptForm{evapitest.CPIMReceipt}},
			[]string{"200", "MESSAGE delivered", "MESSAGE displayed", "200", "MESSAGE delivered", "MESSAGE displayed"},
		},
		{
			evapitest.Manners{Receipts: []evapitest.ReceiptForm{evapitest.DeflatedReceipt}},
			[]string{"200", "MESSAGE delivered", "MESSAGE displayed", "200", "MESSAGE delivered", "MESSAGE displayed"},
		},
		{evapitest.Manners{Garbage: true}, []string{"?", "?", "999", "200 cut", "200", "200", "200", "?", "?", "999"}},
	} {
		t.Run(fmt.Sprintf("%+v", c.manners), func(t *testing.T) {
			t.Parallel()
			proxyMeets(t, c.manners, c.want)
		})
	}
}

// proxyMeets sends two requests to a phone and compares all that comes back.
func proxyMeets(t *testing.T, m evapitest.Manners, want []string) {
	proxy, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer proxy.Close()
	p, err := evapitest.NewPhone(evapitest.UAConfig{User: "p", Proxy: proxy.LocalAddr().String()}, m)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	}()
	_, port, _ := strings.Cut(p.Contact(), "@")
	phone, err := net.ResolveUDPAddr("udp", port)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for i := range 2 {
		if _, err := proxy.WriteTo(message(i), phone); err != nil {
			t.Fatal(err)
		}
	}
	if m.Hangup { // nothing comes over UDP, and there is nothing to close
		if all, err := p.WaitN(kit.Context(t), 2); err != nil || len(all) != 2 {
			t.Errorf("%d requests: %v", len(all), err)
		}
		return
	}
	buf := make([]byte, 65536)
	for len(got) < len(want) {
		if err := proxy.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
			t.Fatal(err)
		}
		n, from, err := proxy.ReadFrom(buf)
		if err != nil {
			t.Fatalf("got %q, want %q: %v", got, want, err)
		}
		data := bytes.Clone(buf[:n])
		got = append(got, shape(t, data))
		if answer := answerTo(data); answer != nil {
			if _, err := proxy.WriteTo(answer, from); err != nil {
				t.Fatal(err)
			}
		}
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func message(i int) []byte {
	return fmt.Appendf(nil, "MESSAGE sip:p@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:9;branch=z9hG4bK%d\r\n"+
		"Max-Forwards: 70\r\nFrom: <sip:chat-1@chat.test>;tag=1\r\nTo: <sip:p@chat.test>\r\nCall-ID: call-%[1]d&\r\n"+
		"CSeq: 1 MESSAGE\r\nContent-Type: text/plain\r\nContent-Length: 4\r\n\r\ntext", i)
}

// answerTo is 200 for a request; nil for a response.
func answerTo(data []byte) []byte {
	msg, err := sip.NewParser().ParseSIP(data)
	req, ok := msg.(*sip.Request)
	if err != nil || !ok {
		return nil
	}
	return []byte(sip.NewResponseFromRequest(req, 200, "OK", nil).String())
}

// shape describes a datagram of a phone, in short.
func shape(t *testing.T, data []byte) string {
	t.Helper()
	if rest, ok := strings.CutPrefix(string(data), "SIP/2.0 "); ok {
		switch {
		case rest[0] != '2' || rest[1] != 'o':
			code, _, _ := strings.Cut(rest, " ")
			if !bytes.HasSuffix(data, []byte("\r\n\r\n")) {
				code += " cut"
			}
			return code
		default:
			return "?"
		}
	}
	msg, err := sip.NewParser().ParseSIP(data)
	if err != nil {
		return "?"
	}
	req := msg.(*sip.Request)
	body := req.Body()
	if h := req.GetHeader("Content-Encoding"); h != nil {
		r, err := zlib.NewReader(bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		if body, err = io.ReadAll(r); err != nil {
			t.Fatal(err)
		}
	}
	switch text := string(body); {
	case req.Method == sip.REGISTER:
		return "REGISTER"
	case strings.Contains(text, "<imdn "):
		if !strings.Contains(text, "<message-id>call-0&amp;</message-id>") &&
			!strings.Contains(text, "<message-id>call-1&amp;</message-id>") {
			t.Errorf("receipt for another message: %s", text)
		}
		for _, status := range []string{"delivered", "displayed"} {
			if strings.Contains(text, "<"+status+"/>") {
				return "MESSAGE " + status
			}
		}
		return "MESSAGE imdn"
	default:
		return "MESSAGE " + text
	}
}

// TestConnections: a user agent whose connection is closed opens another, over all
// transports that have one.
func TestConnections(t *testing.T) {
	ports, err := evapitest.FreePorts(2)
	if err != nil {
		t.Fatal(err)
	}
	opts, err := evapitest.Options{}.WithWebSocket(ports[0]).WithTLS(ports[1], "chat.test")
	if err != nil {
		t.Fatal(err)
	}
	k := kit.Kamailio(t, opts)
	ctx := kit.Context(t)
	local := func(i int) string { return fmt.Sprintf("127.0.0.1:%d", ports[i]) }
	for transport, addr := range map[string]string{"tcp": k.SIPAddr(), "ws": local(0), "tls": local(1)} {
		t.Run(transport, func(t *testing.T) {
			cfg := evapitest.UAConfig{User: "alice-" + transport, Domain: "chat.test", Proxy: addr,
				Transport: transport}
			alice := kit.UA(t, cfg)
			cfg.User = "bob-" + transport
			bob := kit.UA(t, cfg)
			for _, u := range []*evapitest.UA{alice, bob} {
				if err := u.Register(ctx); err != nil {
					t.Fatal(err)
				}
			}
			if res, err := alice.Say(ctx, bob.AOR(), "1"); err != nil || res.StatusCode != 200 {
				t.Fatalf("before: %v %v", res, err)
			}
			contact := bob.Contact()
			if err := bob.Hangup(); err != nil {
				t.Fatal(err)
			}
			if err := bob.Register(ctx); err != nil {
				t.Fatal(err)
			}
			if bob.Contact() == contact {
				t.Error("the connection is the same")
			}
			if _, err := alice.Say(ctx, bob.AOR(), "2"); err != nil {
				t.Fatal(err)
			}
			if all, err := bob.WaitN(ctx, 2); err != nil || all[1].Text() != "2" {
				t.Errorf("after: %v", err)
			}
		})
	}
}
