package engine

import (
	"fmt"
	"strings"
	"testing"

	"imcd/evapi/evapitest"
	"imcd/evapi/evapitest/kit"
)

// saysConfig answers OPTIONS by a script.
const saysConfig = `
import_file "kamailio-local.cfg"
loadmodule "xlog.so"
loadmodule "sl.so"
loadmodule "pv.so"
loadmodule "siputils.so"
loadmodule "tm.so"
loadmodule "tmx.so"
loadmodule "corex.so"
loadmodule "kex.so"
loadmodule "jsonrpcs.so"
loadmodule "textops.so"
loadmodule "rr.so"
include_file "imc.cfg"
request_route {
%s
}
route[AUTH] { return; }
`

// kamailioThatSays is a Kamailio with that request_route. ask is the reason phrase of its answer to OPTIONS.
func kamailioThatSays(t *testing.T, script string) (ask func(uri string) (reason string)) {
	t.Helper()
	k := kit.Kamailio(t, evapitest.Options{Config: fmt.Sprintf(saysConfig, script), Workers: 1})
	ua := kit.UA(t, evapitest.UAConfig{User: "alice", Domain: "example.org", Proxy: k.SIPAddr()})
	return func(uri string) string {
		t.Helper()
		res, err := ua.Do(t.Context(), evapitest.Request{Method: "OPTIONS", URI: uri})
		if err != nil {
			t.Fatal(err)
		}
		return res.Reason
	}
}

// What is a room to Kamailio's =~ is one here, and nothing else.
func TestRulesAreKamailios(t *testing.T) {
	exprs := []string{
		"^chat-.+$", "^CHAT-[a-z]+$", "chat", "^(chat|talk)-[^-]+$", `^\+49[0-9]{3,5}$`,
		"^[[:alpha:]][[:alnum:]._-]*$", "^chat-|room$", "^(room)?[0-9]+$",
		"^[]a^-]+$", "^[^a-fx]+$", `^a\.b$`, "^(a|b(c|d)*)+$", "^.{4}$", "^x{0,2}y{2,}$", "^((a))$", "^[0-9a-f]*$",
		"^room-[[:digit:]]+(-[[:upper:]]+)?$",
		"^[+]49", "^[*?.]$", "^[$]x$", `^\*[0-9]+$`, "^(chat-.+|imc_manager)$", "^[_%~!]+", "a$|^b", "^(|x)$",
	}
	users := []string{
		"chat-a", "Chat-A", "CHAT-", "chat", "mychatroom", "talk-x-y", "talk-xy", "+4912345", "+49123456", "49123",
		"a.b", "aXb", "a", "b", "bcdcd", "aabcd", "abcd",
		"room", "room12", "12", "xxyy", "xxxyy", "yy", "deadBEEF", "room-12-AB", "room-12-ab", "room-", "*", "*21",
		"$x", "imc_manager", "_x", "~", "!", "z9", "-", "x", "%61",
	}
	// A digit for each expression: whether the user part matches it.
	script := "\t$var(all) = \"\";\n"
	for _, expr := range exprs {
		script += fmt.Sprintf("\tif ($rU=~\"%s\") $var(all) = $var(all) + \"1\"; else $var(all) = $var(all) + \"0\";\n",
			strings.ReplaceAll(expr, `\`, `\\`))
	}
	ask := kamailioThatSays(t, script+"\tsl_send_reply(\"200\", \"$var(all)\");\n")
	for _, user := range users {
		reason := ask("sip:" + user + "@example.org")
		for i, expr := range exprs {
			re, err := compileRule(expr)
			if err != nil {
				t.Fatal(err)
			}
			if len(reason) != len(exprs) || re.MatchString(user) != (reason[i] == '1') {
				t.Errorf("%q of %s: Kamailio %q, here %v", user, expr, reason, re.MatchString(user))
			}
		}
	}
}
