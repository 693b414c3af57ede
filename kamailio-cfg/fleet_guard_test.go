package kamailiocfg_test

import (
	"strings"
	"testing"

	"imcd/evapi/evapitest"
	"imcd/evapi/evapitest/kit"
	kamailiocfg "imcd/kamailio-cfg"
)

// entryGuard lets an answer count only if it is that of the engine which has the request.
const entryGuard = "\tif ($var(entry)/1024!=$sht(imc=>gen$var(imc_me))) $var(entry) = -1;\n"

// TestLateAnswer: an engine that has handed a request on to another one cannot answer it any more. Without the guard
// it can.
func TestLateAnswer(t *testing.T) {
	for name, want := range map[string]struct{ code, left int }{"guard": {202, 1}, "no guard": {403, 0}} {
		t.Run(name, func(t *testing.T) {
			text := kamailiocfg.File(kamailiocfg.IMC)
			if strings.Count(text, entryGuard) != 1 {
				t.Fatal("imc.cfg has no such guard")
			}
			if name == "no guard" {
				text = strings.Replace(text, entryGuard, "", 1)
			}
			k := kit.Kamailio(t, evapitest.Options{Local: "loadmodule \"ctl.so\"\n",
				Files: map[string]string{kamailiocfg.IMC: text}})
			alice := kit.UA(t, evapitest.UAConfig{User: "alice", Proxy: k.SIPAddr(), Domain: "chat.test"})
			first, second := engineOf(t, k, "7"), engineOf(t, k, "8")
			first.falls(true)
			second.falls(true)
			first.owns(t, 1, 0, 31)
			second.owns(t, 1, 32, 63)
			got := say(t, alice, roomIn(3), "#join chat-b")
			ev := first.wait(t, "imc.message", 1)[0]
			// 1000 is in shard 40.
			send(t, first.peer, call("imc.move", ev.Params["tindex"], ev.Params["tlabel"], "1000"))
			moved := second.wait(t, "imc.message", 1)[0]
			send(t, first.peer, reply(ev, "403", "-1", "0", "too late"))
			first.done(t)
			if n := withoutAnswer(t, k); n != want.left {
				t.Errorf("%d requests are without an answer, not %d", n, want.left)
			}
			send(t, second.peer, second.accepts(moved))
			expect(t, got, want.code)
		})
	}
}
