package kamailiocfg_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"imcd/evapi/evapitest"
	"imcd/evapi/evapitest/kit"
)

// TestLua: the README's lines for KEMI, with app_lua and the real imcd. Who is refused by Lua reaches no room, and
// requests to others, registrations and copies pass through Lua.
func TestLua(t *testing.T) {
	page, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, chapter, _ := strings.Cut(string(page), "## Lua, Python, JavaScript (KEMI)\n")
	blocks := strings.Split(chapter, "```")
	own, err := os.ReadFile("testdata/kemi.lua")
	if err != nil {
		t.Fatal(err)
	}
	script := filepath.Join(t.TempDir(), "kamailio.lua")
	if err := os.WriteFile(script, append(own, strings.TrimPrefix(blocks[3], "lua\n")...), 0o644); err != nil {
		t.Fatal(err)
	}
	modules, _, found := strings.Cut(stockConfig(t), "####### Routing Logic ########")
	if !found || !strings.HasPrefix(blocks[3], "lua\n") || !strings.Contains(blocks[1], "request_route {") {
		t.Fatal("the README or the stock file has another form")
	}
	text := modules + `modparam("usrloc", "preload", "location")
loadmodule "app_lua.so"
modparam("app_lua", "load", "` + script + "\")\n" + blocks[1]
	c := startChat(t, evapitest.Options{Config: text}, [2]string{})
	const room = "sip:chat-1@chat.test"
	expect(t, say(t, c.alice, room, "#create"), 200)
	expect(t, say(t, c.bob, room, "#join"), 200)
	c.says(t, c.alice, c.bob, "hello")
	c.says(t, c.bob, c.alice, "hello yourself")
	out, err := c.runCheck(t)
	for _, want := range []string{"a copy passed Kamailio's routing", "a request to sip:chat-1@chat.test reached imcd",
		"imcd hears of registrations"} {
		if err != nil || !strings.Contains(out, want) {
			t.Errorf("%v, without %q:\n%s", err, want, out)
		}
	}
	mallory := kit.UA(t, evapitest.UAConfig{User: "mallory", Domain: "chat.test", Proxy: c.k.SIPAddr()})
	expect(t, say(t, mallory, room, "#join"), 403)
	expect(t, say(t, mallory, "sip:bob@chat.test", "hello"), 403)
	expect(t, say(t, c.alice, "sip:bob@chat.test", "between us"), 200)
	expect(t, say(t, c.alice, "sip:nobody@chat.test", "is anybody there?"), 404)
}
