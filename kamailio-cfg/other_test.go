package kamailiocfg_test

import (
	"fmt"
	"strings"
	"testing"

	"imcd/evapi/evapitest"
	"imcd/evapi/evapitest/kit"
)

// TestOtherMethods: a room takes messages only, and says so to everything else, with the
// two edits of the stock configuration and nothing more.
func TestOtherMethods(t *testing.T) {
	diff := readmeDiffs(t)[0]
	for name, c := range map[string]struct {
		local, imc string
		ua         evapitest.UAConfig
		invite     int // to a room
		options    int
	}{
		"open":    {"", "", evapitest.UAConfig{}, 405, 200},
		"auth":    {authLocal(t), "", evapitest.UAConfig{}, 405, 200}, // not even registered
		"routing": {"", "#!define IMC_ROOM_ROUTING\n", evapitest.UAConfig{}, 404, 404},
	} {
		t.Run(name, func(t *testing.T) {
			k := kit.Kamailio(t, evapitest.Options{Config: stockConfig(t, diff), Local: c.local +
				"alias=\"chat.test\"\n", IMCLocal: c.imc})
			log := new(kit.Output)
			c.ua.User, c.ua.Domain, c.ua.Proxy, c.ua.Log = "alice", "chat.test", k.SIPAddr(), log
			u := kit.UA(t, c.ua)
			const room = "sip:chat-1@chat.test"
			checkOther(t, u, "OPTIONS", room, c.options)
			checkOther(t, u, "INVITE", room, c.invite)
			if c.invite == 405 {
				checkOther(t, u, "INVITE", "sip:chat-1@127.0.0.1:9", 405)
				for _, method := range []string{"SUBSCRIBE", "PUBLISH", "REFER", "NOTIFY", "INFO", "NONSENSE"} {
					checkOther(t, u, method, room, 405)
				}
			}
			checkOthersUntouched(t, u, log, c.local != "")
		})
	}
}

// checkOther sends a request to a room and reads the answer.
func checkOther(t *testing.T, u *evapitest.UA, method, room string, code int) {
	t.Helper()
	res, err := u.Do(kit.Context(t), evapitest.Request{Method: method, URI: room})
	if err != nil {
		t.Fatal(err)
	}
	allow, accept := "", ""
	if h := res.GetHeader("Allow"); h != nil {
		allow = h.Value()
	}
	if h := res.GetHeader("Accept"); h != nil {
		accept = h.Value()
	}
	wantAllow := code != 404
	if res.StatusCode != code || wantAllow != (allow == "MESSAGE, OPTIONS") ||
		(code == 200) != strings.HasPrefix(accept, "text/plain, message/cpim,") {
		t.Errorf("%s %s: %d %s, Allow: %q, Accept: %q", method, room, res.StatusCode, res.Reason, allow, accept)
	}
}

// checkOthersUntouched: requests inside a dialog, and what is for no room, are the
// operator's; ACK and CANCEL are never answered.
func checkOthersUntouched(t *testing.T, u *evapitest.UA, log *kit.Output, auth bool) {
	t.Helper()
	stranger := 404
	if auth {
		stranger = 407
	}
	expect(t, do(t, u, evapitest.Request{Method: "INVITE", URI: "sip:nobody@chat.test"}), stranger)
	expect(t, do(t, u, evapitest.Request{Method: "INFO", URI: "sip:chat-1@chat.test", ToTag: "x"}), 404)
	for _, method := range []string{"ACK", "CANCEL"} {
		raw := fmt.Sprintf("%s sip:chat-1@chat.test SIP/2.0\r\nVia: SIP/2.0/UDP "+
			"127.0.0.1:%s;branch=z9hG4bK-silent-%s;rport\r\n"+
			"From: <%s>;tag=1\r\nTo: <sip:chat-1@chat.test>\r\nCall-ID: silent-%s\r\nCSeq: 1 %s\r\nMax-Forwards: "+
			"70\r\nContent-Length: 0\r\n\r\n",
			method, u.Contact()[strings.LastIndex(u.Contact(), ":")+1:], method, u.AOR(), method, method)
		if err := u.SendRaw([]byte(raw)); err != nil {
			t.Fatal(err)
		}
		for range 20 { // there are several workers
			expect(t, do(t, u, evapitest.Request{Method: "OPTIONS", URI: "sip:" +
				u.AOR()[strings.Index(u.AOR(), "@")+1:]}), 200)
		}
		if got := log.Count("Call-ID: silent-" + method); got != 0 {
			t.Errorf("%s was answered %d times", method, got)
		}
	}
}
