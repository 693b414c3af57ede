package kamailiocfg_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"imcd/evapi/evapitest"
	"imcd/evapi/evapitest/kit"
)

// domainTable is what the module domain needs of a database, as files of db_text.
var domainTable = map[string]string{
	"version": "table_name(string) table_version(int)\ndomain:2\ndomain_attrs:1\n",
	"domain": "id(int,auto) domain(string) did(string,null) last_modified(string)\n" +
		"1:table.test:table.test:2020-01-01 00\\:00\\:00\n",
	"domain_attrs": "id(int,auto) did(string) name(string) type(int) value(string) last_modified(string)\n",
}

// withDomain loads the module domain with one domain, table.test.
func withDomain(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range domainTable {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return "loadmodule \"db_text.so\"\nloadmodule \"domain.so\"\n" +
		fmt.Sprintf("modparam(\"domain\", \"db_url\", \"text://%s\")\nmodparam(\"domain\", \"register_myself\", 1)\n",
			dir)
}

// The welcome says which rooms Kamailio hands over, and which domains are its own.
func TestWelcomeTellsRoomsAndDomains(t *testing.T) {
	stock := stockConfig(t, readmeDiffs(t)...)
	for name, c := range map[string]struct {
		opts         evapitest.Options
		room, prefix string
		any          string
		domains      []string // these among others
		none         []string // none of these
	}{
		"demo": {evapitest.Options{}, "^chat-.+$", "chat-", "1", []string{"127.0.0.1"}, nil},
		"stock": {evapitest.Options{Config: stock,
			Local: "alias=\"chat.test\"\nalias=\"Second.test\"\nalias=udp:third.test:7070\n"},
			"^chat-.+$", "chat-", "0", []string{"127.0.0.1", "chat.test", "Second.test", "third.test"},
			[]string{"table.test", "udp", "7070"}},
		"domains in a table": {evapitest.Options{Config: stock, Local: "alias=\"chat.test\"\n" + withDomain(t)},
			"^chat-.+$", "chat-", "0", []string{"127.0.0.1", "chat.test", "table.test"}, nil},
		"settings": {evapitest.Options{IMCLocal: "#!define IMC_ROOM \"^(room|\\\\+49)[0-9]+$\"\n#!define " +
			"IMC_ROOM_PREFIX \"\"\n"},
			`^(room|\+49)[0-9]+$`, "", "1", nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			k := kit.Kamailio(t, c.opts)
			_, w := hello(t, k, k.Secret())
			if got := unb64(t, w.Params["room"]); got != c.room {
				t.Errorf("rooms %q, want %q", got, c.room)
			}
			if got := unb64(t, w.Params["prefix"]); got != c.prefix {
				t.Errorf("prefix %q, want %q", got, c.prefix)
			}
			if w.Params["any"] != c.any {
				t.Errorf("any %s", w.Params["any"])
			}
			domains := strings.Fields(unb64(t, w.Params["domains"]))
			for _, d := range c.domains {
				if !slices.Contains(domains, d) {
					t.Errorf("no %s in %q", d, domains)
				}
			}
			for _, d := range c.none {
				if slices.Contains(domains, d) {
					t.Errorf("%s in %q", d, domains)
				}
			}
			for _, d := range domains {
				if strings.ContainsAny(d, "\"<>{}, ") {
					t.Errorf("%q is no host", d)
				}
			}
		})
	}
}

// Each request says whether its From is of an own domain.
func TestMessageTellsLocal(t *testing.T) {
	k := kit.Kamailio(t, evapitest.Options{Config: stockConfig(t, readmeDiffs(t)...),
		Local: "alias=\"chat.test\"\nalias=udp:third.test:7070\n" + withDomain(t)})
	s := startStandIn(t, k)
	for _, c := range []struct{ domain, local string }{
		{"chat.test", "1"}, {"CHAT.test", "1"}, {"127.0.0.1", "1"}, {"127.0.0.1:9", "1"}, {"table.test", "1"},
		{"third.test", "1"},
		{"evil.example", "0"}, {"chat.test.evil.example", "0"}, {"192.0.2.1", "0"}, {"[2001:db8::1]", "0"},
	} {
		before, _ := s.seen("imc.message")
		u := kit.UA(t, evapitest.UAConfig{User: "u", Domain: c.domain, Proxy: k.SIPAddr()})
		expect(t, say(t, u, "sip:chat-1@chat.test", "x"), 202)
		ev := s.wait(t, "imc.message", len(before)+1)[len(before)]
		if ev.Params["local"] != c.local || ev.Params["room"] != "1" {
			t.Errorf("From of %s: local %s, room %s, want %s, 1", c.domain, ev.Params["local"], ev.Params["room"],
				c.local)
		}
	}
}

// What imcd hands over with X-IMC-Dest goes there, whatever the domain is; from anybody
// else the header does nothing and ends here.
func TestDestination(t *testing.T) {
	k := kit.Kamailio(t, evapitest.Options{Config: stockConfig(t, readmeDiffs(t)...), Local: "alias=\"chat.test\"\n"})
	s := startStandIn(t, k)
	far := kit.UA(t, evapitest.UAConfig{User: "far", Domain: "nowhere.invalid", Proxy: k.SIPAddr()})
	dest := "X-IMC-Dest: " + strings.Replace(far.Contact(), "far@", "", 1)
	frame := copyFrame(s.header(t), unb64(t, s.welcome.Params["next_hop"]), "sip:far@nowhere.invalid", "copy-1",
		"to the far end")
	send(t, s.peer, strings.Replace(frame, "X-IMC-Secret:", dest+`\r\nX-IMC-Secret:`, 1))
	got, err := far.Next(kit.Context(t))
	if err != nil || got.Text() != "to the far end" || got.Header("X-IMC-Dest") != "" ||
		got.Header("X-IMC-Secret") != "" {
		t.Errorf("far got %s %v", got.Request, err)
	}
	if ev := s.wait(t, "imc.outcome", 1)[0]; ev.Params["code"] != "200" {
		t.Errorf("outcome %s", ev.Raw)
	}

	// Names of other domains may lead back here, and round and round.
	for i, params := range []string{"", ";transport=tcp"} {
		self := "X-IMC-Dest: sip:" + k.SIPAddr() + params
		frame := copyFrame(s.header(t), unb64(t, s.welcome.Params["next_hop"]), "sip:far@nowhere.invalid",
			fmt.Sprint("self-", i), "back to you")
		send(t, s.peer, strings.Replace(frame, "X-IMC-Secret:", self+`\r\nX-IMC-Secret:`, 1))
		if ev := s.wait(t, "imc.outcome", i+2)[i+1]; ev.Params["code"] != "478" {
			t.Errorf("outcome %s", ev.Raw)
		}
	}

	bob := kit.Registered(t, k, evapitest.UAConfig{User: "bob", Domain: "chat.test"})
	eve := kit.UA(t, evapitest.UAConfig{User: "eve", Domain: "chat.test", Proxy: k.SIPAddr()})
	for _, headers := range [][]string{{dest}, {dest, "X-IMC-Secret: wrong"}} {
		far.Clear()
		expect(t, do(t, eve, evapitest.Request{Method: "MESSAGE", URI: "sip:bob@chat.test", Body: []byte("x"),
			Headers: headers}), 200)
		got, err = bob.Next(kit.Context(t))
		if err != nil || got.Header("X-IMC-Dest") != "" {
			t.Errorf("bob got %s %v", got.Request, err)
		}
		if n := len(far.Received()); n != 0 {
			t.Errorf("far got %d requests", n)
		}
	}
}
