package kamailiocfg_test

import (
	"cmp"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"imcd/evapi/evapitest"
	"imcd/evapi/evapitest/kit"
	kamailiocfg "imcd/kamailio-cfg"
	"imcd/schema/schematest"
)

// subscribers is Kamailio's own schema of the table, with users.
const subscribers = `
CREATE TABLE version (id SERIAL PRIMARY KEY, table_name VARCHAR(32) NOT NULL UNIQUE,
	table_version INTEGER DEFAULT 0 NOT NULL);
INSERT INTO version (table_name, table_version) VALUES ('version', 1), ('subscriber', 7);
CREATE TABLE subscriber (id SERIAL PRIMARY KEY, username VARCHAR(64) DEFAULT '' NOT NULL,
	domain VARCHAR(64) DEFAULT '' NOT NULL,
	password VARCHAR(64) DEFAULT '' NOT NULL, ha1 VARCHAR(128) DEFAULT '' NOT NULL,
	ha1b VARCHAR(128) DEFAULT '' NOT NULL,
	UNIQUE (username, domain));
INSERT INTO subscriber (username, domain, password) VALUES
	('alice', 'chat.test', 'a-secret'), ('bob', 'chat.test', 'b-secret'), ('carol', 'chat.test', 'c-secret'),
	('dora', 'chat.test', 'd-secret');`

// authLocal is what an operator writes into kamailio-local.cfg for WITH_AUTH on
// PostgreSQL.
func authLocal(t *testing.T) string {
	t.Helper()
	url := schematest.NewDatabase(t)
	name := url[strings.LastIndex(url, "/")+1:]
	name, _, _ = strings.Cut(name, "?")
	if err := schematest.Server(t).Exec(kit.Context(t), name, subscribers); err != nil {
		t.Fatal(err)
	}
	url, _, _ = strings.Cut(url, "?")
	return fmt.Sprintf("#!define WITH_AUTH\n#!define DBURL %q\nloadmodule \"db_postgres.so\"\n", url)
}

func TestStockConfig(t *testing.T) {
	diffs := readmeDiffs(t)
	t.Run("open", func(t *testing.T) {
		stockConversation(t, stockConfig(t, diffs[0]), "", evapitest.UAConfig{}, evapitest.UAConfig{})
	})
	t.Run("auth", func(t *testing.T) {
		stockConversation(t, stockConfig(t, diffs...), authLocal(t),
			evapitest.UAConfig{Password: "a-secret"}, evapitest.UAConfig{Password: "b-secret"})
	})
}

func stockConversation(t *testing.T, config, local string, alice, bob evapitest.UAConfig) {
	k := kit.Kamailio(t, evapitest.Options{Config: config, Local: local + "alias=\"chat.test\"\n"})
	s := startStandIn(t, k)
	alice.User, alice.Domain = "alice", "chat.test"
	bob.User, bob.Domain = "bob", "chat.test"
	a, b := kit.Registered(t, k, alice), kit.Registered(t, k, bob)
	t.Run("others", func(t *testing.T) { stockOthers(t, k, a, b) })
	if n, _ := s.seen("imc.message"); len(n) != 0 {
		t.Errorf("imcd saw %d requests", len(n))
	}
	t.Run("rooms", func(t *testing.T) { stockRooms(t, k, s, a, b) })
	if alice.Password != "" {
		t.Run("intruders", func(t *testing.T) { stockIntruders(t, k, s, b) })
	} else {
		t.Run("forged", func(t *testing.T) { stockForged(t, k, s, b) })
	}
}

// stockOthers: what is no chat goes as it went before.
func stockOthers(t *testing.T, k *evapitest.Kamailio, a, b *evapitest.UA) {
	b.Clear()
	expect(t, say(t, a, "sip:bob@chat.test", "between us"), 200)
	got, err := b.Next(kit.Context(t))
	if err != nil || got.Text() != "between us" || got.From != a.AOR() {
		t.Errorf("bob got %s %v", got.Request, err)
	}
	expect(t, do(t, a, evapitest.Request{Method: "OPTIONS", URI: "sip:" + k.SIPAddr()}), 200)
	expect(t, do(t, a, evapitest.Request{Method: "OPTIONS", URI: "sip:bob@chat.test"}), 200)
	expect(t, say(t, a, "sip:nobody@chat.test", "x"), 404)
	b.AnswerWith(486)
	expect(t, do(t, a, evapitest.Request{Method: "INVITE", URI: "sip:bob@chat.test"}), 486)
	b.AnswerWith(200)
	all := b.Received()
	if last := all[len(all)-1]; last.Method != "INVITE" || last.Header("Record-Route") == "" {
		t.Errorf("bob got %s", last.Request)
	}
	expect(t, do(t, a, evapitest.Request{Method: "MESSAGE", URI: "sip:bob@chat.test", ToTag: "x",
		Body: []byte("in dialog")}), 404)
	expect(t, do(t, a, evapitest.Request{Method: "MESSAGE", URI: "sip:chat-1@chat.test", ToTag: "x",
		Body: []byte("in dialog")}), 404)
}

// stockRooms: rooms are imcd's, and copies reach members.
func stockRooms(t *testing.T, k *evapitest.Kamailio, s *standIn, a, b *evapitest.UA) {
	for _, uri := range []string{"sip:chat-1@chat.test", "sip:chat-1@127.0.0.1", "sip:chat-1@127.0.0.1:9",
		"sip:chat-1@" + k.SIPAddr()} {
		before, _ := s.seen("imc.message")
		expect(t, say(t, a, uri, "to the room"), 202)
		ev := s.wait(t, "imc.message", len(before)+1)[len(before)]
		if !strings.HasSuffix(unb64(t, ev.Params["msg"]), "to the room") {
			t.Errorf("event %s", ev.Raw)
		}
	}
	b.Clear()
	s.copyTo(t, "sip:bob@chat.test", "copy-1", "from the room")
	got, err := b.Next(kit.Context(t))
	if err != nil || got.Text() != "from the room" || got.CallID != "copy-1" || got.Header("X-IMC-Secret") != "" {
		t.Errorf("bob got %s %v", got.Request, err)
	}
	s.copyTo(t, "sip:bob@127.0.0.1", "copy-2", "to the address")
	s.copyTo(t, "sip:nobody@chat.test", "copy-3", "x")
	want := map[string]string{"copy-1": "200", "copy-2": "200", "copy-3": "404"}
	for _, ev := range s.wait(t, "imc.outcome", 3) {
		if id := unb64(t, ev.Params["id"]); want[id] != ev.Params["code"] {
			t.Errorf("%s: %s", id, ev.Raw)
		}
	}
}

// stockIntruders: with WITH_AUTH, nobody gets near a room or past the password.
func stockIntruders(t *testing.T, k *evapitest.Kamailio, s *standIn, b *evapitest.UA) {
	before, _ := s.seen("imc.message")
	b.Clear()
	secret := "X-IMC-Secret: " + s.header(t)
	here := evapitest.UAConfig{User: "alice", Domain: "chat.test", Proxy: k.SIPAddr()}
	away := here
	away.LocalIP = "127.0.0.2"
	port, guess, thief := here, here, here
	port.Domain = "127.0.0.1:9999"
	guess.Password = "guess"
	thief.User, thief.AuthUser, thief.Password = "bob", "alice", "a-secret"
	for name, c := range map[string]struct {
		cfg     evapitest.UAConfig
		uri     string
		headers []string
		code    int
	}{
		"no password":          {here, "sip:chat-1@chat.test", nil, 407},
		"no password, port":    {here, "sip:chat-1@127.0.0.1:9", nil, 407},
		"wrong password":       {guess, "sip:chat-1@chat.test", nil, 407},
		"another's From":       {thief, "sip:chat-1@chat.test", nil, 407},
		"From with a port":     {port, "sip:chat-1@chat.test", nil, 403},
		"wrong secret":         {here, "sip:bob@chat.test", []string{"X-IMC-Secret: x"}, 407},
		"empty secret":         {here, "sip:bob@chat.test", []string{"X-IMC-Secret:"}, 407},
		"secret from away":     {away, "sip:bob@chat.test", []string{secret}, 407},
		"room, secret, away":   {away, "sip:chat-1@chat.test", []string{secret}, 407},
		"right secret is last": {here, "sip:bob@chat.test", []string{"X-IMC-Secret: x", secret}, 407},
	} {
		t.Run(name, func(t *testing.T) {
			u := kit.UA(t, c.cfg)
			expect(t, do(t, u, evapitest.Request{Method: "MESSAGE", URI: c.uri, Body: []byte("x"), Headers: c.headers}),
				c.code)
		})
	}
	expect(t, do(t, kit.UA(t, here), evapitest.Request{Method: "MESSAGE", URI: "sip:chat-1@chat.test",
		ContentType: "message/imdn+xml", Body: []byte("x")}), 407)
	if receipts, _ := s.seen("imc.receipt"); len(receipts) != 0 {
		t.Errorf("imcd saw %d receipts without a password", len(receipts))
	}
	if after, _ := s.seen("imc.message"); len(after) != len(before) {
		t.Errorf("imcd saw %d requests", len(after)-len(before))
	}
	if n := len(b.Received()); n != 0 {
		t.Errorf("bob got %d requests", n)
	}
}

// stockForged: without authentication everybody may write to bob, but the header
// is nobody's to send and opens nothing.
func stockForged(t *testing.T, k *evapitest.Kamailio, s *standIn, b *evapitest.UA) {
	b.Clear()
	before, _ := s.seen("imc.message")
	away := kit.UA(t, evapitest.UAConfig{User: "eve", Domain: "chat.test", Proxy: k.SIPAddr(), LocalIP: "127.0.0.2"})
	for i, headers := range [][]string{
		{"X-IMC-Secret: wrong"},
		{"X-IMC-Secret: " + s.header(t)},
		{"x-imc-secret: wrong", "X-IMC-Secret: " + s.header(t)},
	} {
		expect(t, do(t, away, evapitest.Request{Method: "MESSAGE", URI: "sip:bob@chat.test", Body: []byte("x"),
			Headers: headers}), 200)
		got, err := b.Next(kit.Context(t))
		if err != nil || got.Header("X-IMC-Secret") != "" {
			t.Errorf("bob got %s %v", got.Request, err)
		}
		expect(t, do(t, away, evapitest.Request{Method: "MESSAGE", URI: "sip:chat-1@chat.test", Body: []byte("x"),
			Headers: headers}), 202)
		s.wait(t, "imc.message", len(before)+i+1)
	}
	expect(t, do(t, away, evapitest.Request{Method: "MESSAGE", URI: "sip:chat-1@elsewhere.example", Body: []byte("x")}),
		403)
}

func TestCheck(t *testing.T) {
	diffs := readmeDiffs(t)
	for name, config := range map[string]string{
		"demo":  kamailiocfg.File(kamailiocfg.Demo),
		"stock": stockConfig(t, diffs...),
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			files := kamailiocfg.DropIn()
			files["kamailio.cfg"] = config
			for file, text := range files {
				if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			for _, define := range []string{"X=1", "IMC_LOCAL_TIMEOUTS=1", "IMC_ANY_DOMAIN=1", "IMC_LOG=1",
				"IMC_ROOM_ROUTING=1",
				"IMC_THROUGH=1", `IMC_DIRECT="location"`, "IMC_RPC_ONLY=1", "IMC_ANSWER_ROUTE=IMC_REPLY",
				`IMC_ROOM="^$"`, "IMC_NATIVE=1", "IMC_HTABLE=1"} {
				kamailio := cmp.Or(os.Getenv("IMCD_TEST_KAMAILIO"), "kamailio")
				cmd := exec.CommandContext(kit.Context(t), kamailio, "-c", "-f", "kamailio.cfg", "-A", define)
				cmd.Dir = dir
				out, err := cmd.CombinedOutput()
				if err != nil {
					t.Errorf("%s: %v\n%s", define, err, out)
				}
				if strings.Contains(string(out), "warning") {
					t.Errorf("%s:\n%s", define, out)
				}
			}
		})
	}
}
