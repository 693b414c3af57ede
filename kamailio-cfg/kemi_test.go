package kamailiocfg_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"imcd/evapi/evapitest"
	"imcd/evapi/evapitest/kit"
)

// TestKEMI: the README's lines for KEMI, with each language and the real imcd. Who is refused by the script reaches no
// room, and requests to others, registrations and copies pass through the script.
func TestKEMI(t *testing.T) {
	page, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, chapter, _ := strings.Cut(string(page), "## Lua, Python, JavaScript (KEMI)\n")
	blocks := strings.Split(chapter, "```")
	modules, _, found := strings.Cut(stockConfig(t), "####### Routing Logic ########")
	if !found || !strings.Contains(blocks[1], "request_route {") {
		t.Fatal("the README or the stock file has another form")
	}
	for i, kemi := range []struct {
		module, call, file string
		head               string // of the README's block, to be left out
	}{
		{"app_lua", "lua_run", "kemi.lua", "lua\n"},
		{"app_python3", "python_exec", "kemi.py", "python\nclass kamailio:  # yours, with mod_init() and child_init()\n"},
		{"app_jsdt", "jsdt_run", "kemi.js", "js\n"},
	} {
		t.Run(kemi.module, func(t *testing.T) {
			own, err := os.ReadFile(filepath.Join("testdata", kemi.file))
			if err != nil {
				t.Fatal(err)
			}
			block, found := strings.CutPrefix(blocks[3+2*i], kemi.head)
			if !found {
				t.Fatalf("the README has another form: %s", blocks[3+2*i])
			}
			script := filepath.Join(t.TempDir(), kemi.file)
			if err := os.WriteFile(script, append(own, block...), 0o644); err != nil {
				t.Fatal(err)
			}
			routes := strings.ReplaceAll(blocks[1], "lua_run", kemi.call)
			config := modules + fmt.Sprintf(`modparam("usrloc", "preload", "location")
loadmodule %q
modparam(%q, "load", %q)
`, kemi.module+".so", kemi.module, script) + routes
			throughScript(t, startChat(t, evapitest.Options{Config: config}, [2]string{}))
		})
	}
}

// throughScript talks in a room, past it, and as somebody whom the script refuses.
func throughScript(t *testing.T, c *chat) {
	t.Helper()
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
