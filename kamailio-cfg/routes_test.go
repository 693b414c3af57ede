package kamailiocfg_test

import (
	"fmt"
	"strings"
	"testing"

	"imcd/evapi/evapitest"
	"imcd/evapi/evapitest/kit"
	kamailiocfg "imcd/kamailio-cfg"
)

// The operator's own route answers.
func TestAnswerRoute(t *testing.T) {
	k := kit.Kamailio(t, evapitest.Options{IMCLocal: `
#!define IMC_ANSWER_ROUTE CHAT_ANSWER
route[CHAT_ANSWER] {
	append_to_reply("X-RC: $avp(imc_rc)\r\nX-Reason: $avp(imc_reason)\r\n");
	if ($avp(imc_rc)==-31) {
		t_reply("488", "Own answer");
		exit;
	}
	route(IMC_REPLY);
}`})
	engine, _ := hello(t, k, k.Secret())
	alice := kit.UA(t, evapitest.UAConfig{User: "alice", Proxy: k.SIPAddr()})
	for _, c := range []struct{ code, rc, want string }{{"200", "1", "200 1"}, {"403", "-41", "403 -41"},
		{"400", "-31", "488 -31"}} {
		ctx := kit.Context(t)
		got := make(chan string, 1)
		go func() {
			res, err := alice.Say(ctx, "sip:chat-1@x", "hello")
			if err != nil || res.GetHeader("X-RC") == nil {
				got <- fmt.Sprint(res, err)
				return
			}
			got <- fmt.Sprintf("%d %s", res.StatusCode, res.GetHeader("X-RC").Value())
		}()
		send(t, engine, reply(next(t, engine, "imc.message"), c.code, c.rc, "0", "why"))
		if s := <-got; s != c.want {
			t.Errorf("%v: %s", c, s)
		}
	}
}

// route(IMC_MANAGER) takes what it is given; copies pass it.
func TestManagerRoute(t *testing.T) {
	config := kamailiocfg.File(kamailiocfg.Demo)
	edited := strings.Replace(config, "\tremove_hf(\"Route\");\n",
		"\tif (is_method(\"MESSAGE\") && !($rU=~\"^user-\")) route(IMC_MANAGER);\n\tremove_hf(\"Route\");\n", 1)
	if edited == config {
		t.Fatal("demo.cfg has changed")
	}
	k := kit.Kamailio(t, evapitest.Options{Config: edited, IMCLocal: "#!define IMC_ROOM \"^$\""})
	s := startStandIn(t, k)
	bob := kit.Registered(t, k, evapitest.UAConfig{User: "bob"})
	expect(t, say(t, bob, "sip:anything@x", "hello"), 202)
	expect(t, say(t, bob, "sip:bob@x", "hello"), 202)
	expect(t, say(t, bob, "sip:user-1@x", "hello"), 404)
	s.wait(t, "imc.message", 2)
	s.copyTo(t, "sip:bob@x", "copy", "to bob")
	got, err := bob.Next(kit.Context(t))
	if err != nil || got.Text() != "to bob" || got.Header("X-IMC-Secret") != "" {
		t.Errorf("bob got %v %v", got, err)
	}
	if n, _ := s.seen("imc.message"); len(n) != 2 {
		t.Errorf("imcd saw %d requests", len(n))
	}
}

// Where copies are to go, imcd learns from Kamailio.
func TestNextHop(t *testing.T) {
	for name, c := range map[string]struct{ listen, want string }{
		"tcp alone":     {"listen=tcp:127.0.0.1:%d\n", "sip:127.0.0.1:%d;transport=tcp"},
		"all addresses": {"listen=udp:0.0.0.0:%d\nlisten=tcp:0.0.0.0:%[1]d\n", "sip:127.0.0.1:%d"},
		"loopback is not first": {
			"listen=tcp:127.0.0.3:%d\nlisten=udp:127.0.0.1:%[1]d advertise 192.0.2.1:7777\n" +
				"listen=tcp:127.0.0.1:%[1]d\n", "sip:127.0.0.1:%d",
		},
		"a name": {"listen=udp:localhost:%d\nlisten=tcp:localhost:%[1]d\n", "sip:127.0.0.1:%d"},
	} {
		t.Run(name, func(t *testing.T) {
			port, err := evapitest.FreePort()
			if err != nil {
				t.Fatal(err)
			}
			k := kit.Kamailio(t, evapitest.Options{
				SIPPort: port,
				Files:   map[string]string{"kamailio-local.cfg": "#!define IMC_LISTEN\n" + fmt.Sprintf(c.listen, port)},
			})
			s := startStandIn(t, k)
			if hop := unb64(t, s.welcome.Params["next_hop"]); hop != fmt.Sprintf(c.want, port) {
				t.Errorf("next hop %s", hop)
			}
			bob := kit.Registered(t, k, evapitest.UAConfig{User: "bob", Transport: "tcp"})
			s.copyTo(t, "sip:bob@x", "copy", "to bob")
			if got, err := bob.Next(kit.Context(t)); err != nil || got.Text() != "to bob" {
				t.Errorf("bob got %v %v", got, err)
			}
			if ev := s.wait(t, "imc.outcome", 1)[0]; ev.Params["code"] != "200" {
				t.Errorf("result %s", ev.Raw)
			}
		})
	}
}
