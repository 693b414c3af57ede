package kamailiocfg_test

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"

	"imcd/cmd/imcd/imcdtest"
	"imcd/evapi"
	"imcd/evapi/evapitest"
	"imcd/evapi/evapitest/kit"
)

const (
	token     = "token-hunter2-of-the-operators"
	spoken    = "hunter2 is what was said"
	callID    = "follow-me@phone"
	badCallID = "bad\r\n\timc: forged line@phone"
)

// TestStockSecured: the stock Kamailio with passwords and IMC_LOG, imcd at level
// debug, rooms only for users of the own domain. No secret and nothing that was
// said is in a log or on a command line, and a message can be followed by Call-IDs
// through both logs.
func TestStockSecured(t *testing.T) {
	log := new(kit.Output)
	k := kit.Kamailio(t, evapitest.Options{Config: stockConfig(t, readmeDiffs(t)...), Log: log,
		Local: authLocal(t) + "alias=\"chat.test\"\n#!define IMC_LOG\n"})
	dir := programs.Folder(t)
	i := imcdtest.Beside(t, k, imcdtest.Options{Dir: dir,
		Environ: []string{"IMCD_RPC_TOKEN=" + token, "IMCD_CREATE_ALLOW=sip:.*@chat[.]test"}})
	delivered := saySecrets(t, k)
	askWithSecrets(t, k, i)
	t.Run("foreigner", func(t *testing.T) { foreigner(t, k) })

	logs := map[string]string{"imcd's log": "", "Kamailio's log": "", "imcd's command line": cmdline(t, i.Pid())}
	if err := i.Stop(); err != nil {
		t.Error(err)
	}
	logs["imcd's log"], logs["Kamailio's log"] = i.Log(), log.String()
	header := sha256.Sum256([]byte(k.Secret()))
	for what, text := range logs {
		for _, secret := range []string{k.Secret(), k.OperatorSecret(), token, hex.EncodeToString(header[:]),
			"hunter2", "a-secret", "response=", "Authorization:",
			base64.StdEncoding.EncodeToString([]byte(spoken))[:20]} {
			if strings.Contains(text, secret) {
				t.Errorf("%s has %q:\n%s", what, secret, text)
			}
		}
	}
	follow(t, i.Log(), log.String(), delivered)
	// Kamailio's own log_prefix, as the stock configuration has it, shows the
	// Call-ID as it is; what imc.cfg adds does not.
	if want := "imc: bad___imc:_forged_line@phone from "; !strings.Contains(log.String(), want) {
		t.Errorf("Kamailio's log has no %q:\n%s", want, log)
	}
}

// saySecrets lets alice say something to bob, and returns the Call-ID of bob's
// copy.
func saySecrets(t *testing.T, k *evapitest.Kamailio) (delivered string) {
	t.Helper()
	const room = "sip:chat-1@chat.test"
	alice := kit.Registered(t, k, evapitest.UAConfig{User: "alice", Domain: "chat.test", Password: "a-secret"})
	bob := kit.Registered(t, k, evapitest.UAConfig{User: "bob", Domain: "chat.test", Password: "b-secret"})
	expect(t, say(t, alice, room, "#create"), 200)
	expect(t, say(t, bob, room, "#join"), 200)
	expect(t, do(t, alice, evapitest.Request{Method: "MESSAGE", URI: room, CallID: callID, Body: []byte(spoken)}), 200)
	expect(t, do(t, alice, evapitest.Request{Method: "MESSAGE", URI: room, CallID: badCallID, Body: []byte(spoken)}),
		200)
	expect(t, say(t, alice, room, "#hunter2 nonsense"), 400)
	stranger := kit.UA(t, evapitest.UAConfig{User: "alice", Domain: "chat.test", Proxy: k.SIPAddr(),
		Password: "hunter2"})
	expect(t, do(t, stranger, evapitest.Request{Method: "MESSAGE", URI: room, Body: []byte(spoken)}), 407)
	_, err := bob.Wait(kit.Context(t), func(all []evapitest.Received) bool {
		for _, r := range all {
			if strings.Contains(string(r.Body), spoken) && delivered == "" {
				delivered = r.CallID
			}
		}
		return delivered != ""
	})
	if err != nil {
		t.Fatal(err)
	}
	return delivered
}

// foreigner is a user of another domain, whom nobody asks for a password: Kamailio
// lets such users write to its own. Rooms are nothing with which they can write to
// others.
func foreigner(t *testing.T, k *evapitest.Kamailio) {
	alice := kit.Registered(t, k, evapitest.UAConfig{User: "alice", Domain: "chat.test", Password: "a-secret"})
	expect(t, say(t, alice, "sip:chat-2@chat.test", "#create private"), 200)
	eve := kit.UA(t, evapitest.UAConfig{User: "eve", Domain: "127.0.0.9", Proxy: k.SIPAddr()})
	for _, c := range []struct {
		room, text string
		code       int
	}{
		{"sip:chat-1@chat.test", "#join", 403},
		{"sip:chat-1@chat.test", "#rooms", 403},
		{"sip:chat-1@chat.test", "#help", 403},
		{"sip:chat-9@chat.test", "#create", 403},
		{"sip:chat-9@chat.test", "#join", 403},
		{"sip:chat-1@chat.test", "#create chat-9 private", 403},
		{"sip:chat-2@chat.test", "#join", 403},
		{"sip:chat-2@chat.test", "let me in", 403},
		{"sip:chat-2@chat.test", "#list", 403},
		{"sip:chat-2@chat.test", "#history", 403},
		{"sip:chat-1@chat.test", "", 200}, // alice invites eve
		{"sip:chat-1@chat.test", "#join", 200},
		{"sip:chat-1@chat.test", "#create chat-9", 403},
		{"sip:chat-1@chat.test", "#add sip:victim@127.0.0.8", 403},
		{"sip:chat-1@chat.test", "#invite sip:victim@127.0.0.8", 403},
		{"sip:chat-9@127.0.0.8", "to a room of nobody", 403},
	} {
		who := eve
		if c.text == "" {
			who, c.text = alice, "#invite "+eve.AOR()
		}
		if s := expect(t, say(t, who, c.room, c.text), c.code); t.Failed() {
			t.Fatalf("%s to %s: %s", c.text, c.room, s)
		}
	}
	expect(t, say(t, alice, "sip:chat-1@chat.test", "#remove sip:eve@127.0.0.9"), 200)
}

// askWithSecrets asks imcd and Kamailio with right and wrong secrets.
func askWithSecrets(t *testing.T, k *evapitest.Kamailio, i *imcdtest.Imcd) {
	t.Helper()
	if c, err := evapi.DialKamailio(kit.Context(t), k.EvapiAddr(), k.OperatorSecret()); err != nil {
		t.Error(err)
	} else if err := c.Call(kit.Context(t), "imc.stats", nil, nil); err != nil {
		t.Error(err)
	} else {
		c.Close()
	}
	send(t, kit.Peer(t, k), "hello hunter2-of-a-stranger")
	for _, bearer := range []string{token, "hunter2"} {
		req, err := http.NewRequestWithContext(kit.Context(t), http.MethodPost,
			"http://"+i.HTTPAddr()+"/rpc?token=hunter2",
			strings.NewReader(`{"jsonrpc":"2.0","id":1,"method":"imc.hunter2"}`))
		if err != nil {
			t.Fatal(err)
		}
		req.Close = true
		req.Header.Set("Authorization", "Bearer "+bearer)
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
	}
}

func cmdline(t *testing.T, pid int) string {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// follow goes from the Call-ID of the request to that of the copy, by the logs
// alone.
func follow(t *testing.T, imcd, kamailio, delivered string) {
	t.Helper()
	type line struct {
		Message, Room, To, Result string
		CallID                    string `json:"call_id"`
		Seq, Code                 int
	}
	var request, delivery line
	for text := range strings.Lines(imcd) {
		var l line
		if json.Unmarshal([]byte(text), &l) != nil {
			continue
		}
		switch {
		case l.Message == "request" && l.CallID == callID:
			request = l
		case l.Message == "delivery" && l.Room == request.Room && l.Seq == request.Seq && l.To == "bob@chat.test" &&
			l.Seq > 0:
			delivery = l
		}
	}
	if request.Seq != 1 || request.Code != 200 || request.Room != "chat-1@chat.test" {
		t.Errorf("the request in imcd's log: %+v", request)
	}
	if delivery.CallID != delivered || delivery.Code != 200 || delivery.Result != "ok" {
		t.Errorf("the delivery in imcd's log: %+v; the copy was %s", delivery, delivered)
	}
	for _, want := range []string{"imc: " + callID + " from sip:alice@chat.test to sip:chat-1@chat.test",
		"imc: " + callID + " answered 200", "imc: " + delivered + " copy to sip:bob@"} {
		if !strings.Contains(kamailio, want) {
			t.Errorf("Kamailio's log has no %q", want)
		}
	}
}
