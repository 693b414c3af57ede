package kamailiocfg_test

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"imcd/evapi/evapitest"
	"imcd/evapi/evapitest/kit"
	"imcd/schema/schematest"
)

// toposConfig is the stock configuration with the README's edits and topos, whose tables are in a database of
// their own.
func toposConfig(t *testing.T) string {
	t.Helper()
	tables, err := os.ReadFile("/usr/share/kamailio/postgres/topos-create.sql")
	if err != nil {
		t.Fatalf("the tables of Debian's package: %v", err)
	}
	url, _, _ := strings.Cut(schematest.NewDatabase(t), "?")
	name := url[strings.LastIndex(url, "/")+1:]
	if err := schematest.Server(t).Exec(kit.Context(t), name, subscribers+string(tables)); err != nil {
		t.Fatal(err)
	}
	const include = "include_file \"imc.cfg\"\n"
	lines := fmt.Sprintf("loadmodule \"db_postgres.so\"\nloadmodule \"topos.so\"\n"+
		"modparam(\"topos\", \"db_url\", %q)\n", url)
	return strings.Replace(stockConfig(t, readmeDiffs(t)...), include, lines+include, 1)
}

// startTopos is a chat beside topos.
func startTopos(t *testing.T, fanout, imc string) *chat {
	t.Helper()
	return startChat(t, evapitest.Options{Config: toposConfig(t), IMCLocal: imc}, [2]string{}, "--fanout", fanout)
}

// settled waits until imcd has the outcome of every copy of the room: it repeats none from then on.
func (c *chat) settled(t *testing.T, room string) {
	t.Helper()
	c.await(t, room, "every copy has an outcome", func(members []member, outstanding int) bool {
		for _, m := range members {
			outstanding += int(m.Lag)
		}
		return outstanding == 0 && len(members) == 2
	})
}

// TestTopos: rooms work beside topos by each way out: every copy comes once, in order, and imcd hears of it. So do
// messages between users, and calls are topos' as before.
func TestTopos(t *testing.T) {
	const room = "sip:chat-1@chat.test"
	for name, c := range map[string]struct{ fanout, imc string }{
		"sip":         {"sip", "#!define IMC_DIRECT \"location\"\n"},
		"sip routing": {"sip", ""},
		"direct":      {"direct", "#!define IMC_DIRECT \"location\"\n"},
		"batch":       {"batch", ""},
		"rpc":         {"rpc", "#!define IMC_RPC_ONLY\n"},
	} {
		t.Run(name, func(t *testing.T) {
			c := startTopos(t, c.fanout, c.imc)
			expect(t, say(t, c.alice, room, "#create"), 200)
			expect(t, say(t, c.bob, room, "#join"), 200)
			for _, text := range []string{"one", "two", "three"} {
				expect(t, say(t, c.alice, room, text), 200)
			}
			expect(t, say(t, c.bob, room, "four"), 200)
			c.settled(t, room)
			expect(t, say(t, c.alice, "sip:bob@chat.test", "between us"), 200)
			var got []string
			for _, m := range c.bob.Received() {
				if !strings.HasPrefix(m.Text(), "***") {
					got = append(got, m.Text())
				}
			}
			if want := []string{"[alice]: one", "[alice]: two", "[alice]: three", "between us"}; !slices.Equal(got,
				want) {
				t.Errorf("bob got %q", got)
			}
			c.bob.AnswerWith(486)
			expect(t, do(t, c.alice, evapitest.Request{Method: "INVITE", URI: "sip:bob@chat.test",
				Headers: []string{"Contact: <" + c.alice.Contact() + ">"}}), 486)
			all := c.bob.Received()
			if call := all[len(all)-1]; call.Method != "INVITE" || len(call.Request.GetHeaders("Via")) != 1 {
				t.Errorf("topos has not hidden where a call comes from:\n%s", call.Request)
			}
			const kept = "keeps MESSAGE outside of dialogs from it"
			if says, _ := c.runCheck(t); strings.Contains(says, "FAIL") || !strings.Contains(says, kept) {
				t.Errorf("imcctl check:\n%s", says)
			}
			if log := c.imcd.Log(); strings.Count(log, "topos is loaded") != 1 || strings.Contains(log, "without Via") {
				t.Errorf("log:\n%s", log)
			}
		})
	}
}

// TestToposHasMessages: if topos is left MESSAGE, the log and imcctl check name the cause; what was answered is not
// lost, but comes again and again.
func TestToposHasMessages(t *testing.T) {
	const room = "sip:chat-1@chat.test"
	c := startTopos(t, "batch", "#!define IMC_OWN_TOPOS\n")
	expect(t, say(t, c.alice, room, "#create"), 200)
	says, _ := c.runCheck(t) // with an error, as it must be
	if !strings.Contains(says, "FAIL  topos "+c.k.EvapiAddr()+": topos is loaded in Kamailio and gets MESSAGE") ||
		!strings.Contains(says, "IMC_OWN_TOPOS") {
		t.Errorf("imcctl check:\n%s", says)
	}
	if log := c.imcd.Log(); strings.Count(log, "imc.cfg leaves MESSAGE to it") != 1 {
		t.Errorf("log:\n%s", log)
	}
}
